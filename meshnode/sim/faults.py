"""What the world does to a mesh: kinds of bad luck as plain data, drawn from the seed, and the hands that do them.

A plan is a list, so that a failing run can be played again with some of its faults left out (``--only``).
"""

import enum
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.rng import Random
from meshnode.model.commands import Drain, Resume, Shutdown
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.older import Older
from meshnode.sim.units import runs
from meshnode.sim.world import SEEDS, World


class Kind(enum.StrEnum):
    """What may befall a mesh."""

    CUT = "cut"  # silent, both ways, between two groups
    ONE_WAY = "one-way"  # silent, from one group to the other only
    RESET_CUT = "reset-cut"  # connections are reset first
    REJECT = "reject"  # a firewall: connections are reset, dials refused, all processes live
    BLIP = "blip"  # connections are reset, nothing else
    LANE_BLIP = "lane-blip"  # of several connections of two machines the newest is reset
    UNPLUG = "unplug"  # one machine's cable, and it knows
    LOSS = "loss"  # packets get lost, so bytes are late
    KILL = "kill"  # the daemon alone: its agents look for the next one
    NODE_KILL = "node-kill"  # the daemon and all its agents
    RESTART = "restart"  # in order
    POWER = "power"  # nobody is told, unsynced writes are lost
    TORN = "torn"  # the power goes in the middle of a commit
    FLIP = "flip"  # a bit of the journal turns over while the machine is off
    BLOB = "blob-flip"  # a bit of a checkpoint file turns over
    LOST = "lost-disk"  # the machine comes back empty, as another node
    FULL = "full-disk"
    BROKEN = "broken-disk"  # every write fails for a while
    SLOW = "slow-disk"
    PAUSE = "pause"  # SIGSTOP
    SUSPEND = "suspend"
    JUMP = "clock-jump"
    NO_CLOCK = "1970"  # a cold boot without a battery, then a time server after a while
    AGENT = "agent-crash"
    NAT = "nat"  # nobody can dial it; what stands goes on
    DOWNGRADE = "older-release"  # it goes down in order and comes back with an earlier release, for a while
    DRAIN = "drain"  # no misfortune: somebody empties a machine, and lets it take units again


class Fault(msgspec.Struct, frozen=True):
    """One misfortune: when, how long, whom, how much. Seconds count from the start of the storm.

    ``agent``: among the machines it befalls is the one that runs this agent then.
    """

    kind: Kind
    at_s: float
    for_s: float
    nodes: tuple[int, ...]
    amount: float = 0.0
    agent: str = ""

    def __str__(self) -> str:
        who = ",".join(map(str, self.nodes[:12])) + (",..." if len(self.nodes) > 12 else "")
        who += f" and who runs {self.agent}" if self.agent else ""
        return f"{self.kind} of {who} at {self.at_s:.3f} s for {self.for_s:.3f} s, {self.amount:.3f}"


# How long each kind lasts, in seconds.
_LASTS = {
    Kind.CUT: (1.0, 25.0), Kind.ONE_WAY: (1.0, 25.0), Kind.RESET_CUT: (0.2, 20.0), Kind.REJECT: (0.5, 15.0),
    Kind.BLIP: (0.0, 0.0), Kind.UNPLUG: (1.0, 20.0), Kind.LOSS: (2.0, 15.0), Kind.KILL: (0.1, 15.0),
    Kind.RESTART: (0.1, 10.0), Kind.POWER: (0.5, 15.0), Kind.TORN: (0.5, 10.0), Kind.FLIP: (0.5, 10.0),
    Kind.FULL: (2.0, 15.0), Kind.BROKEN: (2.0, 15.0), Kind.SLOW: (3.0, 20.0), Kind.PAUSE: (0.05, 12.0),
    Kind.SUSPEND: (1.0, 25.0), Kind.JUMP: (0.0, 0.0), Kind.NO_CLOCK: (1.0, 10.0), Kind.AGENT: (0.0, 0.0),
    Kind.NODE_KILL: (0.1, 15.0), Kind.BLOB: (0.0, 0.0), Kind.DRAIN: (8.0, 20.0), Kind.LOST: (0.5, 10.0),
    Kind.NAT: (5.0, 30.0), Kind.DOWNGRADE: (5.0, 30.0), Kind.LANE_BLIP: (0.0, 0.0),
}  # fmt: skip
# They are asked for, and nobody may notice: the promises about time and reading hold while they last.
PEACEFUL = (Kind.DRAIN,)
_GROUPS = (Kind.CUT, Kind.ONE_WAY, Kind.RESET_CUT, Kind.REJECT, Kind.BLIP, Kind.LANE_BLIP)
TRIES = 30
# Wrong by less than this together, so that what is written under one clock is not refused under another.
JUMP_MAX_MS = 200_000


def draw(luck: Random, kinds: Sequence[Kind], nodes: int, storm_s: float, times: int = 2) -> list[Fault]:
    """Each kind ``times`` times, at moments and on machines of luck's choice."""
    plan = [_draw_one(luck, kind, nodes, storm_s) for kind in kinds for _ in range(times)]
    return sorted(plan, key=lambda fault: fault.at_s)


def _draw_one(luck: Random, kind: Kind, nodes: int, storm_s: float) -> Fault:
    shortest, longest = _LASTS[kind]
    lasts_s = min(shortest + (longest - shortest) * luck.random() ** 2, storm_s)
    at_s = 0.9 * storm_s * luck.random()
    if kind in _GROUPS:
        chosen = tuple(sorted(luck.sample(range(nodes), luck.randint(1, max(1, nodes // 2)))))
    else:
        chosen = (luck.randrange(nodes),)
    return Fault(kind, at_s, lasts_s, chosen, luck.random())


class Misfortune:
    """Plays a plan. ``happened``: how often each kind took effect; a kind that never did proves nothing.

    ``last_us``: when a fault last began or ended; ``lasting``: those in force. What is peaceful counts for neither.
    """

    def __init__(self, world: World, plan: Sequence[Fault], provoke: Callable[[SimNode], None]) -> None:
        """``provoke``: somebody writes on this machine now, so that its disk has something to fail at."""
        self.plan = plan
        self._provoke = provoke
        self.happened: dict[Kind, int] = {}
        self.last_us = 0
        self.lasting: dict[int, Fault] = {}
        self._world = world
        self._undo: dict[int, Callable[[], None]] = {}
        self._calm_loss = world.network.loss
        self._healed = False

    def begin(self) -> None:
        start_us = self._world.now_us
        for number, fault in enumerate(self.plan):
            at_us = start_us + round(fault.at_s * SECOND)
            self._world.at(at_us, lambda number=number, fault=fault: self._strike(number, fault))

    def heal(self) -> None:
        """The end of the storm: everything works from here on."""
        world = self._world
        self._healed = True
        for number in list(self._undo):
            self._lift(number)
        world.network.heal_all()
        world.network.loss = self._calm_loss
        for node in world.nodes:
            node.cut_power_in_commit = False
            _repair(node)
        world.trace.happened(world.now_us, "world", "healed")

    # -- one fault ----------------------------------------------------------------------------------------------------

    def _strike(self, number: int, fault: Fault, tries: int = TRIES) -> None:
        """Now, or a second later on the next machine if it cannot befall this one."""
        world = self._world
        fault = self._aimed(fault)
        undo = self._undo_of(fault) if tries and not self._healed else None
        if undo is None:
            if tries > 1:
                moved = tuple((node + 1) % len(world.nodes) for node in fault.nodes)
                again = msgspec.structs.replace(fault, nodes=moved)
                world.at(world.now_us + SECOND, lambda: self._strike(number, again, tries - 1))
            return
        world.trace.happened(world.now_us, "world", str(fault))
        self._undo[number] = undo
        if fault.kind not in PEACEFUL:
            self.lasting[number], self.last_us = fault, world.now_us
        world.at(world.now_us + round(fault.for_s * SECOND), lambda: self._lift(number))

    def _lift(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            self._world.trace.happened(self._world.now_us, "world", f"{self.plan[number].kind} is over")
            if self.lasting.pop(number, None) is not None:
                self.last_us = self._world.now_us
            undo()

    def _aimed(self, fault: Fault) -> Fault:
        """At whoever runs its agent now; nobody does: at those it names."""
        nodes = self._world.nodes
        hit = [number for number, node in enumerate(nodes) if fault.agent and runs(node, fault.agent)]
        if not hit or any(number in fault.nodes for number in hit):
            return fault
        return msgspec.structs.replace(fault, nodes=(hit[0], *fault.nodes[1:]))

    def _count(self, kind: Kind) -> None:
        self.happened[kind] = self.happened.get(kind, 0) + 1

    def _undo_of(self, fault: Fault) -> Callable[[], None] | None:
        """Do it. How to end it; ``None``: it cannot befall them now."""
        node = self._world[fault.nodes[0]]
        match fault.kind:
            case Kind.CUT | Kind.ONE_WAY | Kind.RESET_CUT | Kind.REJECT | Kind.BLIP | Kind.LANE_BLIP | Kind.UNPLUG:
                return self._on_wires(fault)
            case Kind.LOSS:
                return self._lose_packets(fault)
            case Kind.KILL | Kind.NODE_KILL | Kind.RESTART | Kind.POWER | Kind.TORN | Kind.FLIP | Kind.NO_CLOCK:
                return self._on_process(fault, node) if node.usable else None
            case Kind.FULL | Kind.BROKEN | Kind.SLOW:
                return self._on_disk(fault, node) if node.usable else None
            case Kind.PAUSE | Kind.SUSPEND:
                return self._on_pause(fault, node) if node.usable else None
            case Kind.LOST | Kind.NAT | Kind.DOWNGRADE:
                return self._on_machine(fault, node)
            case Kind.JUMP:
                node.clock.jump(round((2 * fault.amount - 1) * JUMP_MAX_MS))
                self._count(fault.kind)
                return _nothing
            case Kind.DRAIN:
                return self._drain(fault, node)
            case Kind.AGENT | Kind.BLOB:
                struck = node.agents.crash_one if fault.kind is Kind.AGENT else node.flip_blob
                if not node.usable or not struck():
                    return None
                self._count(fault.kind)
                return _nothing

    def _drain(self, fault: Fault, node: SimNode) -> Callable[[], None] | None:
        """Asked of the machine itself or of an admin; the end of it too, however long that takes."""
        asked = self._answering(fault, node)
        if asked is None:
            return None
        self._count(fault.kind)
        asked.ask(Drain(node=node.name, reason="maintenance"))
        return lambda: self._resume(fault, node)

    def _resume(self, fault: Fault, node: SimNode) -> None:
        asked = self._answering(fault, node)
        if asked is not None:
            asked.ask(Resume(node=node.name))
        else:
            self._world.at(self._world.now_us + SECOND, lambda: self._resume(fault, node))

    def _answering(self, fault: Fault, node: SimNode) -> SimNode | None:
        """From ``amount`` 0.5 on rather another machine, if there is an admin's beside it."""
        admins = [other for other in self._world.nodes[:SEEDS] if other is not node]
        asked = [*admins, node] if fault.amount >= 0.5 else [node, *admins]
        return next((other for other in asked if other.usable), None)

    def _on_wires(self, fault: Fault) -> Callable[[], None] | None:
        world, network = self._world, self._world.network
        inside = [world[number].name for number in fault.nodes]
        outside = [node.name for node in world.nodes if node.name not in inside]
        out = [(a, b) for a in inside for b in outside]
        back = [(b, a) for a, b in out]
        if not out:
            return None
        if fault.kind is Kind.LANE_BLIP:
            if network.reset_newest(out):
                self._count(fault.kind)
            return _nothing
        self._count(fault.kind)
        if fault.kind is Kind.BLIP:
            network.reset(out)
            return _nothing
        one_way = out if fault.amount < 0.5 else back
        cut = Cut(
            tuple(one_way if fault.kind is Kind.ONE_WAY else out + back),
            rejects=fault.kind is Kind.REJECT,
            unplugged=inside[0] if fault.kind is Kind.UNPLUG else "",
        )
        network.cut(cut, reset=fault.kind in (Kind.RESET_CUT, Kind.REJECT))
        return lambda: network.heal(cut)

    def _lose_packets(self, fault: Fault) -> Callable[[], None]:
        self._count(fault.kind)
        network = self._world.network
        before, network.loss = network.loss, 0.005 + 0.045 * fault.amount

        def calm() -> None:
            network.loss = before

        return calm

    def _on_process(self, fault: Fault, node: SimNode) -> Callable[[], None]:
        match fault.kind:
            case Kind.KILL:
                node.kill()
            case Kind.NODE_KILL:
                node.kill_all()
            case Kind.RESTART:
                node.ask(Shutdown())
            case Kind.TORN:
                node.cut_power_in_commit = True
                interrupted = node.disk.interrupted
                self._provoke(node)
                return lambda: self._torn_over(fault, node, interrupted)
            case Kind.FLIP:
                node.lose_power()
                if not node.flip_bit():
                    return lambda: _power_on(node)
            case _:
                node.lose_power()
        if fault.kind is Kind.NO_CLOCK:
            return lambda: self._boot_in_1970(fault, node)
        self._count(fault.kind)
        return lambda: _power_on(node)

    def _torn_over(self, fault: Fault, node: SimNode, interrupted: int) -> None:
        node.cut_power_in_commit = False
        if node.disk.interrupted > interrupted:
            self._count(fault.kind)
        _power_on(node)

    def _boot_in_1970(self, fault: Fault, node: SimNode) -> None:
        node.gain_power()
        node.clock.forget(self._world.now_us)
        node.start()
        self._count(fault.kind)
        wait_us = round((1 + 20 * fault.amount) * SECOND)
        self._world.at(self._world.now_us + wait_us, node.clock.synchronise)

    def _on_machine(self, fault: Fault, node: SimNode) -> Callable[[], None] | None:
        """What somebody does to it, or the disk."""
        if fault.kind is Kind.NAT:
            return self._hide(fault, node)
        if not node.usable:
            return None
        if fault.kind is Kind.DOWNGRADE:
            return self._downgrade(fault, node) if node.older is None else None
        if fault.nodes[0] < SEEDS:
            return None  # an admin's machine cannot be set up anew without another admin
        self._count(fault.kind)
        node.lose_disk()
        return lambda: _power_on(node)

    def _on_disk(self, fault: Fault, node: SimNode) -> Callable[[], None]:
        refusals = node.disk.refusals
        match fault.kind:
            case Kind.FULL:
                node.disk.room_bytes = round(300 * fault.amount)
            case Kind.BROKEN:
                node.disk.breaks = True
            case _:
                self._count(fault.kind)
                node.sync_us = round((20 + 800 * fault.amount) * MS)
        self._provoke(node)

        def mend() -> None:
            if node.disk.refusals > refusals:
                self._count(fault.kind)
            node.disk.room_bytes, node.disk.breaks, node.sync_us = None, False, node.plan.sync_us

        return mend

    def _hide(self, fault: Fault, node: SimNode) -> Callable[[], None] | None:
        """It happened once somebody has dialled in vain."""
        network = self._world.network
        if node.name in network.hidden:
            return None
        network.hidden[node.name] = None
        before = network.counts.dials_hidden

        def show() -> None:
            network.hidden.pop(node.name, None)
            if network.counts.dials_hidden > before:
                self._count(fault.kind)

        return show

    def _downgrade(self, fault: Fault, node: SimNode) -> Callable[[], None]:
        """Somebody installs what ran there before; then the newer release again."""
        node.older = older = Older(self._world.codec)
        node.ask(Shutdown())
        self._world.at(self._world.now_us + 2 * SECOND, node.start_again)

        def upgrade() -> None:
            node.older = None
            if older.skewed or older.met:  # in a small mesh nothing may happen that needs a newer letter
                self._count(fault.kind)
            if node.usable:
                node.ask(Shutdown())
            self._world.at(self._world.now_us + 2 * SECOND, node.start_again)

        return upgrade

    def _on_pause(self, fault: Fault, node: SimNode) -> Callable[[], None]:
        self._count(fault.kind)
        if fault.kind is Kind.SUSPEND:
            node.suspend()
        else:
            node.pause()
        return node.resume


def _power_on(node: SimNode) -> None:
    node.gain_power()
    node.start_again()


def _repair(node: SimNode) -> None:
    node.disk.room_bytes, node.disk.breaks, node.sync_us = None, False, node.plan.sync_us
    node.resume()
    _power_on(node)


def _nothing() -> None:
    """It was over at once."""
