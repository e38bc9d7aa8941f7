"""Fuzz target: letters of authenticated peers into a whole gossip room, in a mesh of two regions that counts as large.

The input is a sequence of steps, each a byte that says what it is, a byte that says how long it is, and that many
bytes (the last step may be longer). What must be signed is signed by the peer, so the fuzzer looks behind that door:

    0 a letter   1 a rumour   2 a row of the peer   3 a fact of the peer   4 a refresh of it   5 an alert of it
    6 a batch of alerts of it   7 a row of the catalogue by it   8 a dial that failed   9 time passes
    10 its link breaks   11 it comes again

Properties beside "no exception out of the machine": whatever came, the room still takes an honest row and fact of
another peer, refutes what is said of itself, and holds no more than its bounds allow; every refusal has a name.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from meshnode.gossip import alerts
from meshnode.gossip.alerts import Alert
from meshnode.gossip.catalogue import CONTEXT as CATALOGUE
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import CONTEXT as DIRECTORY
from meshnode.gossip.directory import Row, Status, encode_row
from meshnode.gossip.facts import CONTEXT as SOFT
from meshnode.gossip.facts import REFRESH_CONTEXT, FactBody
from meshnode.gossip.letters import (
    AlertRumour,
    AlertsRumour,
    Letter,
    Push,
    RegionRumour,
    RowRumour,
    SignedFact,
    SignedRow,
    SoftBatch,
    SoftRefresh,
    encode,
)
from meshnode.gossip.membership import Gossip
from meshnode.gossip.messages import DialFailed, Publish
from meshnode.gossip.verdict import Evidence
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Effect, Reject
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CORPUS = Path(__file__).parent / "corpus" / "gossip_room"
STEPS_MAX = 64
WAKES_MAX = 1  # of one wait; then the clock leaps
KINDS = 12
MEMBERS = {"me": "east", "liar": "east", "honest": "east", "far": "west"}


class Key:
    """A signer whose signatures anybody can make."""

    def __init__(self, name: str) -> None:
        self.public_key = hashlib.sha256(name.encode()).digest()
        self.node = NodeId(hashlib.sha256(self.public_key).digest())

    def sign(self, context: str, body: bytes) -> bytes:
        return _signature(self.public_key, context, body)


def _signature(public_key: bytes, context: str, body: bytes) -> bytes:
    return hashlib.blake2b(public_key + context.encode() + body).digest()


KEYS = {name: Key(name) for name in MEMBERS}
PEERS = ("liar", "honest", "far")


class World:
    """Everybody is a member; the clock goes on by itself."""

    def __init__(self) -> None:
        self.linked = dict.fromkeys(KEYS[name].node for name in PEERS)
        self.now = Instant(10 * SECOND, 1_800_000_000_000)
        self.members = {
            key.node: Member(key.node, name, key.public_key, ("member",), MEMBERS[name], {}, name.encode())
            for name, key in KEYS.items()
        }

    def admit(self, record: bytes) -> Member | str:
        found = KEYS.get(record.decode(errors="replace"))
        return self.members[found.node] if found is not None else "unknown-admin"

    def member(self, node: NodeId) -> Member | None:
        return self.members.get(node)

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return signature == _signature(public_key, context, body)

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.linked)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.now.mono_us if peer in self.linked else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return 2 * MS if peer in self.linked else None


class Room:
    """A room with three neighbours. ``full_mesh_max``: up to so many nodes are all linked with each other."""

    def __init__(self, full_mesh_max: int = 2) -> None:
        self.world, self.refused = World(), dict[str, None]()
        config = GossipConfig(
            node=KEYS["me"].node,
            name="me",
            region="east",
            boot=5,
            member=b"me",
            whole_mesh_max=2,
            full_mesh_max=full_mesh_max,
        )
        self.machine = Gossip(
            config, signer=KEYS["me"], verifier=self.world, trust=self.world, links=self.world,
            rng=rng.fork(b"fuzz", "gossip"),
        )  # fmt: skip
        self.take(self.machine.start(self.world.now))
        for name in PEERS:
            self.come(name)
            self.hear(name, Push(encode(RowRumour(_row_of(name, boot=1)))))
        self.take(self.machine.handle(Publish("load", b"1"), self.world.now))

    def come(self, name: str) -> None:
        node = KEYS[name].node
        self.world.linked[node] = None
        up = PeerUp(node, name, MEMBERS[name], 1, True, 0, f"{name}:7000", name.encode())
        self.take(self.machine.handle(up, self.world.now))

    def go(self, name: str) -> None:
        if self.world.linked.pop(KEYS[name].node, 0) is None:
            self.take(self.machine.handle(PeerDown(KEYS[name].node, Loss.RESET, ""), self.world.now))

    def hear(self, name: str, letter: Letter) -> None:
        self.told(name, encode(letter))

    def told(self, name: str, body: bytes) -> None:
        if KEYS[name].node in self.world.linked:
            self.take(self.machine.handle(ControlReceived(KEYS[name].node, Channel.GOSSIP, body), self.world.now))

    def wait(self, for_us: int) -> None:
        end_us = self.world.now.mono_us + for_us
        for _ in range(WAKES_MAX):
            due_us = self.machine.deadline()
            if due_us is None or due_us > end_us:
                break
            self.world.now = Instant(max(due_us, self.world.now.mono_us), self.world.now.wall_ms)
            self.take(self.machine.wake(self.world.now))
        self.world.now = Instant(end_us, self.world.now.wall_ms)
        self.take(self.machine.wake(self.world.now))

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Reject):
                assert effect.reason and self.machine.counters[effect.reason], "a refusal is named and counted"
                self.refused[effect.reason] = None


class Guests:
    """One room for many inputs: a second passes after each, so that what came before is not all a limit sees.

    To choose links costs more than all letters, and hears little of what they say: here everybody is linked.
    """

    def __init__(self, full_mesh_max: int = len(MEMBERS)) -> None:
        self._room = Room(full_mesh_max)

    def tell(self, data: bytes) -> None:
        room = self._room
        room.refused = dict[str, None]()
        room.world.now = Instant(room.world.now.mono_us + SECOND, room.world.now.wall_ms + 1_000)
        for kind, body in _steps(data):
            _step(room, kind, body)
        if room.refused:
            raise RemoteError(next(iter(room.refused)))

    def end(self) -> None:
        _still_works(self._room)


def one_input(data: bytes) -> None:
    guests = Guests(full_mesh_max=2)
    try:
        guests.tell(data)
    finally:
        guests.end()


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    for _ in range(STEPS_MAX):
        if len(data) < 2:
            return
        kind, length = data[0], data[1]
        body = data[2:] if length == 255 else data[2 : 2 + length]
        data = data[2 + len(body) :]
        yield kind, body


def _step(room: Room, kind: int, body: bytes) -> None:
    name, number = PEERS[kind // KINDS % len(PEERS)], int.from_bytes(body[:4])
    sign, told = KEYS[name].sign, _TOLD.get(kind % KINDS)
    match kind % KINDS:
        case 0:
            room.told(name, body)
        case 1:
            room.hear(name, Push(body))
        case 8:
            failures = tuple(DialFailure)
            room.take(room.machine.handle(DialFailed(number % 8, failures[number % len(failures)]), room.world.now))
        case 9:
            room.wait(number % (600 * SECOND))
        case 10:
            room.go(name)
        case 11:
            room.come(name)
        case _:
            assert told is not None, "every kind has its way"
            room.hear(name, told(name, body, sign))


Signing = Callable[[str, bytes], bytes]


def _told_row(name: str, body: bytes, sign: Signing) -> Letter:
    return Push(encode(RowRumour(SignedRow(body, sign(DIRECTORY, body), name.encode()))))


def _told_fact(_: str, body: bytes, sign: Signing) -> Letter:
    return SoftBatch([SignedFact(0, body, sign(SOFT, body))])


def _told_refresh(_: str, body: bytes, sign: Signing) -> Letter:
    return SoftRefresh(0, body, sign(REFRESH_CONTEXT, body))


def _told_alert(_: str, body: bytes, sign: Signing) -> Letter:
    return Push(encode(AlertRumour(body, sign(alerts.CONTEXT, body))))


def _told_alerts(_: str, body: bytes, sign: Signing) -> Letter:
    return Push(encode(AlertsRumour(body, sign(alerts.BATCH_CONTEXT, body))))


def _told_region(_: str, body: bytes, sign: Signing) -> Letter:
    return Push(encode(RegionRumour(body, sign(CATALOGUE, body))))


_TOLD: dict[int, Callable[[str, bytes, Signing], Letter]] = {
    2: _told_row, 3: _told_fact, 4: _told_refresh, 5: _told_alert, 6: _told_alerts, 7: _told_region,
}  # fmt: skip


def _row_of(name: str, boot: int, incarnation: int = 0) -> SignedRow:
    body = encode_row(Row(KEYS[name].node, boot, incarnation, Status.ALIVE, ((name, 7000),), b"{}", 0))
    return SignedRow(body, KEYS[name].sign(DIRECTORY, body), name.encode())


def _still_works(room: Room) -> None:
    """An hour later, whatever limits were reached are free again."""
    room.wait(3_600 * SECOND)
    machine, node = room.machine, KEYS["honest"].node
    room.come("honest")
    held = machine.row(node)
    boot = (held.boot if held is not None else 0) + 1
    if boot < 2**53:
        room.hear("honest", Push(encode(RowRumour(_row_of("honest", boot)))))
        assert machine.reachable(node), machine.reason(node)
        fact = msgspec.msgpack.encode(FactBody(node, boot, 1, "skill/honest.one", b"v"))
        room.hear("honest", SoftBatch([SignedFact(0, fact, KEYS["honest"].sign(SOFT, fact))]))
        assert "skill/honest.one" in machine.soft(node), room.refused
    _refutes(room)
    assert len(machine.known()) <= len(MEMBERS)
    assert all(len(machine.soft(key.node)) <= 512 and len(machine.votes(key.node)) <= 65 for key in KEYS.values())


def _refutes(room: Room) -> None:
    own = room.machine.self_row()
    alert = msgspec.msgpack.encode(Alert(own.node, own.boot, own.incarnation, KEYS["honest"].node, Evidence.REFUSED))
    room.hear("honest", Push(encode(AlertRumour(alert, KEYS["honest"].sign(alerts.CONTEXT, alert)))))
    assert room.machine.self_row().incarnation == own.incarnation + 1


OPENS = Guests

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("gossip_room", one_input, CORPUS, OPENS))
