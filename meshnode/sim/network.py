"""Connections between simulated machines, with the manners of TCP: in order, lost packets are late, silence is silent.

A connection is two ends. Each direction carries pieces in order; what falls into a black hole is sent again ever more
rarely, as a kernel does, and arrives some time after the hole is gone. A reset is sent once and may be lost. TLS is not
played, but its round trips are, and so is what it would find out: who answers.
"""

import enum
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from meshnode.gossip.messages import DialFailed
from meshnode.kernel.effects import Dial
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.kernel.rng import Random
from meshnode.links.messages import LinkBytes, LinkLost, LinkOpened
from meshnode.links.tunnelwire import TunnelClosed, TunnelWritten
from meshnode.model.ids import LinkId, NodeId
from meshnode.sim.tunnels import Effects as TunnelEffect
from meshnode.sim.tunnels import SimTunnels

DIAL_US = 3 * SECOND
SYN_AGAIN_US = 1 * SECOND
RETRANSMIT_FIRST_US, RETRANSMIT_CAP_US = 200 * MS, 120 * SECOND
GIVE_UP_US = 924 * SECOND  # Linux, net.ipv4.tcp_retries2 = 15
UNSENT_BYTES_MAX = 8 * 1024 * 1024
TLS_CPU_US = 2 * MS
LINGER_US = 1 * SECOND

Told = LinkOpened | LinkBytes | LinkLost | DialFailed | TunnelWritten | TunnelClosed


class Machine(Protocol):
    """A node as the network sees it; ``name`` is the machine's, ``node_name`` the node's.

    ``life`` counts its processes, ``kernel`` its boots; ``powered``: its kernel answers.
    """

    name: str
    life: int
    kernel: int

    @property
    def node(self) -> NodeId: ...
    @property
    def node_name(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    @property
    def powered(self) -> bool: ...
    @property
    def paused(self) -> bool: ...

    def hear(self, event: Told) -> None:
        """In a turn of its own: the process may be in the middle of one."""
        ...

    def tell(self, event: Told) -> None:
        """Now."""
        ...


class Schedule(Protocol):
    """The world's time."""

    @property
    def now_us(self) -> int: ...

    def at(self, t_us: int, act: Callable[[], None]) -> None: ...


class What(enum.Enum):
    """Kinds of pieces. A BREAK is the end of a stream whose process is gone; a RESET is sent once and may be lost."""

    OPENED = enum.auto()
    DATA = enum.auto()
    FIN = enum.auto()
    BREAK = enum.auto()
    RESET = enum.auto()


class Cut(msgspec.Struct, eq=False):
    """Pairs (from, to) between which nothing passes.

    ``rejects``: a box in between refuses dials at once; ``unplugged``: this machine knows that its cable is out.
    """

    pairs: tuple[tuple[str, str], ...]
    rejects: bool = False
    unplugged: str = ""


class Span(msgspec.Struct, eq=False):
    """When a cut was. ``healed_us`` is ``None`` while it lasts."""

    cut: Cut
    began_us: int
    healed_us: int | None = None


class _Pipe:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.arrives_us = 0  # nothing overtakes
        self.stuck: deque[tuple[What, bytes]] = deque()
        self.stuck_since_us = 0
        self.stuck_bytes = 0


class _End:
    """One side of a connection, owned by one process of one machine."""

    def __init__(self, machine: Machine, link: LinkId) -> None:
        self.machine, self.life, self.kernel, self.link = machine, machine.life, machine.kernel, link
        self.told_open = False  # LinkOpened was told
        self.lingers_us = 0  # closed in order: until then late data is read and thrown away
        self.over = False  # LinkLost was told, or never will be
        self.dead = False  # its process is gone, and the kernel answers for it
        self.out = _Pipe()
        self.other: _End

    @property
    def stands(self) -> bool:
        return not self.over and self.machine.alive and self.machine.life == self.life


class Counts(msgspec.Struct):
    """What the network did, for summaries and for the check that faults happened."""

    pieces: int = 0
    bytes: int = 0
    late: int = 0  # lost once or more, so late
    stuck: int = 0
    resets: int = 0
    dials: int = 0
    dials_refused: int = 0
    dials_timed_out: int = 0
    dials_hidden: int = 0  # went to a machine behind a NAT


class Network:
    """All wires of a world. ``loss``: the share of pieces that need a second try."""

    def __init__(self, schedule: Schedule, rng: Random, delay_us: Callable[[str, str], int]) -> None:
        self.loss = 0.001
        self.jitter = 0.1
        self.counts = Counts()
        self.sent_bytes: dict[str, int] = {}
        self.cuts: list[Span] = []
        self.hidden: dict[str, None] = {}  # machines behind a NAT: nobody can dial them
        self._schedule, self._rng, self._delay_us = schedule, rng, delay_us
        self._machines: dict[tuple[str, int], Machine] = {}
        self._ends: dict[tuple[str, int, LinkId], _End] = {}
        self._blocked: dict[tuple[str, str], list[Cut]] = {}
        self._numbers: dict[tuple[str, int], itertools.count[int]] = {}
        self._resends: dict[int, _End] = {}
        self.tunnels = SimTunnels(self._number)

    def join(self, machine: Machine, address: tuple[str, int]) -> None:
        self._machines[address] = machine

    def addresses(self) -> dict[tuple[str, int], Machine]:
        return self._machines

    # -- what the world does to it ------------------------------------------------------------------------------------

    def cut(self, cut: Cut, *, reset: bool = False) -> Cut:
        """Nothing passes from a to b for every pair (a, b). ``reset``: connections between them are broken first."""
        if reset:
            self.reset(cut.pairs)
        for pair in cut.pairs:
            self._blocked.setdefault(pair, []).append(cut)
        self.cuts.append(Span(cut, self._schedule.now_us))
        return cut

    def heal(self, cut: Cut) -> None:
        """Healing twice does nothing."""
        span = next((span for span in self.cuts if span.cut is cut and span.healed_us is None), None)
        if span is None:
            return
        span.healed_us = self._schedule.now_us
        for pair in cut.pairs:
            left = self._blocked[pair]
            left.remove(cut)
            if not left:
                del self._blocked[pair]

    def heal_all(self) -> None:
        for span in self.cuts:
            self.heal(span.cut)

    def reset(self, pairs: Sequence[tuple[str, str]]) -> None:
        """A box in between breaks every connection of these pairs: both sides hear a reset."""
        wanted = dict.fromkeys(pairs)
        for end in list(self._ends.values()):
            if (end.machine.name, end.other.machine.name) in wanted and end.stands:
                self.counts.resets += 1
                self._lose(end, Loss.RESET)
                self._lose(end.other, Loss.RESET)

    def reset_newest(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Of several connections of these pairs only the newest. How many there were."""
        found: dict[tuple[str, str], list[_End]] = {pair: [] for pair in pairs}
        for end in self._ends.values():
            pair = (end.machine.name, end.other.machine.name)
            if pair in found and end.stands and end.told_open and end.other.told_open:
                found[pair].append(end)
        newest = [ends[-1] for ends in found.values() if len(ends) > 1]
        for end in newest:
            self.counts.resets += 1
            self._lose(end, Loss.RESET)
            self._lose(end.other, Loss.RESET)
        return len(newest)

    def passes(self, a: str, b: str) -> bool:
        return (a, b) not in self._blocked

    def standing(self) -> dict[str, dict[NodeId, LinkId]]:
        """By machine: the one connection to each peer that both have, and that a wire carries both ways."""
        found: dict[str, dict[NodeId, list[LinkId]]] = {}
        for end in self._ends.values():
            a, b = end.machine.name, end.other.machine.name
            well = end.stands and end.other.stands and end.told_open and not end.out.stuck
            if well and self.passes(a, b) and self.passes(b, a):
                found.setdefault(a, {}).setdefault(end.other.machine.node, []).append(end.link)
        return {
            name: {peer: links[0] for peer, links in peers.items() if len(links) == 1} for name, peers in found.items()
        }

    def process_died(self, machine: Machine) -> None:
        """The kernel closes what the process had open. A machine without power does nothing at all."""
        for end in self._ends_of(machine):
            end.dead = True
            if machine.powered and not end.over:
                self._put(end, What.BREAK, b"")
            end.over = True
            self._forget(end)

    # -- what a process asks for --------------------------------------------------------------------------------------

    def perform(self, machine: Machine, effect: Dial | TunnelEffect) -> None:
        if isinstance(effect, Dial):
            self.dial(machine, effect)
        else:
            self.tunnels.perform(machine, effect)

    def dial(self, machine: Machine, dial: Dial) -> None:
        self.counts.dials += 1
        began_us, life = self._schedule.now_us, machine.life
        target = self._machines.get((dial.host, dial.port))

        def fail(how: DialFailure, detail: str) -> None:
            if machine.alive and machine.life == life:
                self.counts.dials_refused += how is DialFailure.REFUSED
                self.counts.dials_timed_out += how is DialFailure.TIMEOUT
                machine.hear(DialFailed(dial.dial_no, how, detail))

        def no_answer() -> None:
            fail(DialFailure.TIMEOUT, f"no answer within {DIAL_US / SECOND:g} s")

        attempt = _Attempt(machine, life, dial, target, began_us, fail, no_answer)
        self._knock(attempt)

    def transmit(self, machine: Machine, link: LinkId, data: bytes) -> None:
        end = self._ends.get((machine.name, machine.life, link))
        if end is None or not end.stands:
            self.tunnels.transmit(machine, link, data)
            return
        self.sent_bytes[machine.name] = self.sent_bytes.get(machine.name, 0) + len(data)
        self._put(end, What.DATA, data)
        if end.out.stuck_bytes > UNSENT_BYTES_MAX:
            self._lose(end, Loss.CLOSED)

    def close(self, machine: Machine, link: LinkId, *, abort: bool) -> None:
        end = self._ends.get((machine.name, machine.life, link))
        if end is None or not end.stands:
            self.tunnels.close(machine, link)
            return
        self._lose(end, Loss.CLOSED)
        end.lingers_us = 0 if abort else self._schedule.now_us + LINGER_US
        if abort:
            self._drop_stuck(end)
        self._put(end, What.RESET if abort else What.FIN, b"")

    # -- dialling -----------------------------------------------------------------------------------------------------

    def _knock(self, attempt: "_Attempt") -> None:
        """SYN: sent again once after a second, both ways must be open."""
        me, target, now_us = attempt.machine, attempt.target, self._schedule.now_us
        give_up_us = attempt.began_us + DIAL_US
        if target is None:
            self._schedule.at(give_up_us, attempt.no_answer)
            return
        there, back = (me.name, target.name), (target.name, me.name)
        if any(cut.unplugged == me.name for cut in self._blocked.get(there, ())):
            self._schedule.at(now_us, lambda: attempt.fail(DialFailure.UNREACHABLE, "Network is unreachable"))
            return
        if any(cut.rejects for pair in (there, back) for cut in self._blocked.get(pair, ())):
            refused = now_us + self._delay_us(*there)
            self._schedule.at(refused, lambda: attempt.fail(DialFailure.REFUSED, "a box in between refuses"))
            return
        rtt_us = self._flight_us(*there) + self._flight_us(*back)
        hidden = target.name in self.hidden
        self.counts.dials_hidden += hidden
        open_ways = there not in self._blocked and back not in self._blocked and target.powered and not hidden
        if not open_ways and now_us + SYN_AGAIN_US < give_up_us:
            self._schedule.at(now_us + SYN_AGAIN_US, lambda: self._knock(attempt))
        elif not open_ways:
            self._schedule.at(give_up_us, attempt.no_answer)
        elif not target.alive:
            self._schedule.at(now_us + rtt_us, lambda: attempt.fail(DialFailure.REFUSED, "Connection refused"))
        else:
            self._schedule.at(now_us + 2 * rtt_us + TLS_CPU_US, lambda: self._shake(attempt, target))

    def _shake(self, attempt: "_Attempt", target: Machine) -> None:
        """TLS is done on the dialler's side, if the other side was there all the time."""
        me = attempt.machine
        if not me.alive or me.life != attempt.life:
            return
        now_us, give_up_us = self._schedule.now_us, attempt.began_us + DIAL_US
        passes = self.passes(me.name, target.name) and self.passes(target.name, me.name)
        if now_us > give_up_us:
            attempt.no_answer()
        elif not passes or not target.powered or target.paused:
            # A stopped process has a kernel that answers TCP; TLS then waits for it to go on.
            self._schedule.at(min(give_up_us + 1, now_us + 100 * MS), lambda: self._shake(attempt, target))
        elif not target.alive:
            attempt.fail(DialFailure.REFUSED, "reset in the handshake")
        elif attempt.dial.expect not in (b"", target.node):
            attempt.fail(DialFailure.UNTRUSTED, "somebody else answers there")
        else:
            self._connect(attempt, target)

    def _connect(self, attempt: "_Attempt", target: Machine) -> None:
        me, dial = attempt.machine, attempt.dial
        ours, theirs = _End(me, self._number(me)), _End(target, self._number(target))
        ours.other, theirs.other = theirs, ours
        for end in (ours, theirs):
            self._ends[(end.machine.name, end.life, end.link)] = end
        ours.told_open = True
        address = f"{dial.host}:{dial.port}"
        me.hear(
            LinkOpened(ours.link, target.node, target.node_name, inbound=False, dial_no=dial.dial_no, address=address)
        )
        self._put(ours, What.OPENED, b"")

    def _number(self, machine: Machine) -> LinkId:
        """Never used again within a boot."""
        numbers = self._numbers.setdefault((machine.name, machine.life), itertools.count(1))
        return LinkId(next(numbers))

    # -- pieces under way ---------------------------------------------------------------------------------------------

    def _put(self, end: _End, what: What, data: bytes) -> None:
        """Send a piece from ``end`` to the other side."""
        pipe = end.out
        if pipe.stuck and what is not What.RESET:
            self._stick(end, what, data)
            return
        now_us = self._schedule.now_us
        arrives_us = now_us + self._flight_us(end.machine.name, end.other.machine.name)
        pipe.arrives_us = max(pipe.arrives_us, arrives_us)
        self.counts.pieces += 1
        self.counts.bytes += len(data)
        self._schedule.at(pipe.arrives_us, lambda: self._arrive(end, what, data))

    def _flight_us(self, a: str, b: str) -> int:
        base = self._delay_us(a, b)
        flight = base + round(base * self.jitter * self._rng.random())
        wait = RETRANSMIT_FIRST_US
        while self._rng.random() < self.loss:
            self.counts.late += 1
            flight += wait + 2 * base
            wait *= 2
        return flight

    def _arrive(self, end: _End, what: What, data: bytes) -> None:
        """A piece sent by ``end`` is at the other machine, if there is a way to it."""
        there = end.other.machine
        if end.out.stuck and what is not What.RESET:
            self._stick(end, what, data)
        elif not self.passes(end.machine.name, there.name) or not there.powered:
            if what is not What.RESET:
                self._stick(end, what, data)
        else:
            self._deliver(end, what, data)

    def _deliver(self, end: _End, what: What, data: bytes) -> None:
        to = end.other
        gone = to.dead or not to.machine.alive or to.machine.life != to.life
        if gone or (to.over and self._schedule.now_us >= to.lingers_us):
            # Nobody owns that connection any more: the kernel says so.
            if what in (What.DATA, What.OPENED):
                self._put(to, What.RESET, b"")
            return
        if to.over:
            return
        match what:
            case What.OPENED:
                to.told_open = True
                sender = end.machine
                to.machine.tell(LinkOpened(to.link, sender.node, sender.node_name, inbound=True, address=sender.name))
            case What.DATA:
                to.machine.tell(LinkBytes(to.link, data))
            case What.FIN:
                self._lose(to, Loss.EOF)
            case What.BREAK | What.RESET:
                self._lose(to, Loss.RESET)

    def _lose(self, end: _End, how: Loss) -> None:
        """The connection is over for this end; its process hears so once."""
        if end.over:
            return
        told = end.told_open and end.stands
        end.over = True
        if told:
            end.machine.hear(LinkLost(end.link, how))
        self._forget(end)

    def _forget(self, end: _End) -> None:
        """When neither side has the connection any more."""
        if end.other.over:
            for side in (end, end.other):
                self._ends.pop((side.machine.name, side.life, side.link), None)

    # -- black holes --------------------------------------------------------------------------------------------------

    def _stick(self, end: _End, what: What, data: bytes) -> None:
        pipe = end.out
        if not pipe.stuck:
            pipe.stuck_since_us = self._schedule.now_us
            self._resend_after(end, RETRANSMIT_FIRST_US)
        self.counts.stuck += 1
        pipe.stuck.append((what, data))
        pipe.stuck_bytes += len(data)

    def _resend_after(self, end: _End, wait_us: int) -> None:
        self._schedule.at(self._schedule.now_us + wait_us, lambda: self._resend(end, wait_us))

    def _resend(self, end: _End, waited_us: int) -> None:
        pipe, there = end.out, end.other.machine
        if not pipe.stuck:
            return
        if not end.machine.powered or end.machine.kernel != end.kernel:
            self._drop_stuck(end)  # whoever should send it again has forgotten it
            return
        if self.passes(end.machine.name, there.name) and there.powered:
            pieces, pipe.stuck, pipe.stuck_bytes = pipe.stuck, deque(), 0
            for what, data in pieces:
                self._put(end, what, data)
        elif self._schedule.now_us - pipe.stuck_since_us >= GIVE_UP_US:
            self._drop_stuck(end)
            self._lose(end, Loss.SILENT)
        else:
            self._resend_after(end, min(2 * waited_us, RETRANSMIT_CAP_US))

    def _drop_stuck(self, end: _End) -> None:
        end.out.stuck.clear()
        end.out.stuck_bytes = 0

    def _ends_of(self, machine: Machine) -> list[_End]:
        return [end for end in self._ends.values() if end.machine is machine and end.life == machine.life]


class _Attempt(msgspec.Struct, frozen=True, eq=False):
    machine: Machine
    life: int
    dial: Dial
    target: Machine | None
    began_us: int
    fail: Callable[[DialFailure, str], None]
    no_answer: Callable[[], None]
