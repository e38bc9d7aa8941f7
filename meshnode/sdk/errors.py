"""What can go wrong, as an agent's author sees it: one error to raise, six to catch."""

import re

_CODE = re.compile(r"[a-z][a-z0-9-]{0,62}")
# A skill's own codes travel with this mark, so that none can pass for a verdict of the mesh ("unavailable" lets a
# node try another instance, which it must not do with a call that ran).
OWN = "skill:"


class SkillError(Exception):
    """Raise it in a skill to tell the caller what is wrong, in words of your own.

    Args:
        code: a stable name for programs: small letters, digits and dashes, e.g. ``"no-such-file"``.
        message: for people.
    """

    def __init__(self, code: str, message: str) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(f"code {code!r}: use small letters, digits and dashes, beginning with a letter")
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class StateError(Exception):
    """A change of the state that cannot be kept. The call that lets it pass fails with ``code`` and changes nothing.

    Codes: ``state-value-too-big``, ``state-key``, ``state-not-json``, ``state-counter`` (a counter used as a value or
    the other way round), ``state-too-many-changes``, ``state-full``, ``state-no-turn`` (written when no call and no
    ``ctx.turn()`` was there to commit it).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class CallFailed(Exception):
    """The other skill was asked and did not deliver. ``code`` is stable: its own, or one of the mesh.

    ``retry_after_ms``: with ``overloaded``, when there may be room again; 0 = not said.
    """

    def __init__(self, code: str, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class Unavailable(CallFailed):
    """Nobody who offers the skill can be reached now. The call may be repeated, if the skill bears that."""


class DeadlinePassed(CallFailed):
    """No answer in time. Whether the skill ran is not known."""


class Refused(CallFailed):
    """The call is not one that the skill takes; it has not run. Its code is ``invalid``."""


class Cancelled(CallFailed):
    """The call was withdrawn on its way."""


_KINDS: dict[str, type[CallFailed]] = {
    "timeout": DeadlinePassed,
    "invalid": Refused,
    "cancelled": Cancelled,
    "not-found": Unavailable,
    "unavailable": Unavailable,
    "unreachable": Unavailable,
    "overloaded": Unavailable,
    "agent-died": Unavailable,
}


def failure_of(code: str, message: str, retry_after_ms: int = 0) -> CallFailed:
    """The error for the code of a result."""
    return _KINDS.get(code, CallFailed)(code.removeprefix(OWN), message, retry_after_ms)
