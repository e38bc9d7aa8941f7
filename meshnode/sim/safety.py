"""What may never happen, asked after every step: boots, answers, verdicts about the living, rows and bounds."""

import msgspec

from meshnode.gossip.directory import Entry
from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import AnyCommand, CallSkill, PingNode
from meshnode.model.ids import NodeId
from meshnode.model.views import AnyView
from meshnode.node.effects import Announce
from meshnode.node.stairs import EXIT_TWIN
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker
from meshnode.sim.world import World

# An answer that is due at a deadline may come this much later: the timer of a clock that counts whole microseconds.
LATE_US = 5 * MS
# After a cut, a stop or a start that others noticed, verdicts have this long to become right again.
SETTLE_US = 20 * SECOND
IN_FLIGHT_MAX = 11_250  # with the eighth that daemons have for what they ask each other
HELD_MAX = 4_096
AWAITING_MAX = 2_048
TURNS_MAX = 5_000


class RisingBoots(Checker):
    """The boot a node speaks under was never spoken under before, and its row only rises."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._spoken: dict[NodeId, int] = {}
        self._row: dict[NodeId, tuple[int, int]] = {}

    def started(self, node: SimNode) -> None:
        assert node.core is not None
        spoken = self._spoken.get(node.node, 0)
        if node.core.boot <= spoken:
            self.wrong(node, f"starts with boot {node.core.boot}, and has spoken to others under boot {spoken}")

    def transmitted(self, node: SimNode) -> None:
        if node.core is not None:
            self._spoken[node.node] = node.core.boot

    def stepped(self, node: SimNode) -> None:
        entry = _own_entry(node)
        if entry is None:
            return
        order = (entry.boot, entry.incarnation)
        if order < self._row.get(node.node, (0, 0)) and node.node in self._spoken:
            self.wrong(node, f"its own row fell from {self._row[node.node]} to {order}")
        if entry.boot == self._spoken.get(node.node):
            self._row[node.node] = order


class _Open(msgspec.Struct, frozen=True):
    command: AnyCommand
    life: int
    asked_us: int  # on the node's steady clock
    due_us: int | None


class OneAnswer(Checker):
    """Every command is answered exactly once, and a call not later than its deadline."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.answered: dict[str, int] = {}
        self._open: dict[tuple[str, int], _Open] = {}

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        now_us = node.instant().mono_us
        due_us = None
        if isinstance(command, CallSkill | PingNode):
            due_us = now_us + round(command.deadline_s * SECOND)
        self._open[node.name, number] = _Open(command, node.life, now_us, due_us)

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        asked = self._open.pop((node.name, number), None)
        if asked is None:
            self.wrong(node, f"command {number} was never asked or is answered again: {view!r:.200}")
        self._check_time(node, asked)
        what = f"{type(asked.command).__name__} -> {getattr(view, 'code', '') or 'ok'}"
        self.answered[what] = self.answered.get(what, 0) + 1

    def died(self, node: SimNode) -> None:
        for key in [key for key in self._open if key[0] == node.name]:
            del self._open[key]

    def look(self) -> None:
        for (name, _), asked in self._open.items():
            node = self.world.named(name)
            if node.usable and asked.life == node.life:
                self._check_time(node, asked)

    def finish(self) -> None:
        for (name, number), asked in self._open.items():
            self.wrong(self.world.named(name), f"command {number} was never answered: {asked.command!r:.200}")

    def _check_time(self, node: SimNode, asked: _Open) -> None:
        late_us = 0 if asked.due_us is None else node.instant().mono_us - asked.due_us
        if late_us > LATE_US and self.world.now_us - node.woken_us > LATE_US:
            self.wrong(node, f"{late_us / SECOND:.3f} s after its deadline: {asked.command!r:.200}")


class NoFalseDeath(Checker):
    """Nobody shows a node as DOWN that lives, was not stopped for long, and reaches whom everybody else reaches.

    Whoever has heard of the process that runs may not hold it for dead in its first seconds either; who has not yet may
    show the one before it.
    """

    def announced(self, node: SimNode, announce: Announce) -> None:
        kind, _, name = announce.event.subject.partition("/")
        if kind == "node":
            about = next((other for other in self.world.nodes if other.name == name), None)
            if about is not None:
                self._check(node, about)

    def look(self) -> None:
        running = self.world.running()
        for node in running:
            for other in running:
                self._check(node, other)

    def _check(self, node: SimNode, about: SimNode) -> None:
        core = node.core
        if core is None or core.gossip.state(about.node) is not MemberState.DOWN:
            return
        begun_us = max(about.started_us, about.resumed_us)
        if about.core is not None and begun_us == about.started_us:
            entry = core.gossip.entry(about.node)
            if entry is not None and not entry.left and entry.boot == about.core.boot:
                begun_us = -SETTLE_US - 1
        if (
            self._quiet(node, max(node.started_us, node.resumed_us))
            and self._quiet(about, begun_us)
            and self._together(node.name, about.name)
        ):
            self.wrong(node, f"shows {about.name} as down: {core.gossip.reason(about.node)}")

    def _quiet(self, node: SimNode, since_us: int) -> bool:
        return node.usable and not node.exiting and self.world.now_us - since_us > SETTLE_US

    def _together(self, a: str, b: str) -> bool:
        """No cut lies between them, now or a while ago, and none that one of them feels and the other does not."""
        ways: dict[tuple[str, str], None] = {}
        for span in self.world.network.cuts:
            if span.healed_us is None or self.world.now_us - span.healed_us <= SETTLE_US:
                ways.update(dict.fromkeys(span.cut.pairs))
        others = [node.name for node in self.world.nodes if node.name not in (a, b)]
        alike = all(
            ((a, c) in ways) == ((b, c) in ways) and ((c, a) in ways) == ((c, b) in ways) for c in others
        )  # fmt: skip
        return alike and (a, b) not in ways and (b, a) not in ways


class GenuineRows(Checker):
    """What a node holds about another one is what that one has said, and there is one row for each."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._said: dict[NodeId, dict[bytes, None]] = {node.node: {} for node in world.nodes}
        self._last: dict[NodeId, Entry] = {}

    def stepped(self, node: SimNode) -> None:
        entry = _own_entry(node)
        if entry is not None and entry is not self._last.get(node.node):
            self._last[node.node] = entry
            self._said.setdefault(node.node, {})[entry.body] = None

    def look(self) -> None:
        for node in self.world.running():
            self._check(node)

    def _check(self, node: SimNode) -> None:
        assert node.core is not None
        members = list(node.core.gossip.members())
        if len(members) != len(dict.fromkeys(members)):
            self.wrong(node, "shows a node twice")
        for member in members:
            entry = node.core.gossip.entry(member)
            if member not in self._said:
                self.wrong(node, f"holds a row of {member.hex()[:12]}, who is not of this world")
            if entry is None or entry.node != member or entry.body not in self._said[member]:
                row = node.core.gossip.row(member)
                self.wrong(node, f"holds a row of {member.hex()[:12]} which that node never signed: {row}")


class Bounds(Checker):
    """Queues and tables stay within what they promise."""

    def stepped(self, node: SimNode) -> None:
        core = node.core
        if core is None:
            return
        if core.switch.in_flight > IN_FLIGHT_MAX:
            self.wrong(node, f"{core.switch.in_flight} calls in flight, the limit is {IN_FLIGHT_MAX}")
        if core.documents.waiting() > HELD_MAX:
            self.wrong(node, f"{core.documents.waiting()} envelopes held back, the limit is {HELD_MAX}")
        if core.documents.awaiting() > AWAITING_MAX:
            self.wrong(node, f"{core.documents.awaiting()} envelopes wait for a role, the limit is {AWAITING_MAX}")


class ComesToRest(Checker):
    """A node that has nothing to do does nothing: its deadlines move on when they are served."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._turns: dict[str, tuple[int, int]] = {}

    def stepped(self, node: SimNode) -> None:
        at_us, turns = self._turns.get(node.name, (0, 0))
        turns = turns + 1 if at_us == self.world.now_us else 1
        self._turns[node.name] = (self.world.now_us, turns)
        if turns > TURNS_MAX:
            self.wrong(node, f"{turns} turns in one moment: its deadline stays in the past")


class NoTwins(Checker):
    """No process takes another one for a copy of itself: there are no copies of directories in this world."""

    def died(self, node: SimNode) -> None:
        if node.exit is not None and node.exit.code == EXIT_TWIN:
            self.wrong(node, f"left with code {node.exit.code}: {node.exit.reason}")


def _own_entry(node: SimNode) -> Entry | None:
    return None if node.core is None else node.core.gossip.entry(node.node)
