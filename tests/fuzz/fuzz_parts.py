"""Fuzz target: frames in parts, as a peer sends them. A program, a byte a step: the low three bits say what

    0 a frame begins   1 its next part comes, with as many bytes as it pleases   2 its last part comes
    3 a part at a place of its choice   4 a header of its choice

the high five of which frame; what else it needs are the bytes after it. The same bytes also are a frame of our own: cut
by the rota and put together again, it is what it was. One link hears many programs, until it is refused.

Properties beside "nothing but a named refusal": what is held stays within its bound, whatever is given out has all its
bytes in their order, and nothing is given out twice.
"""

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec

from meshnode.model.errors import RemoteError
from meshnode.wire.frame import HEADER_BYTES_MAX, Frame, Kind, size
from meshnode.wire.parts import OPEN_BYTES_MAX, OPEN_MAX, PART_BYTES, PART_BYTES_MIN, Assembly, PartHeader
from meshnode.wire.rota import Rota

CORPUS = Path(__file__).parent / "corpus" / "parts"
STEPS_MAX = 128
LIVING_STEPS_MAX = 24  # bytes of a program, where the link lives on
OURS_EVERY = 16
TOTALS = (1, PART_BYTES, PART_BYTES + 1, 100_000, 1_000_000, 1_114_000, 0, 2**32 - 1)
LENGTHS = (PART_BYTES, PART_BYTES_MIN, PART_BYTES_MIN - 1, 0, 1, 60_000)
ALL_KINDS = (*Kind, 0, 255)
encode = msgspec.msgpack.Encoder().encode
BESIDE = Frame(Kind.CHUNK, header=encode([b"somebody else's."]), payload=bytes(5 * PART_BYTES))


class Stranger:
    """What the peer has sent of each frame, beside what was made of it."""

    def __init__(self) -> None:
        self.assembly = Assembly()
        self.open: dict[int, tuple[int, bytearray]] = {}  # total, and what came

    def begin(self, number: int, rest: Iterator[int]) -> None:
        total, kind = TOTALS[next(rest, 0) & 7], ALL_KINDS[next(rest, 2) % len(ALL_KINDS)]
        header = bytes([number]) * (next(rest, 0) << 7)
        told = PartHeader(0, total, int(kind), number, header)
        self.send(number, encode(told), min(total, LENGTHS[next(rest, 0) % len(LENGTHS)]), total)

    def go_on(self, number: int, rest: Iterator[int]) -> None:
        have = len(self.open[number][1]) if number in self.open else PART_BYTES
        self.send(number, encode(PartHeader(have)), LENGTHS[next(rest, 0) % len(LENGTHS)])

    def finish(self, number: int, _: Iterator[int]) -> None:
        total, came = self.open.get(number, (PART_BYTES, bytearray()))
        while (left := total - len(came)) > PART_BYTES and number in self.open:
            self.send(number, encode(PartHeader(len(came))), PART_BYTES)
            _, came = self.open[number]
        self.send(number, encode(PartHeader(len(came))), left)

    def jump(self, number: int, rest: Iterator[int]) -> None:
        self.send(number, encode(PartHeader(next(rest, 0) << 12)), LENGTHS[next(rest, 0) % len(LENGTHS)])

    def forge(self, number: int, rest: Iterator[int]) -> None:
        length = next(rest, 0)
        self.send(number, bytes(byte for byte, _ in zip(rest, range(length), strict=False)), PART_BYTES)

    def send(self, number: int, header: bytes, length: int, total: int = 0) -> None:
        payload = bytes([len(self.open) + length & 255]) * length
        whole = self.assembly.take(Frame(Kind.PART, 1, number, header, payload))
        came = bytearray()
        if number in self.open:
            total, came = self.open.pop(number)
            assert msgspec.msgpack.decode(header)[0] == len(came), "neither a gap nor an overlap"
        elif not total:  # a header that was forged well
            total = msgspec.msgpack.decode(header)[1]
        came += payload
        if whole is None:
            assert len(came) < total
            self.open[number] = (total, came)
        else:
            assert whole.payload == came and len(came) == total and size(whole) <= 2 * HEADER_BYTES_MAX + total
        assert len(self.assembly) == len(self.open) <= OPEN_MAX
        assert sum(total for total, _ in self.open.values()) <= OPEN_BYTES_MAX


STEPS = (Stranger.begin, Stranger.go_on, Stranger.finish, Stranger.jump, Stranger.forge)


def one_input(data: bytes) -> None:
    _ours(data)
    stranger, rest = Stranger(), iter(data[:STEPS_MAX])
    for step in rest:
        STEPS[(step & 7) % len(STEPS)](stranger, step >> 3, rest)


class Link:
    """One stranger for many programs, until it is refused: then another one comes. Of some a frame is made, too."""

    def __init__(self) -> None:
        self._stranger = Stranger()

    def tell(self, data: bytes) -> None:
        if zlib.crc32(data) % OURS_EVERY == 0:
            _ours(data)
        rest = iter(data[:LIVING_STEPS_MAX])
        try:
            for step in rest:
                STEPS[(step & 7) % len(STEPS)](self._stranger, step >> 3, rest)
        except RemoteError:
            self._stranger = Stranger()
            raise

    def end(self) -> None:
        one_input(b"")


def _ours(data: bytes) -> None:
    """A frame is what it was, however it was cut."""
    header, times = data[:64], 1 + 40_000 // (len(data) + 1)
    frame = Frame(Kind.CHUNK, 0, len(data), header, data * times)
    rota, assembly, whole = Rota(), Assembly(), list[Frame]()
    if rota.add(frame):
        rota.add(BESIDE)  # what is alone is cut less often
        while rota:
            piece = rota.next()
            assert piece is not None
            made = assembly.take(piece[0]) if piece[0].kind is Kind.PART else piece[0]
            whole += [made] if made is not None else []
        assert sorted(whole, key=lambda each: each == BESIDE) == [frame, BESIDE] and not assembly


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the corpus was made."""
    yield "empty", b""
    yield "one", bytes([0 | 1 << 3, 3, 9, 0, 0, 1 | 1 << 3, 0, 2 | 1 << 3])
    yield "two-in-turns", bytes([0, 4, 10, 0, 0, 8, 4, 12, 0, 0, 1, 0, 9, 0, 1, 5, 2, 10])
    yield "many", b"".join(bytes([number << 3 & 255, 4, 9, 0, 0]) for number in range(20))
    yield "again", bytes([0, 3, 9, 0, 0]) * 2
    yield "overlaps", bytes([0, 3, 9, 0, 0, 3, 7, 0])
    yield "overruns", bytes([0, 2, 9, 0, 0, 1, 0])
    yield "crumbs", bytes([0, 3, 9, 0, 1, 1, 1, 1, 2])
    yield "unknown", bytes([1, 0])
    yield "control", bytes([0, 3, 7, 0, 0])
    yield "total-none", bytes([0, 6, 9, 0, 0])
    yield "total-huge", bytes([0, 7, 9, 0, 0])
    yield "header-long", bytes([0, 3, 9, 255, 0])
    yield "forged", bytes([4, 1, 0xC1])
    yield "forged-deep", bytes([4, 250]) + b"\x91" * 250


OPENS = Link

if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("parts", one_input, CORPUS, OPENS))
