"""The daemon's log: one line an event, with its fields behind it."""

import faulthandler
import logging
import signal
import sys

_STDERR = 2
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class WithFields(logging.Formatter):
    """``time level room: what happened  field=value ...``: what was given as ``extra`` is where the facts are."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name logging calls
        fields = [f"{name}={value}" for name, value in vars(record).items() if name not in _OWN]
        return "  ".join([super().formatMessage(record), *fields])


def to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithFields("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


def stacks_to_stderr() -> None:
    """Where each thread stands: when native code ends the process, and when somebody asks with SIGUSR2, after which
    the process goes on. It goes to the process's own standard error: a handler of signals writes to a descriptor, which
    what stands in for ``sys.stderr`` need not have."""
    faulthandler.enable(_STDERR)
    faulthandler.register(signal.SIGUSR2, _STDERR)
