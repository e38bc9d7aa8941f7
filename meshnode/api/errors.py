"""A ``Failure`` as HTTP: one table for the status, one shape for the body."""

import re

import msgspec
from starlette.responses import Response

from meshnode.model.errors import LocalError
from meshnode.model.views import Failure

# A code that is not here follows its exit code.
_STATUS_BY_CODE = {
    "invalid": 400,
    "bad-json": 400,
    "denied": 403,
    "not-found": 404,
    "no-such-path": 404,
    "method-not-allowed": 405,
    "too-large": 413,
    "internal": 500,
    "offline": 503,
    "timeout": 504,
}
_STATUS_BY_EXIT = {2: 400, 3: 404, 4: 403, 5: 502, 6: 503, 124: 504}
# Understood, allowed, and still not done: the state of the node stands in the way.
_STATUS_OTHERWISE = 409
# msgspec's words for a place, "$.arguments[3]", and for a field that is not there.
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`")


class ErrorBody(msgspec.Struct, frozen=True):
    """What every refused request gets as its body."""

    error: Failure


def status_of(failure: Failure) -> int:
    by_exit = _STATUS_BY_EXIT.get(failure.exit_code, _STATUS_OTHERWISE)
    return _STATUS_BY_CODE.get(failure.code, by_exit)


def response_of(failure: Failure) -> Response:
    body = msgspec.json.encode(ErrorBody(failure))
    return Response(body, status_of(failure), media_type="application/json")


def failure_of(error: LocalError) -> Failure:
    return Failure(
        code=error.code,
        message=error.message,
        next_step=error.next_step,
        exit_code=error.exit_code,
        details=error.details,
    )


def invalid_request(error: msgspec.DecodeError, where: str) -> Failure:
    """A request that does not fit its command; ``details.path`` leads to the field where that is known."""
    said, _, place = str(error).partition(" - at `$")
    path = [key or index for key, index in _STEP.findall(place)]
    named = _NAMED.fullmatch(said)
    if named is not None:
        path.append(named[2])
        said = "unknown field" if named[1] == "contains unknown" else "required field is missing"
    fits_json = isinstance(error, msgspec.ValidationError)
    return Failure(
        code="invalid" if fits_json else "bad-json",
        message=": ".join([where, *([".".join(path)] if path else []), said]),
        next_step="GET /openapi.json shows every path with its fields",
        exit_code=2,
        details={"path": path} if path else {},
    )
