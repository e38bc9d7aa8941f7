"""Whom to dial and when: seeds, finds and known nodes are retried for ever, quickly at first, then ever more patiently.

A dial into a black hole ends only by the host's timeout. So that the first dial after a cut heals is not late, a dial
to a node older than ``PATIENCE_US`` is written off here and the next one goes out beside it; at most two younger run.
One whose TCP connection stands went into no black hole: it is waited for, and a second handshake beside it, which on a
busy machine would make both late, is not begun.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from meshnode.gossip.relays import direct
from meshnode.gossip.upgrades import Upgrades
from meshnode.kernel.backoff import Backoff
from meshnode.kernel.effects import Dial, Effect, Persist
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.links.tunnelwire import relay_at
from meshnode.model.ids import UNKNOWN_NODE, NodeId

Address = tuple[str, int]

PATIENCE_US = 1_500 * MS
PATIENCE_MAX_US = 6 * SECOND
TIMES_USUAL = 4  # written off is a dial that takes so many times as long as others took lately, and that long at least
YOUNG_MAX = 2
RACE_US = 250 * MS  # between a node's addresses in the first round (RFC 8305, section 5); the first link wins
RACERS_MAX = 4
DIALS_MAX = 6  # young ones in all: a handshake costs both sides, and many at once starve the links that stand
# With those that are to be evidence, since a refusal costs nobody a handshake, and with first dials beside repeated
# ones: dials into a cut would leave no room for those who are well, for as long as it lasts.
URGENT_MAX = 16
VANISHED_US = 12 * SECOND  # longer than any host's timeout: the link it made replaced another one, and nobody tells
QUICK_FOR_US = 180 * SECOND
QUICK_US = (600 * MS, 950 * MS)
CALM_US = (1_500 * MS, 2_400 * MS)  # the same for who has links enough and only looks for the other side of a cut
LONELY_US = 5 * SECOND
FLAP_US = 10 * SECOND
FLAPS_FREE = 3  # links lost right after they came up, before dialling slows down
FOUND_MAX = 1024
PLACES_MAX = 256  # addresses without a known node
WORKED_MAX = 32
FAR_MIN = 8  # of them in other regions, if there ever were so many: a region that comes back alone must find the rest
NODE_PACE = Backoff(first_us=SECOND, cap_us=30 * SECOND)
PLACE_PACE = Backoff(first_us=2 * SECOND, cap_us=300 * SECOND)
STRANGER_PACE = Backoff(first_us=60 * SECOND, cap_us=300 * SECOND)  # somebody else answers there


@dataclass(slots=True)
class _Target:
    """A node, or a place whose node is not known yet."""

    node: NodeId
    addresses: tuple[Address, ...]
    quick_until_us: int
    told: tuple[Address, ...] = ()  # by the node, before they were put in order
    due_us: int = 0
    tries: int = 0
    slow_tries: int = 0
    strangers: int = 0
    young: dict[int, int] = field(default_factory=dict[int, int])  # dial number -> when

    @property
    def racing(self) -> bool:
        """Some of its addresses were not tried in this story."""
        return self.tries < len(self.addresses)


class Attempt(msgspec.Struct, frozen=True):
    """A dial that ended, as told by its number. ``proven``: this address has been this node's."""

    node: NodeId
    address: Address
    proven: bool


_Key = NodeId | Address


class Contacts:
    """All targets, their backoff, and the dials under way."""

    def __init__(
        self,
        rng: Random,
        *,
        own: Callable[[Address], bool],
        holder: Callable[[Address], NodeId | None],
        near: Callable[[NodeId], bool] = lambda _node: True,
        improvable: Callable[[NodeId], bool] = lambda _node: False,
        restored: Sequence[Record] = (),
    ) -> None:
        """``own``: an address is this node's, never dialled; ``holder``: whose row names an address; ``near``: a node
        is of the own region; ``improvable``: the link to a node should be another one.
        """
        self._rng, self._own, self._holder, self._near = rng, own, holder, near
        self._targets: dict[_Key, _Target] = {}
        self._due: Timers[_Key] = Timers()
        self.upgrades = Upgrades(rng, improvable)
        self._dials: dict[int, tuple[_Key, Address, int]] = {}
        self._late: dict[int, None] = {}  # dials to nodes that spoke since: that nobody answers them means nothing
        self._former: dict[int, None] = {}  # dials to those that started again since: no end of them means anything
        self._standing: dict[int, int] = {}  # dials whose TCP connection stands, and since when, TLS being under way
        self._last_dial = 0
        self._worked: dict[Address, NodeId] = {}
        self._found: dict[NodeId, tuple[int, int]] = {}  # links in quick succession, and when the last one came up
        self._calm = False
        self._took_us = 0  # from dial to link, the mean of late
        self._restore(restored)

    # -- targets ------------------------------------------------------------------------------------------------------

    def place(self, address: Address, now: Instant) -> None:
        """An address somebody gave or advertised. A known one is tried again soon."""
        if self._own(address) or (address not in self._targets and self._places() >= PLACES_MAX):
            return
        if address not in self._targets:
            self._targets[address] = _Target(UNKNOWN_NODE, (address,), now.mono_us + QUICK_FOR_US)
        self._plan(address, now.mono_us)

    def aim(self, node: NodeId, addresses: Sequence[Address], delay_us: int, now: Instant) -> None:
        """Dial a node until it is linked or dropped. Aiming again keeps the pace and takes the new addresses."""
        target, told = self._targets.get(node), tuple(addresses)
        if target is not None and target.told == told:
            return
        ordered = self._ordered(node, told)
        if target is not None:
            target.addresses, target.told = ordered, told
        elif ordered:
            self._targets[node] = _Target(node, ordered, now.mono_us + QUICK_FOR_US, told)
            self._plan(node, now.mono_us + max(delay_us, self._damping_us(node, now)))

    def moved(self) -> None:
        """This node has other addresses: those of the targets are looked at anew when they are aimed at again."""
        for target in self._targets.values():
            target.told = ()

    def drop(self, node: NodeId) -> None:
        self._targets.pop(node, None)
        self._due.cancel(node)

    def aimed(self) -> list[NodeId]:
        return [target.node for target in self._targets.values() if target.node]

    def hurry(self, node: NodeId, now: Instant) -> None:
        """Something happened around this node: start over with quick tries, the first one now."""
        target = self._targets.get(node)
        if target is not None:
            target.tries, target.slow_tries, target.strangers = 0, 0, 0
            target.quick_until_us = now.mono_us + QUICK_FOR_US
            self._plan(node, now.mono_us)

    def hasten(self, node: NodeId, now: Instant) -> None:
        """What the first dial was to wait for has come: it is tried now."""
        target = self._targets.get(node)
        at_us = now.mono_us + self._damping_us(node, now)
        if target is not None and not target.tries and target.due_us > at_us:
            self._plan(node, at_us)

    def hurry_all(self, now: Instant, within_us: int) -> None:
        """No link is left, or the network changed: nobody waits longer than ``within_us``."""
        for key, target in self._targets.items():
            at_us = now.mono_us + round(within_us * self._rng.random())
            if key not in self._due or target.due_us > at_us:
                self._plan(key, at_us)

    def found(self, dial_no: int, node: NodeId, now: Instant) -> list[Effect]:
        """A link stands. What worked is remembered over restarts, once per address and node."""
        flaps, at_us = self._found.pop(node, (0, -FLAP_US))
        self._found[node] = (flaps + 1 if now.mono_us - at_us < FLAP_US else 0, now.mono_us)
        if len(self._found) > FOUND_MAX:
            del self._found[next(iter(self._found))]
        attempt = self._dials.get(dial_no)
        self.drop(node)
        for number in [n for n, (key, _, _) in self._dials.items() if key == node]:
            self._end(number)
        if attempt is None:
            return []
        self._end(dial_no)
        self._took_us += (now.mono_us - attempt[2] - self._took_us) // 4
        place = self._targets.get(attempt[0])
        if place is not None:
            place.young.pop(dial_no, None)
            self._due.cancel(attempt[0])
        return self._remember(attempt[1], node)

    def spoke(self, node: NodeId) -> None:
        """Others hear it, now: what was dialled before went into a cut that is over."""
        self._late.update((number, None) for number, (key, _, _) in self._dials.items() if key == node)

    def restarted(self, node: NodeId, now: Instant) -> None:
        """Another process of it runs: its old trouble is over, and what became of the former one is no news."""
        for number, (key, address, _) in self._dials.items():
            if node in (key, self._worked.get(address)):
                self._former[number] = None
        self.hurry(node, now)

    def failed(self, dial_no: int, how: DialFailure, *, lonely: bool, now: Instant) -> Attempt | None:
        """A dial ended without a link. ``None``: it was written off, or says nothing."""
        dial = self._dials.get(dial_no)
        late = dial_no in self._former or (dial_no in self._late and how is DialFailure.TIMEOUT)
        self._end(dial_no)
        if dial is None:
            return None
        key, address, _ = dial
        target = self._targets.get(key)
        if target is None:
            return None
        target.young.pop(dial_no, None)
        if how is DialFailure.UNTRUSTED:
            target.strangers += 1
            self._plan(key, now.mono_us + STRANGER_PACE.wait_us(target.strangers, self._rng))
        elif key not in self._due:
            self._plan(key, now.mono_us + self._pause_us(target, now, lonely=lonely))
        if late:
            return None
        node = target.node or self._worked.get(address, UNKNOWN_NODE)
        return Attempt(node, address, proven=bool(node) and self._worked.get(address) == node)

    def reached(
        self, dial_no: int, settled: Callable[[NodeId], bool], spared_us: Callable[[NodeId], int], now: Instant
    ) -> bool:
        """The TCP connection of a dial stands: its end is to be waited for. False: it is of no use any more.

        When a cut heals, all that was dialled into it arrives at once, most of it for somebody who is linked, dialled
        by another one of these, or ``settled`` meanwhile. ``spared_us``: for so long from now there is no need of a
        link to a node, since it is to be heard of over another one; then it is dialled again.
        """
        dial = self._dials.get(dial_no)
        if dial is None:
            return False
        node = dial[0] if isinstance(dial[0], bytes) else UNKNOWN_NODE
        target = self._targets.get(dial[0])
        if (target is None and node and settled(node)) or (target is not None and self._stands(target)):
            self._end(dial_no)
            if target is not None:
                target.young.pop(dial_no, None)
            return False
        wait_us = spared_us(node) if target is not None and node else 0
        if target is not None and wait_us:
            self._end(dial_no)
            target.young.pop(dial_no, None)
            self._plan(dial[0], now.mono_us + wait_us)
            return False
        self._standing[dial_no] = now.mono_us
        return True

    def meets(self, lost: Callable[[NodeId], bool], within_us: int, now: Instant) -> bool:
        """A TCP connection to one of the ``lost`` stands since so short a time."""
        dials = [self._dials[number][0] for number, at_us in self._standing.items() if now.mono_us < at_us + within_us]
        return any(isinstance(key, bytes) and lost(key) for key in dials)

    def address(self, dial_no: int) -> Address | None:
        """Where a dial under way goes."""
        dial = self._dials.get(dial_no)
        return dial[1] if dial else None

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant, *, lonely: bool, linked: Callable[[NodeId], bool], calm: bool = False) -> list[Effect]:
        """Dial who is due. ``calm``: this node has the links it wants, so one dial at a time to each is enough."""
        self._calm = calm
        effects: list[Effect] = [self.probe(node, address, now) for node, address in self.upgrades.due(now)]
        due_us = self._due.deadline()
        if due_us is None or due_us > now.mono_us:
            return effects
        self._write_off(now)
        for key in self._due.pop_due(now.mono_us):
            target = self._targets[key]
            if not target.node and self._settled(target.addresses[0], linked):
                continue  # the node behind it is linked, or dialled under its own name
            dialled = self._try(key, target, now, self._young_max(target))
            effects += dialled
            pause_us = self._pause_us(target, now, lonely=lonely)
            if dialled or not target.node or self._stands(target):
                self._plan(key, now.mono_us + pause_us)
            else:
                free_us = min(target.young.values(), default=now.mono_us) + self._patience_us
                self._plan(key, max(free_us, now.mono_us + 50 * MS))
        return effects

    def deadline(self) -> int | None:
        return earliest(self._due.deadline(), self.upgrades.deadline())

    def probe(self, node: NodeId, address: Address, now: Instant) -> Dial:
        """Beside a link that stands: nobody is missed if it fails."""
        self._last_dial += 1
        self._dials[self._last_dial] = (node, address, now.mono_us)
        return Dial(self._last_dial, *address, node)

    def dial_now(self, node: NodeId, addresses: Sequence[Address], now: Instant) -> list[Effect]:
        """One fresh dial beside any plan: its outcome is evidence."""
        self._write_off(now)
        self.aim(node, addresses, 0, now)
        target = self._targets.get(node)
        return self._try(node, target, now, URGENT_MAX) if target is not None else []

    def _young_max(self, target: _Target) -> int:
        if target.tries or sum(len(t.young) for t in self._targets.values() if t.tries == 1) >= DIALS_MAX:
            return DIALS_MAX
        return URGENT_MAX

    def _try(self, key: _Key, target: _Target, now: Instant, young_max: int) -> list[Effect]:
        if not target.addresses or self._stands(target):
            return []  # who cannot be dialled has not named his relays yet
        young = sum(len(t.young) for t in self._targets.values())
        racing = min(RACERS_MAX, len(target.addresses)) if target.racing else 0
        usual = YOUNG_MAX if target.node and not self._calm else 1
        if young >= young_max or len(target.young) >= (max(usual, racing) if target.node else 1):
            return []
        host, port = target.addresses[target.tries % len(target.addresses)]
        target.tries += 1
        self._last_dial += 1
        self._dials[self._last_dial] = (key, (host, port), now.mono_us)
        target.young[self._last_dial] = now.mono_us
        return [Dial(self._last_dial, host, port, target.node)]

    def _write_off(self, now: Instant) -> None:
        """Old dials to nodes count no more. One that vanished made a second link to a linked node: no hurry there."""
        for number, (key, _, at_us) in list(self._dials.items()):
            if at_us > now.mono_us - self._patience_us:
                break  # in the order of dialling
            target, vanished = self._targets.get(key), at_us <= now.mono_us - VANISHED_US
            if number in self._standing and not vanished:
                continue
            if target is not None and (target.node or vanished):
                target.young.pop(number, None)
            if vanished:
                self._end(number)
                if target is not None and not target.node:
                    target.strangers += 1
                    self._plan(key, now.mono_us + STRANGER_PACE.wait_us(target.strangers, self._rng))

    def _stands(self, target: _Target) -> bool:
        return any(number in self._standing for number in target.young)

    def _end(self, number: int) -> None:
        self._dials.pop(number, None)
        self._late.pop(number, None)
        self._former.pop(number, None)
        self._standing.pop(number, None)

    @property
    def _patience_us(self) -> int:
        """On machines that are overloaded a handshake takes seconds: more of them beside it would take longer still."""
        return min(PATIENCE_MAX_US, max(PATIENCE_US, TIMES_USUAL * self._took_us))

    def _damping_us(self, node: NodeId, now: Instant) -> int:
        """Links that break as soon as they stand (a peer that refuses us for good) must not become a dialling loop."""
        flaps, at_us = self._found.get(node, (0, 0))
        if flaps < FLAPS_FREE or now.mono_us - at_us > FLAP_US:
            return 0
        return NODE_PACE.wait_us(flaps - FLAPS_FREE + 1, self._rng)

    def _plan(self, key: _Key, at_us: int) -> None:
        self._targets[key].due_us = at_us
        self._due.set(key, at_us)

    def _pause_us(self, target: _Target, now: Instant, *, lonely: bool) -> int:
        if target.racing and target.tries:
            return RACE_US
        if now.mono_us < target.quick_until_us:
            low, high = CALM_US if self._calm else QUICK_US
            return max(low + round((high - low) * self._rng.random()), self._took_us)
        pace = NODE_PACE if target.node else PLACE_PACE
        target.slow_tries += 1
        pause = pace.wait_us(target.slow_tries, self._rng)
        lost = 1 if lonely else len(self._targets) - self._places()
        if lonely or (target.node and lost > 1):
            # Who lost several at once was cut off with others, and may have to find them: one try every 5 s, whoever's
            # turn it is. A single one that is gone costs a dial in half a minute.
            pause = min(pause, round(LONELY_US * lost * (0.5 + 0.5 * self._rng.random())))
        return pause

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _ordered(self, node: NodeId, addresses: Sequence[Address]) -> tuple[Address, ...]:
        """Those that worked first, then the node's own word; relays when nothing else is left."""
        worked = [address for address, who in reversed(self._worked.items()) if who == node]
        usable = [a for a in dict.fromkeys((*worked, *addresses)) if not self._own(a)]
        straight = direct(usable)
        return (*straight, *(a for a in usable if a not in straight and relay_at(a[0]) != node))

    def _settled(self, address: Address, linked: Callable[[NodeId], bool]) -> bool:
        """The node of this address is linked, or dialled under its own name and not known to live elsewhere now."""
        node = self._worked.get(address) or self._holder(address)
        target = self._targets.get(node) if node else None
        return node is not None and (linked(node) or (target is not None and not target.strangers))

    def _remember(self, address: Address, node: NodeId) -> list[Effect]:
        if not direct([address]):
            return []  # who carries is told anew by the node itself
        known = self._worked.pop(address, None) == node
        self._worked[address] = node
        if known:
            return []
        records = [_record(address, node)]
        while len(self._worked) > WORKED_MAX:
            dropped = self._least_useful()
            del self._worked[dropped]
            records.append(_record(dropped, UNKNOWN_NODE))
        return [Persist(tuple(records))]

    def _least_useful(self) -> Address:
        """The one that worked longest ago; a near one as long as few are far."""
        near = [address for address, node in self._worked.items() if self._near(node)]
        few = len(self._worked) - len(near) <= FAR_MIN
        return near[0] if near and few else next(iter(self._worked))

    def _restore(self, records: Sequence[Record]) -> None:
        for record in records:
            host, _, port = record.key.decode(errors="replace").rpartition(":")
            known = record.kind is RecordKind.CONTACT and len(record.body) == 32
            if known and port.isdecimal():
                self._worked[host, int(port)] = NodeId(record.body)
                if len(self._worked) > WORKED_MAX:
                    del self._worked[next(iter(self._worked))]

    def restored(self) -> list[Address]:
        """Addresses that worked before this start."""
        return list(self._worked)

    def _places(self) -> int:
        return sum(not target.node for target in self._targets.values())


def _record(address: Address, node: NodeId) -> Record:
    return Record(RecordKind.CONTACT, f"{address[0]}:{address[1]}".encode(), node)
