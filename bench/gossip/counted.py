"""The daemon of this bench, with what it writes on its links counted, and no load of its own machine to tell.

Beside what ``daemon.py`` says, every half second in which something happens:

    sent NODE PIECES/BYTES     given to connections since the start, before TLS
"""

import os

from bench.gossip.daemon import Weighed, say, serve
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, Instant
from meshnode.node.inputs import Input, LoadSampled

TELL_US = 500 * MS


class Counted(Weighed):
    """Counts pieces and bytes."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # as Core
        self._pieces = self._bytes = self._told_us = 0

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        if type(event) is LoadSampled:
            return []
        return super().handle(event, now)

    def wrote(self, pieces: list[bytes], now: Instant) -> None:
        self._pieces += len(pieces)
        self._bytes += sum(map(len, pieces))
        if now.mono_us - self._told_us >= TELL_US:
            self._told_us = now.mono_us
            say("sent", self.config.node, f"{self._pieces}/{self._bytes}")


if __name__ == "__main__":
    os._exit(serve(Counted))
