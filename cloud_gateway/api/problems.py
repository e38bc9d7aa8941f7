"""What is said instead of an answer: RFC 9457's problem details, one table for the status, nothing of our insides."""

import re

import msgspec
from starlette.responses import Response

from meshnode.model.errors import LocalError

PROBLEM_TYPE = "application/problem+json"
_EVERY_PATH = "GET /api/v1/openapi.json shows every path with its parameters"
# A code that is not here follows its exit code.
_STATUS_BY_CODE = {
    "unauthorized": 401, "denied": 403, "not-found": 404, "no-such-path": 404, "method-not-allowed": 405,
    "body-timeout": 408, "key-reused": 409, "too-large": 413, "not-json": 415, "wrong-host": 421, "too-many": 429,
    "internal": 500, "store-failed": 503, "offline": 503, "too-busy": 503, "timeout": 504,
}  # fmt: skip
_STATUS_BY_EXIT = {2: 400, 3: 404, 4: 403, 5: 502, 6: 503, 124: 504}
# Understood, allowed, and still not done: the state of the mesh stands in the way.
_STATUS_OTHERWISE = 409
TITLES = {
    400: "Not a valid question", 401: "A token is needed", 403: "Not allowed", 404: "Not known here",
    405: "Not offered for this path", 408: "The body did not come", 409: "Not possible now",
    413: "Too much at once", 415: "JSON is wanted", 421: "Not the host that was asked", 429: "Too often",
    500: "The gateway failed", 502: "The mesh answered in part", 503: "Not available now", 504: "Took too long",
}  # fmt: skip
# msgspec's words for a place, "$.arguments[3]", and for a field that is not there.
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``code`` is stable and fit for programs; ``field`` names the parameter or the place in the body."""

    title: str
    status: int
    detail: str
    code: str
    next_step: str = ""
    field: str = ""
    type: str = "about:blank"


class Refused(LocalError):
    """A request that is not answered. ``code`` as in the table above; nothing changed."""

    def __init__(self, code: str, message: str, *, next_step: str = "", field: str = "", retry_s: int = 0) -> None:
        super().__init__(message, next_step=next_step)
        self.code, self.field, self.retry_s = code, field, retry_s


def invalid(field: str, why: str, next_step: str = _EVERY_PATH) -> Refused:
    return Refused("invalid", f"{field}: {why}", next_step=next_step, field=field)


def problem_of(error: LocalError) -> Problem:
    status = status_of(error)
    return Problem(
        title=TITLES[status],
        status=status,
        detail=error.message,
        code=error.code,
        next_step=error.next_step,
        field=error.field if isinstance(error, Refused) else "",
    )


def status_of(error: LocalError) -> int:
    known = _STATUS_BY_CODE.get(error.code)
    if known is not None:
        return known
    return 400 if error.code == "invalid" else _STATUS_BY_EXIT.get(error.exit_code, _STATUS_OTHERWISE)


def refusal(error: LocalError) -> Response:
    problem = problem_of(error)
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="meshnode"'
    if problem.status in (429, 503):
        retry_s = error.retry_s if isinstance(error, Refused) else 0
        headers["Retry-After"] = str(max(1, retry_s))
    return Response(msgspec.json.encode(problem), problem.status, headers, PROBLEM_TYPE)


def store_failed() -> Refused:
    """What the store says may name files and addresses: that is for the log, not for whoever asks."""
    return Refused("store-failed", "the store does not answer", next_step=_LOG, retry_s=5)


def store_slow(timeout_s: float) -> Refused:
    return Refused("store-failed", f"the store did not answer within {timeout_s:g} s", next_step=_LOG, retry_s=2)


def mesh_slow(timeout_s: float) -> Refused:
    return Refused("timeout", f"the mesh did not answer within {timeout_s:g} s", next_step="try again; is it cut off?")


def no_such_path(method: str, path: str) -> Refused:
    return Refused("no-such-path", f"{method} {path[:200]} is not part of this gateway", next_step=_EVERY_PATH)


def wrong_method(method: str, path: str, allowed: str) -> Refused:
    return Refused("method-not-allowed", f"{method[:20]} is not offered for {path[:200]}", next_step=f"use {allowed}")


OURS = Refused("internal", "the gateway made a mistake of its own", next_step="its log has the details")
_LOG = "try again, a request with the same Idempotency-Key; the gateway's log and /healthz say more"


def misfit(error: msgspec.DecodeError, where: str) -> Refused:
    """A question or a body that does not fit; ``field`` leads to the place where that is known."""
    said, _, place = str(error).partition(" - at `$")
    path = [key or index for key, index in _STEP.findall(place)]
    named = _NAMED.fullmatch(said)
    if named is not None:
        path.append(named[2])
        said = "unknown field" if named[1] == "contains unknown" else "required field is missing"
    field = ".".join(path)
    said = said.replace("`", "")
    return Refused("invalid", f"{where}: {field}: {said}" if field else f"{where}: {said}", field=field,
                   next_step=_EVERY_PATH)  # fmt: skip
