"""The daemon of this bench, with all it writes on its links counted by kind.

Beside what ``daemon.py`` says, every two seconds in which something was written, of all since the start:

    wrote NODE KIND=FRAMES/BYTES,...    before TLS; ``piece`` is what was given to a connection in one go
"""

import os
from collections.abc import Sequence

from bench.gossip.daemon import Weighed, say, serve
from meshnode.gossip import letters
from meshnode.gossip.letters import Push, SoftBatch
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import SECOND, Instant
from meshnode.wire.frame import Frame, FrameReader, Kind, size

WROTE = "wrote"
PIECE = "piece"
TELL_US = 2 * SECOND


class Sorting(Weighed):
    """Reads its own pieces again: at rest they are few."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # as Core
        self._wrote: dict[str, tuple[int, int]] = {}
        self._told_us = 0

    def wrote(self, pieces: list[bytes], now: Instant) -> None:
        for data in pieces:
            self._add(PIECE, len(data))
            for frame in FrameReader().feed(data):
                self._add(kind_of(frame), size(frame))
        if pieces and now.mono_us - self._told_us >= TELL_US:
            self._told_us = now.mono_us
            told = ",".join(f"{kind}={frames}/{octets}" for kind, (frames, octets) in self._wrote.items())
            say(WROTE, self.config.node, told)

    def _add(self, kind: str, octets: int) -> None:
        frames, before = self._wrote.get(kind, (0, 0))
        self._wrote[kind] = frames + 1, before + octets


def kind_of(frame: Frame) -> str:
    """A word for people: of a letter of gossip what it is, of a rumour what it tells."""
    if frame.kind is not Kind.CONTROL:
        return frame.kind.name
    if frame.stream != Channel.GOSSIP:
        return Channel(frame.stream).name.lower()
    letter = letters.decode(frame.payload)
    if isinstance(letter, Push):
        return type(letters.decode_rumour(letter.rumour)).__name__
    return "Wish" if isinstance(letter, SoftBatch) and not letter.facts else type(letter).__name__


def read(told: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Frames and bytes by kind, of what one node said last."""
    kinds = (word.partition("=") for word in told[-1].split(",")) if told else ()
    return {kind: (int(figures.split("/")[0]), int(figures.split("/")[1])) for kind, _, figures in kinds}


if __name__ == "__main__":
    os._exit(serve(Sorting))
