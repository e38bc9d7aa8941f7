"""From the API's refusals back to the errors they were."""

import msgspec

from meshnode.model.errors import Denied, Invalid, LocalError, NotFound, Offline, TimedOut
from meshnode.model.patience import SHED
from meshnode.model.views import Failure

_FAMILIES: tuple[type[LocalError], ...] = (Invalid, NotFound, Denied, Offline, TimedOut)
_BY_EXIT = {family.exit_code: family for family in _FAMILIES}


class _Body(msgspec.Struct, frozen=True):
    error: Failure


def error_of(status: int, body: bytes) -> LocalError:
    """The error a refusal stands for; its family follows the exit code, ``code`` is kept as it came."""
    try:
        failure = msgspec.json.decode(body, type=_Body).error
    except msgspec.DecodeError:
        return LocalError(f"the node answered with HTTP {status} and no reason")
    return error_from(failure)


def error_from(failure: Failure) -> LocalError:
    family = _BY_EXIT.get(failure.exit_code, LocalError)
    error = family(failure.message, next_step=failure.next_step, details=failure.details)
    error.code = failure.code
    error.exit_code = failure.exit_code
    return error


def retry_after_ms(error: LocalError) -> int:
    """When a call that was shed may be made again; 0 = not said, or it failed for another reason."""
    said = error.details.get("retry_after_ms")
    return said if error.code == SHED and isinstance(said, int) else 0
