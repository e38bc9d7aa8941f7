"""How old what is shown is, and whether that is too old to be believed."""

import time
from collections.abc import Callable

from cloud_gateway.model.rows import SourceRow
from cloud_gateway.store.port import Store

# With a feed that hears every commit this is only how long a missed one can be believed.
_ASK_AGAIN_S = 0.25


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Freshness:
    """The newest word about the source of what the store holds."""

    def __init__(self, store: Store, *, stale_after_s: float, clock_ms: Callable[[], int] = wall_ms) -> None:
        self._store, self._clock_ms = store, clock_ms
        self._stale_after_ms = stale_after_s * 1000
        self._source = SourceRow()
        self._asked_s = float("-inf")

    def heard(self, source: SourceRow) -> None:
        """A commit carried it."""
        self._source = source
        self._asked_s = time.monotonic()

    async def source(self) -> SourceRow:
        if time.monotonic() - self._asked_s > _ASK_AGAIN_S:
            self.heard(await self._store.source())
        return self._source

    @property
    def known(self) -> SourceRow:
        """The last word, however old."""
        return self._source

    def now_ms(self) -> int:
        return self._clock_ms()

    def stale(self, source: SourceRow) -> bool:
        return bool(source.problem) or self._clock_ms() - source.as_of_ms > self._stale_after_ms

    def lag_s(self) -> float:
        """Seconds since the newest proof."""
        return max(0.0, (self._clock_ms() - self._source.as_of_ms) / 1000)
