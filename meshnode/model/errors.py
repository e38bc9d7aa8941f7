"""Errors follow the guilty party.

* ``LocalError``: the caller asked for something impossible. Has a stable ``code``, says what changed and what
  to do next.
* ``RemoteError``: bytes of a peer are junk. Raised by decoders, caught in one place, counted as a named refusal.
"""


class MeshError(Exception):
    """Root of everything raised on purpose."""


class LocalError(MeshError):
    """The caller's mistake. Nothing changed unless the message says so.

    ``code`` is stable and fit for scripts; ``exit_code`` follows the table of the command line
    (1 failed, 2 usage, 3 not found, 4 denied, 5 partial, 6 offline, 124 timeout). ``details`` is for programs: an
    ``Invalid`` manifest says ``{"path": [...]}``, the keys and indexes that lead to the field.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "", details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.details: dict[str, object] = details or {}


class Invalid(LocalError):
    """What was given breaks a rule; the message names the field and the rule."""

    code = "invalid"
    exit_code = 2


class NotFound(LocalError):
    """Nothing of that name is known here."""

    code = "not-found"
    exit_code = 3


class Denied(LocalError):
    """The policy says no."""

    code = "denied"
    exit_code = 4


class Offline(LocalError):
    """The thing exists, and cannot be reached now."""

    code = "offline"
    exit_code = 6


class TimedOut(LocalError):
    """The deadline passed."""

    code = "timeout"
    exit_code = 124


class RemoteError(MeshError):
    """Bytes from outside do not say anything we accept. ``reason`` is a name to count."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
