"""Fuzz target: what two nodes live through together. An input is a program, a byte a step: the low three bits say what

    0 a call or an item is posted   1 a letter is sent   2 bytes of one link arrive, all or half of them   3 all arrive
    4 a connection breaks, or one hangs up   5 one of them dials (for a lane, if it wants one: or that fails), or the
    other one starts again   6 time passes
    7 one of them lies

and the high five who, which or how much. A lie is a forged frame of a session, its number the byte after it. One pair
lives through many programs; the first of them says whether anybody lies in any.

Properties beside "no exception out of the machines": nothing is taken twice, letters and the frames of one call come in
order, by link or lane, whatever broke meanwhile (as long as nobody lies); at the end nothing is left to wait for; and a
third node's link still comes up.
"""

import itertools
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.kernel.effects import Channel, Dial, Hangup, Send
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.hello import Ping, Pong, Total, frame_of
from meshnode.links.messages import ControlReceived, FramesReceived, LaneFailed, LinkLost, LinkOpened
from meshnode.model.ids import LinkId
from meshnode.wire.frame import Frame, Kind, encode
from meshnode.wire.parts import call_of
from tests.fuzz.fuzz_links import NODES, NOW, End, still_links

CORPUS = Path(__file__).parent / "corpus" / "sessions"
NAMES = ("me", "liar")
_OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))
SIZES = (1, 300, 5_000, 40_000)
STEPS_MAX = 96
LIVING_STEPS_MAX = 16  # of a program, where the pair lives on
LINKS_MAX = 8
ROUNDS = 4
ROUNDS_MAX = 16  # of the end: so long it lasts until a lane that was given up may be dialled again
CALL_HEADERS = tuple(b"\x92\xc4\x10" + bytes([number]) * 16 + b"\0" for number in range(3))
NUMBER_BYTES = 4
BOOTS_MAX = 4  # of a program
LETTERS, EVENTS = b"letters", b"events"  # beside the ids of calls
GOODBYES = (Bye.IDLE, Bye.EVICTED, Bye.UNTRUSTED, Bye.SILENT)


class Wire:
    """One connection: what each end has said and the other has not heard."""

    def __init__(self, number: int) -> None:
        self.ends = {name: LinkId(2 * number + at) for at, name in enumerate(NAMES)}
        self.waiting = dict.fromkeys(NAMES, b"")  # by who is to hear it


class Side(End):
    """One node; keeps apart what it says on each link."""

    def __init__(self, name: str, now: Instant, boot: int = 1) -> None:
        super().__init__(name, boot)
        self.name, self.boot, self.now = name, boot, now
        self.said_on: dict[LinkId, bytes] = {}

    def transmit(self, link: LinkId, data: bytes) -> None:
        self.said_on[link] = self.said_on.get(link, b"") + data

    def said(self) -> bytes:
        said, self.said_on = b"".join(self.said_on.values()), {}
        return said


class Pair:
    """Both of them and what is between them."""

    def __init__(self) -> None:
        self.now = NOW
        self.sides = {name: Side(name, NOW) for name in NAMES}
        self.wires: list[Wire] = []
        self.lied, self.boots_max = False, BOOTS_MAX
        self.lanes: list[tuple[str, int]] = []  # who wants one, and the number of its dial
        self.got = {name: dict[bytes, list[int]]() for name in NAMES}
        self._posted, self._dialled = itertools.count(1), itertools.count(1)

    # -- steps --------------------------------------------------------------------------------------------------------

    def post(self, how: int, _: Iterator[int]) -> None:
        side, other = self._who(how)
        body = next(self._posted).to_bytes(NUMBER_BYTES) + bytes(SIZES[how >> 1 & 3])
        kind = (Kind.CALL, Kind.CHUNK, Kind.CHUNK, Kind.EVENT)[how >> 3 & 3]
        header = b"\x90" if kind is Kind.EVENT else CALL_HEADERS[int.from_bytes(body[:NUMBER_BYTES]) % 3]
        side.post(NODES[other.name], Frame(kind, header=header, payload=body))

    def send(self, how: int, _: Iterator[int]) -> None:
        side, other = self._who(how)
        body = next(self._posted).to_bytes(NUMBER_BYTES) + bytes(SIZES[how >> 1 & 1])
        letter = Send(NODES[other.name], Channel.GOSSIP, body, patient=bool(how & 8))
        side.take(side.hub.handle(letter, self.now))

    def arrive(self, how: int, _: Iterator[int]) -> None:
        if self.wires:
            wire = self.wires[(how >> 2) % len(self.wires)]
            self._hear(wire, NAMES[how & 1], half=bool(how & 2))

    def arrive_all(self, _: int, __: Iterator[int]) -> None:
        for _ in range(ROUNDS):
            waiting = [(wire, name) for wire in self.wires for name in NAMES if wire.waiting[name]]
            for wire, name in waiting:
                self._hear(wire, name)
            self.collect()
            if not waiting and not self.lanes:
                return
            while self.lanes:
                self._lane()

    def break_one(self, how: int, _: Iterator[int]) -> None:
        side, other = self._who(how)
        if how >= 24:
            side.take(side.hub.handle(Hangup(NODES[other.name], GOODBYES[how & 3]), self.now))
        elif self.wires:
            self._break(self.wires[how % len(self.wires)])

    def dial(self, how: int, _: Iterator[int]) -> None:
        side, other = self._who(how)
        if how >= 28 and other.boot < self.boots_max:
            self._start_again(other)
        if self.lanes:
            self._lane(fails=bool(how & 4))
        elif len(self.wires) < LINKS_MAX:
            wire = self._wire()
            side.open(wire.ends[side.name], other.name, inbound=False)
            other.open(wire.ends[other.name], side.name, inbound=True)

    def wait(self, how: int, _: Iterator[int]) -> None:
        self.now = Instant(self.now.mono_us + how * how * 20 * MS, self.now.wall_ms + how * how * 20)
        for side in self.sides.values():
            side.now = self.now
            side.take(side.hub.wake(self.now))

    def lie(self, how: int, rest: Iterator[int]) -> None:
        number = next(rest, 0)
        forged = (
            frame_of(Kind.ACK, Total(number)), frame_of(Kind.CREDIT, Total(number << 16)),
            frame_of(Kind.CREDIT, Total(number << 16), 1), frame_of(Kind.PONG, Pong(number), number),
            frame_of(Kind.PING, Ping(number, -number), number), Frame(Kind.CONTROL, 1, number),
            Frame(Kind.CHUNK, 1, payload=bytes(number * 4096)), Frame(Kind.GRANT, 0),
        )  # fmt: skip
        self.lied = True
        if self.wires:
            wire = self.wires[number % len(self.wires)]
            wire.waiting[NAMES[how & 1]] += encode(forged[how >> 1 & 7])

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wire(self) -> Wire:
        wire = Wire(next(self._dialled))
        self.wires.append(wire)
        return wire

    def _lane(self, *, fails: bool = False) -> None:
        """The dial that was asked for longest."""
        name, dial_no = self.lanes.pop(0)
        side, other = self.sides[name], self.sides[_OTHER[name]]
        if fails or len(self.wires) >= LINKS_MAX:
            side.take(side.hub.handle(LaneFailed(dial_no), self.now))
            return
        wire = self._wire()
        opened = LinkOpened(wire.ends[name], NODES[other.name], other.name, False, dial_no, f"{other.name}:7000")
        side.take(side.hub.handle(opened, self.now))
        other.open(wire.ends[other.name], name, inbound=True)

    def _who(self, how: int) -> tuple[Side, Side]:
        return self.sides[NAMES[how & 1]], self.sides[NAMES[1 - (how & 1)]]

    def collect(self) -> None:
        """What was said is on its way; what was closed is closed; what was taken is noted."""
        for side in self.sides.values():
            if side.said_on:
                self._spread(side.name)
            for wire in [wire for wire in self.wires if wire.ends[side.name] in side.closed] if side.closed else ():
                self._hear(wire, _OTHER[side.name])  # a goodbye is heard before the end
                self._break(wire)
            if side.told:
                self._note(side)

    def _note(self, side: Side) -> None:
        got = self.got[side.name]
        for effect in side.told:
            match effect:
                case ControlReceived(peer, _, body) if peer != NODES["honest"]:
                    got.setdefault(LETTERS, []).append(int.from_bytes(body[:NUMBER_BYTES]))
                case FramesReceived(_, frames):
                    for each in frames:
                        call = EVENTS if each.kind is Kind.EVENT else call_of(each.header)
                        got.setdefault(call, []).append(int.from_bytes(each.payload[:NUMBER_BYTES]))
                case Dial(dial_no):
                    self.lanes.append((side.name, dial_no))
                case _:
                    pass
        side.told.clear()

    def _hear(self, wire: Wire, name: str, *, half: bool = False) -> None:
        data = wire.waiting[name]
        if data:
            count = len(data) // 2 if half else len(data)
            wire.waiting[name] = data[count:]
            self.sides[name].hear(wire.ends[name], data[:count])
            self._spread(name)

    def _spread(self, name: str) -> None:
        side, other = self.sides[name], _OTHER[name]
        for wire in self.wires if side.said_on else ():
            said = side.said_on.pop(wire.ends[name], b"")
            if said:
                wire.waiting[other] += said

    def _break(self, wire: Wire) -> None:
        if wire in self.wires:
            self.wires.remove(wire)
            for side in self.sides.values():
                side.take(side.hub.handle(LinkLost(wire.ends[side.name], Loss.RESET), self.now))

    def _start_again(self, side: Side) -> None:
        for wire in list(self.wires):
            self._break(wire)
        self._note(side)
        self.lanes = [(name, dial_no) for name, dial_no in self.lanes if name != side.name]
        self.sides[side.name] = Side(side.name, self.now, side.boot + 1)

    def end(self) -> None:
        for wire in list(self.wires):
            self._break(wire)
        for _ in range(ROUNDS_MAX):
            self.wait(63, iter(()))
            self.collect()
            if all(side.hub.deadline() is None for side in self.sides.values()):
                break
        for side in self.sides.values():
            assert side.hub.deadline() is None, "nobody is left to wait for"
        if not self.lied:
            for got in self.got.values():
                numbers = list(itertools.chain.from_iterable(got.values()))
                assert len(set(numbers)) == len(numbers), "taken twice"
                for call, came in got.items():
                    assert call == EVENTS or came == sorted(came), "out of order"
        me = self.sides["me"]
        me.closed.clear()
        still_links(me)


STEPS: tuple[Callable[[Pair, int, Iterator[int]], None], ...] = (
    Pair.post, Pair.send, Pair.arrive, Pair.arrive_all, Pair.break_one, Pair.dial, Pair.wait, Pair.lie,
)  # fmt: skip


class Years:
    """One pair for many programs. Before most of them all that was said has come, and a link is up."""

    def __init__(self) -> None:
        self._pair, self._honest = Pair(), True

    def tell(self, data: bytes) -> None:
        pair, luck = self._pair, zlib.crc32(data)
        if pair.now is NOW:
            self._honest = bool(luck & 8)
        pair.wait(1, iter(()))
        pair.boots_max = BOOTS_MAX + max(side.boot for side in pair.sides.values())
        if luck & 3:
            pair.arrive_all(0, iter(()))
            if not pair.wires:
                pair.dial(luck >> 4 & 1, iter(()))
                pair.arrive_all(0, iter(()))
        pair.collect()
        _played(pair, data[:LIVING_STEPS_MAX], lies=not self._honest)

    def end(self) -> None:
        self._pair.end()


def one_input(data: bytes) -> None:
    pair = Pair()
    _played(pair, data[:STEPS_MAX])
    pair.end()


def _played(pair: Pair, program: bytes, *, lies: bool = True) -> None:
    rest = iter(program)
    for step in rest:
        do = STEPS[step & 7]
        if lies or do is not Pair.lie:
            do(pair, step >> 3, rest)
            pair.collect()


def program(*steps: tuple[int, int] | int) -> bytes:
    return bytes(step if isinstance(step, int) else step[0] | step[1] << 3 for step in steps)


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the corpus was made."""
    up = ((5, 0), (3, 0))
    yield "empty", b""
    yield "talk", program(*up, (0, 0), (0, 3), (1, 0), (1, 1), (3, 0), (6, 2), (3, 0))
    yield "break-and-resume", program(*up, (0, 0), (0, 4), (2, 1), (4, 0), (0, 2), (5, 1), (3, 0), (6, 4), (3, 0))
    yield "break-in-the-middle", program(*up, *[(0, 6)] * 4, (2, 3), (4, 0), (5, 0), (3, 0), (0, 1), (3, 0))
    yield "both-dial", program((5, 0), (5, 1), (2, 0), (2, 5), (3, 0), (0, 0), (0, 1), (3, 0))
    yield "dial-beside-a-silent-link", program(*up, (0, 0), (6, 20), (5, 0), (3, 0), (0, 1), (3, 0))
    yield "starts-again", program(*up, (0, 0), (5, 28), (3, 0), (0, 0), (0, 1), (3, 0))
    yield "expires", program(*up, (0, 0), (4, 0), (6, 31), (6, 31), (5, 1), (3, 0), (0, 1), (3, 0))
    yield "events", program(*up, (0, 16), (0, 17), (0, 20), (3, 0), (0, 22), (0, 22), (4, 0), (0, 16), (3, 0))
    yield (
        "patience-and-goodbyes",
        program(*up, (1, 8), (6, 15), (1, 9), (4, 24), (3, 0), (5, 1), (3, 0), (4, 31), (3, 0)),
    )
    long, short = [(0, 6)] * 3, [(0, 0)] * 3  # of three calls
    lane = (*up, *long, (3, 0), (3, 0))
    yield "lane", program(*lane, *long, (3, 0), *short, (3, 0), (6, 24), (3, 0), (6, 24), (3, 0))
    yield "lane-asked-for", program(*up, (0, 7), (0, 7), (0, 7), (3, 0), (3, 0), (0, 7), (0, 6), (3, 0))
    yield "lane-crossed", program(*lane, (6, 8), *short, *long, *short, (3, 0), *long, (3, 0))
    yield "lane-crossed-by-much", program(*lane, *short, *[(0, 6)] * 70, (3, 0))
    yield "lane-is-faster", program(*lane, (6, 8), *short, *long, (2, 5), (2, 5), (3, 0))
    yield "lane-fails", program(*up, *long, (2, 0), (2, 1), (5, 4), *long, (6, 8), *long, (5, 4), (3, 0))
    yield "lane-breaks", program(*lane, *long, (4, 1), *long, (6, 8), (3, 0), (3, 0))
    yield (
        "lane-is-awaited-in-vain",
        program(*lane, *long, (4, 1), (5, 4), (6, 8), (5, 4), (6, 20), (5, 4), (6, 20), (3, 0)),
    )
    yield "link-breaks-under-a-lane", program(*lane, *short, *long, (4, 0), (3, 0), (5, 0), (3, 0), *long, (3, 0))
    yield "full", program(*up, *[(0, 6)] * 60, (3, 0), (6, 9), (3, 0))
    for number in range(16):
        yield f"lie-{number:02}", program(*up, (0, number & 1), (3, 0), (7, number), number + 1, (3, 0), (0, 1), (3, 0))


OPENS = Years

if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("sessions", one_input, CORPUS, OPENS))
