"""Thousands of gossip rooms, the product's own objects, under one clock.

Events are small objects in one heap, ordered by time and number; no closures, and nothing iterates a set: one seed, one
trace. A healthy link counts as heard at this very moment, so no heartbeat needs to be played; the detector asks its
links when the limit of a silence could be over at the soonest. That this changes no verdict is shown by playing them.
"""

import hashlib
import heapq
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import CONTEXT, Directory, Row, Status, encode_row
from meshnode.gossip.ground import Ground
from meshnode.gossip.letters import SignedRow
from meshnode.gossip.membership import Gossip, Input
from meshnode.gossip.messages import DialFailed
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Dial, Effect, Fact, Hangup, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Bye, DialFailure, Loss
from meshnode.links.messages import ControlReceived, LinkRejected, PeerDown, PeerUp
from meshnode.sim.fleet.beats import Beat, Step
from meshnode.sim.fleet.pulse import PACE, Pulse
from meshnode.sim.fleet.seals import Book, Seal, SealVerifier
from meshnode.sim.fleet.ship import Ship, number_of
from meshnode.sim.fleet.sight import Sight
from meshnode.sim.fleet.watch import PUSH, Watch
from meshnode.sim.fleet.wires import WAYS, Piece, Wire, components
from meshnode.sim.places import CITIES

NODES_MAX = 20_000
REGIONS_MAX = len(CITIES)
EPOCH_MS = 1_800_000_000_000
BEGIN_US = 10 * SECOND
POLL_US = 2_400 * MS  # below the shortest limit of a silence, see ``Detector._poll``
SEEDS = 3
TIMEOUT_US = 3 * SECOND  # of a dial into a black hole
DIAL_WAYS = 3  # TCP, TLS, HELLO: ways until both sides know of a link
FACTS = b'{"cpu":"8 cores","gpu":"none","memory":"32 GiB","os":"linux","release":"0.4"}'

_head = struct.Struct("<QII").pack


@dataclass(frozen=True, slots=True)
class _Start:
    ship: Ship
    boot: int


@dataclass(frozen=True, slots=True)
class _Dialled:
    ship: Ship
    boot: int
    dial: Dial


@dataclass(frozen=True, slots=True)
class _Told:
    """An input for one boot of a node. ``wire``: only while that is its link, which then ends."""

    ship: Ship
    boot: int
    event: Input
    wire: Wire | None = None


_Event = Piece | Ship | _Start | _Dialled | _Told | Beat


class Fleet:
    """All nodes, the wires between them, and the time."""

    def __init__(
        self, seed: int, nodes: int, regions: int = REGIONS_MAX, *, watch: Watch | None = None, nudge_us: int = 0,
        poll_us: int = POLL_US, survey: bool = False, heartbeats: bool = False,
    ) -> None:  # fmt: skip
        """``nudge_us``: every fifth wire is so much longer, to see that the trace tells. ``poll_us``: of detectors.

        ``survey``: regions tell in the catalogue what they have. ``heartbeats``: play them all.
        """
        assert 1 < nodes <= NODES_MAX, f"2 to {NODES_MAX} nodes, not {nodes}"
        assert 1 <= regions <= REGIONS_MAX, f"1 to {REGIONS_MAX} regions, not {regions}"
        self.seed, self.now_us, self.watch = b"%d" % seed, BEGIN_US, watch or Watch()
        self._nudge_us, self._poll_us, self._survey, self._heartbeats = nudge_us, poll_us, survey, heartbeats
        self._luck, self.draws = rng.fork(self.seed, "wires"), rng.fork(self.seed, "fleet")
        self._heap: list[tuple[int, int, _Event]] = []
        self._count = self.events = 0
        self._book, self._verifier = Book(), SealVerifier()
        self._now = Instant(BEGIN_US, EPOCH_MS)
        self._trace = hashlib.blake2b(digest_size=16)
        self.ships = [self._ship(number, regions) for number in range(nodes)]
        self.by_id = {ship.id: ship for ship in self.ships}
        self._ground = self._make_ground()

    # -- nodes --------------------------------------------------------------------------------------------------------

    def start_all(self, within_us: int = SECOND) -> None:
        """Each begins at a moment of its own, knows all rows, and dials a few drawn ones of its region."""
        for ship in self.ships:
            self._push(self.now_us + self.draws.randrange(within_us), _Start(ship, ship.boot))

    def running(self) -> list[Ship]:
        return [ship for ship in self.ships if ship.running]

    def kill(self, ship: Ship) -> None:
        """SIGKILL: its links are reset and its port refuses."""
        ship.running, ship.due_us = False, None
        for peer, wire in list(ship.links.items()):
            del ship.links[peer]
            how = Loss.RESET if wire.black_us is None else Loss.SILENT
            self._end(wire, self.by_id[peer], PeerDown(ship.id, how, ""))

    def restart(self, ship: Ship) -> None:
        ship.boot += 1
        self._push(self.now_us, _Start(ship, ship.boot))

    def silence(self, ship: Ship) -> None:
        """Its cable is out: no reset, no refusal."""
        ship.dark = True
        for wire in ship.links.values():
            wire.blacken(self.now_us, PACE.idle_us(len(self.by_id[wire.ends[0]].links)))

    def heal(self, ship: Ship) -> None:
        """Its links carry again, first what waited in them."""
        ship.dark = False
        for peer, wire in ship.links.items():
            if wire.black_us is not None and not self.by_id[peer].dark:
                wire.black_us = None
                pieces, wire.waiting = wire.waiting, []
                for piece in pieces:
                    self._push(self.now_us + wire.way_us, piece)

    def tell(self, ship: Ship, event: Input) -> None:
        """An input from the floors around."""
        if ship.running:
            self._perform(ship, ship.room.handle(event, self._now))
            self._plan(ship)

    def components(self) -> list[int]:
        """How many running nodes hang together, biggest part first."""
        return components({ship.id: list(ship.links) for ship in self.running()})

    def trace(self) -> str:
        """Of all letters that arrived: equal runs give equal ones in every process."""
        return self._trace.hexdigest()

    # -- time ---------------------------------------------------------------------------------------------------------

    def run_for(self, us: int) -> None:
        end_us, heap = self.now_us + us, self._heap
        while heap and heap[0][0] <= end_us:
            at_us, _, event = heapq.heappop(heap)
            if at_us != self.now_us:
                self._set_time(at_us)
            if isinstance(event, Piece):
                self._arrive(event)
            elif isinstance(event, Ship):
                self._wake(event, at_us)
            else:
                self.events += 1
                self._rarely(event)
        self._set_time(end_us)

    def _set_time(self, at_us: int) -> None:
        self.now_us, self._now = at_us, Instant(at_us, EPOCH_MS + at_us // 1000)

    def _push(self, at_us: int, event: _Event) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, event))

    # -- events -------------------------------------------------------------------------------------------------------

    def _arrive(self, piece: Piece) -> None:
        wire, side = piece.wire, piece.side
        sender, ship = wire.ends[side], self.by_id[wire.ends[1 - side]]
        if ship.links.get(sender) is not wire:
            return
        if wire.black_us is not None:
            wire.waiting.append(piece)
            return
        if wire.pulse is not None:
            wire.pulse.heard_us[1 - side] = self.now_us
        now, trace = self._now, self._trace
        trace.update(_head(self.now_us, self.by_id[sender].number, ship.number))
        gossip = ship.room
        for body in piece.letters:
            trace.update(body)
            self._perform(ship, gossip.take(ControlReceived(sender, Channel.GOSSIP, body), now))
        self._perform(ship, gossip.flush(now))
        self.events += len(piece.letters)
        self._plan(ship)

    def _wake(self, ship: Ship, at_us: int) -> None:
        """The one in the heap may be older than what the room wants now."""
        if ship.due_us != at_us:
            return
        ship.due_us = None
        due_us = ship.room.deadline()
        if due_us is not None and due_us <= at_us:
            self.events += 1
            self._perform(ship, ship.room.wake(self._now))
        self._plan(ship)

    def _plan(self, ship: Ship) -> None:
        if not ship.running or (due_us := ship.room.deadline()) is None:
            return
        due_us = max(due_us, self.now_us)
        if ship.due_us is None or due_us < ship.due_us:
            ship.due_us = due_us
            self._push(due_us, ship)

    def _rarely(self, event: "_Start | _Dialled | _Told | Beat") -> None:
        if isinstance(event, Beat):
            self._beat(event)
            return
        ship = event.ship
        if event.boot != ship.boot:
            return
        match event:
            case _Start():
                self._start(ship)
            case _Dialled(dial=dial):
                self._link(ship, dial)
            case _Told(event=told, wire=wire):
                if wire is not None and isinstance(told, PeerDown):
                    if ship.links.get(told.peer) is not wire:
                        return
                    del ship.links[told.peer]
                self.tell(ship, told)

    def _start(self, ship: Ship) -> None:
        ship.links.clear()
        near = [other for other in self._near(ship) if other is not ship]
        seeds = self.draws.sample(near, min(SEEDS, len(near)))
        config = GossipConfig(
            node=ship.id, name=ship.name, region=ship.region, boot=ship.boot, member=ship.member,
            endpoints=(ship.address,), seeds=tuple(seed.address for seed in seeds), facts=FACTS, poll_us=self._poll_us,
            ping_us=PACE.idle_ping_max_us,
        )  # fmt: skip
        ship.gossip = Gossip(
            config, signer=ship.seal, verifier=self._verifier, trust=self._book, links=ship.stats,
            rng=rng.fork(self.seed, f"{ship.name}/{ship.boot}"), ground=self._ground,
        )  # fmt: skip
        ship.running, ship.started_us = True, self.now_us
        if self._survey:
            ship.gossip.catalogue.surveyed(Sight(ship.gossip), self.now_us)
        self._perform(ship, ship.gossip.start(self._now))
        self._plan(ship)

    def _beat(self, beat: Beat) -> None:
        """Who heard nothing for a while pings, and whoever is pinged answers."""
        wire, side = beat.wire, beat.side
        pulse, ship = wire.pulse, self.by_id[wire.ends[side if beat.step is Step.DUE else 1 - side]]
        if pulse is None or ship.links.get(wire.ends[1 - side if beat.step is Step.DUE else side]) is not wire:
            return
        if beat.step is Step.DUE:
            if pulse.due_us(side, len(ship.links)) <= self.now_us:
                pulse.pinged_us[side] = self.now_us
                self._push(self.now_us + wire.way_us, Beat(wire, side, Step.PING))
            self._push(pulse.due_us(side, len(ship.links)), beat)
        elif wire.black_us is None:
            pulse.heard_us[1 - side] = self.now_us
            if beat.step is Step.PING:
                self._push(self.now_us + wire.way_us, Beat(wire, 1 - side, Step.PONG))

    def _near(self, ship: Ship) -> Sequence[Ship]:
        return self.ships[ship.city :: self._regions]

    # -- what rooms want ----------------------------------------------------------------------------------------------

    def _perform(self, ship: Ship, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(ship, effect)
            elif isinstance(effect, Fact):
                self.watch.told(ship.id, effect, self.now_us)
            elif isinstance(effect, Dial):
                self._dial(ship, effect)
            elif isinstance(effect, Hangup):
                self._hang_up(ship, effect)
            elif isinstance(effect, Reject):
                self.watch.refused(effect.reason)

    def _send(self, ship: Ship, send: Send) -> None:
        wire = ship.links.get(send.peer)
        if wire is None:
            return
        side, body, watch = 0 if wire.ends[0] == ship.id else 1, send.body, self.watch
        if body[1] == PUSH:
            watch.pushed(ship.id, body)
        watch.letters[body[1]] += 1
        watch.bytes[body[1]] += len(body)
        piece = wire.last[side]
        if piece is None or piece.sent_us != self.now_us:
            piece = wire.piece(side, self.now_us, self._luck)
            watch.pieces += 1
            self._push(piece.at_us, piece)
        piece.letters.append(body)

    def _dial(self, ship: Ship, dial: Dial) -> None:
        other = self.ships[number_of(dial.host)]
        way_us = self._way_us(ship, other)
        if ship.dark or other.dark:
            self._later(TIMEOUT_US, ship, DialFailed(dial.dial_no, DialFailure.TIMEOUT))
        elif other is ship:
            self._later(0, ship, LinkRejected(dial.dial_no, ship.id, Loss.CLOSED, Bye.SELF))
        elif not other.running:
            self._later(2 * way_us, ship, DialFailed(dial.dial_no, DialFailure.REFUSED))
        else:
            self._push(self.now_us + DIAL_WAYS * way_us, _Dialled(ship, ship.boot, dial))

    def _link(self, ship: Ship, dial: Dial) -> None:
        """Both sides know at once. A link that stands already wins."""
        other = self.ships[number_of(dial.host)]
        if not ship.running:
            return
        if ship.dark or other.dark:
            self._later(TIMEOUT_US, ship, DialFailed(dial.dial_no, DialFailure.TIMEOUT))
        elif not other.running:
            self.tell(ship, DialFailed(dial.dial_no, DialFailure.REFUSED))
        elif other.id in ship.links or ship.id in other.links:
            self.tell(ship, LinkRejected(dial.dial_no, other.id, Loss.REPLACED, Bye.DUPLICATE_LINK))
        else:
            wire = Wire((ship.id, other.id), self._way_us(ship, other), self.now_us)
            ship.links[other.id] = other.links[ship.id] = wire
            if self._heartbeats:
                wire.pulse = Pulse(self.now_us)
                for side, end in enumerate((ship, other)):
                    self._push(wire.pulse.due_us(side, len(end.links)), Beat(wire, side, Step.DUE))
            self.tell(ship, _peer_up(other, dial.dial_no, f"{dial.host}:{dial.port}"))
            self.tell(other, _peer_up(ship, 0, ""))

    def _hang_up(self, ship: Ship, hangup: Hangup) -> None:
        wire = ship.links.pop(hangup.peer, None)
        if wire is None:
            return
        self._later(0, ship, PeerDown(hangup.peer, Loss.CLOSED, ""))
        if wire.black_us is None:
            self._end(wire, self.by_id[hangup.peer], PeerDown(ship.id, Loss.EOF, hangup.reason))

    def _end(self, wire: Wire, other: Ship, event: PeerDown) -> None:
        """The other side learns it after all that was sent before."""
        before = wire.last[1 if other.id == wire.ends[0] else 0]
        at_us = max(self.now_us + wire.way_us, before.at_us if before is not None else 0)
        self._push(at_us, _Told(other, other.boot, event, wire))

    def _later(self, after_us: int, ship: Ship, event: Input) -> None:
        self._push(self.now_us + after_us, _Told(ship, ship.boot, event))

    def _way_us(self, ship: Ship, other: Ship) -> int:
        odd = self._nudge_us if (ship.number + other.number) % 5 == 0 else 0
        return WAYS[ship.city][other.city] + odd

    # -- beginnings ---------------------------------------------------------------------------------------------------

    def _ship(self, number: int, regions: int) -> Ship:
        self._regions = regions
        seal, city = Seal(self.seed, f"n{number}"), number % regions
        region = CITIES[city].name
        return Ship(self, number, seal, city, region, self._book.enter(seal, f"n{number}", region))

    def _make_ground(self) -> Ground:
        """All first rows, offered to one directory, as a repair would bring them."""
        directory = Directory(self._verifier, self._book, packed_from=NODES_MAX)  # one for all: time counts, not room
        for ship in self.ships:
            row = Row(ship.id, ship.boot, 0, Status.ALIVE, (ship.address,), FACTS, EPOCH_MS)
            body = encode_row(row)
            merge = directory.offer(SignedRow(body, ship.seal.sign(CONTEXT, body), ship.member))
            assert merge is not None, "each node is another one"
            directory.hold(merge, save=False)
        return Ground(directory.own())


def _peer_up(peer: Ship, dial_no: int, address: str) -> PeerUp:
    return PeerUp(peer.id, peer.name, peer.region, peer.boot, dial_no == 0, dial_no, address, peer.member)
