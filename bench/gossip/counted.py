"""The daemon of this bench, with what it writes on its links counted, and no load of its own machine to tell.

Beside what ``daemon.py`` says, every half second in which something happens:

    sent NODE PIECES/BYTES     given to connections since the start, before TLS
"""

import os
import sys

from bench.gossip.daemon import Overheard, listen, say
from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, Instant
from meshnode.links.messages import Transmit
from meshnode.node.inputs import Input, LoadSampled

TELL_US = 500 * MS


class Counted(Overheard):
    """Counts ``Transmit``: one is one write, one TLS record."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # as Core
        self._pieces = self._bytes = self._told_us = 0

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        if type(event) is LoadSampled:
            return []
        return self._count(super().handle(event, now), now)

    def wake(self, now: Instant) -> list[Effect]:
        return self._count(super().wake(now), now)

    def _count(self, effects: list[Effect], now: Instant) -> list[Effect]:
        sizes = [len(effect.data) for effect in effects if isinstance(effect, Transmit)]
        self._pieces += len(sizes)
        self._bytes += sum(sizes)
        if now.mono_us - self._told_us >= TELL_US:
            self._told_us = now.mono_us
            say("sent", self.config.node, f"{self._pieces}/{self._bytes}")
        return effects


if __name__ == "__main__":
    status = run(sys.argv[1:], Adapt(ports=AS_BUILT.ports, disk=AS_BUILT.disk, core=Counted, beside=listen))
    os._exit(status)
