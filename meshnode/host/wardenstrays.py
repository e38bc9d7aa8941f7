"""Which children of a warden are to be killed, and when to look at them again. Decides only: who asks reads and kills.

A child that is no first process of a run was left by somebody: it is spared while it carries no mark of this warden, or
that of a run whose first process lives. One in the middle of an exec shows nothing, and on a busy machine it may be
there for long: it is looked at again until it shows something or has ended, each time after as long as it has hidden so
far. So a stray has shown its mark for no longer than it had hidden it when it is killed, and one that is stuck costs a
look in ten seconds.

Invariant: whoever is looked at again is a child that has not been reaped, so its number is still its own.
"""

from collections.abc import Container, Mapping

from meshnode.host.launch import NOBODY
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.timers import Timers

LOOK_AGAIN_US = 2_500
LOOK_AGAIN_US_MAX = 10 * SECOND
HOLD_US = 300 * MS  # who shows nothing for longer does not keep the end of a run from being told


class Strays:
    """``mark``: the warden's own, whose first half those of its runs have, too."""

    def __init__(self, mark: str) -> None:
        self._ours, _, _ = mark.partition(".")
        self._hidden: dict[int, int] = {}  # children that show nothing, and since when
        self._again: Timers[int] = Timers()
        self._suspects: set[int] = set()  # whose end is a reason to look: what they leave is the warden's then

    def judge(self, shown: Mapping[int, str | None], live: Container[str], now_us: int) -> list[int]:
        """All children but first processes, with their marks as they are now (``strays.mark_in``). Whom to kill."""
        killed: list[int] = []
        for pid, mark in shown.items():
            if mark is None:
                self.hides(pid, now_us)
            elif mark not in live:
                self._shows(pid)
                self._suspects.add(pid)
                if self._is_of_a_run(mark):
                    killed.append(pid)
            else:
                self._shows(pid)
        return killed

    def hides(self, pid: int, now_us: int) -> None:
        """It was looked at, and shows nothing."""
        self._suspects.add(pid)
        hidden_us = now_us - self._hidden.setdefault(pid, now_us)
        self._again.set(pid, now_us + min(max(hidden_us, LOOK_AGAIN_US), LOOK_AGAIN_US_MAX))

    def due(self, now_us: int) -> list[int]:
        """Who is to be looked at again: the answer is ``hides``, or ``judge`` for all."""
        return self._again.pop_due(now_us)

    def deadline(self) -> int | None:
        return self._again.deadline()

    def reaped(self, pid: int) -> bool:
        """It has ended. Whether all are to be looked at: what descends from it is the warden's now."""
        self._shows(pid)
        suspect = pid in self._suspects
        self._suspects.discard(pid)
        return suspect

    def hold(self, now_us: int) -> bool:
        """Somebody shows nothing who will probably show something in a moment."""
        return any(now_us - since_us < HOLD_US for since_us in self._hidden.values())

    def _shows(self, pid: int) -> None:
        self._again.cancel(pid)
        self._hidden.pop(pid, None)

    def _is_of_a_run(self, mark: str) -> bool:
        whose, _, run = mark.partition(".")
        return whose == self._ours and run not in ("", NOBODY)
