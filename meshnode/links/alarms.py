"""When the links are to be woken.

Deadlines of links mostly move later, as something was heard or said: a timer that is early is left, and set again when
it comes first. So it never fires late, and seldom for nothing.
"""

from collections.abc import Callable

from meshnode.kernel.instant import Instant
from meshnode.kernel.timers import Timers
from meshnode.links.link import Link
from meshnode.model.ids import LinkId


class Alarms:
    """``due_us``: when a link is to be woken, as it is now; it is not later than its timer says, or the timer is set
    again by ``sooner`` or ``arm``."""

    def __init__(self, due_us: Callable[[LinkId], int | None]) -> None:
        self._ask = due_us
        self._timers: Timers[LinkId] = Timers()
        self._armed: dict[LinkId, int] = {}

    def pop_due(self, now: Instant) -> list[LinkId]:
        due = self._timers.pop_due(now.mono_us)
        for link in due:
            del self._armed[link]
        return due

    def arm(self, link: Link, due_us: int | None, now: Instant) -> None:
        """At the end of a turn of the link."""
        armed = self._armed.get(link.id)
        if due_us is not None and (armed is None or due_us < armed or armed <= now.mono_us):
            self._set(link.id, due_us)

    def sooner(self, link: LinkId, due_us: int) -> None:
        """It may be due as soon as that."""
        armed = self._armed.get(link)
        if armed is None or due_us < armed:
            self._set(link, due_us)

    def forget(self, link: LinkId) -> None:
        self._timers.cancel(link)
        self._armed.pop(link, None)

    def first_us(self) -> int | None:
        """Of all links."""
        while (link := self._timers.first()) is not None:
            armed_us, due_us = self._armed[link], self._ask(link)
            if due_us is None or due_us <= armed_us:
                return armed_us
            self._set(link, due_us)
        return None

    def _set(self, link: LinkId, due_us: int) -> None:
        self._armed[link] = due_us
        self._timers.set(link, due_us)
