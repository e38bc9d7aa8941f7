"""Questions about the state of agents: answered by who runs the unit, or, cut off, from the copy that is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from meshnode.checkpoints.messages import VersionRead, VersionRestored
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model import commands
from meshnode.model.errors import Invalid, LocalError, NotFound, Offline
from meshnode.model.ids import InstanceId, NodeId
from meshnode.model.units import agent_of, slot_of, unit_id
from meshnode.model.views import Done
from meshnode.node import asking, explain, memory, snapshot, units
from meshnode.node.effects import FetchLogs, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.node.core import Core
    from meshnode.node.inputs import LogsFetched

LOG_LINES_MAX = 2_000
FETCHES_MAX = 1_000

AskNode = Callable[[int, asking.Askable, NodeId, Instant], "Sequence[Effect]"]
OfUnit = commands.ShowState | commands.StateHistory | commands.StateDiff | commands.RestoreState


class _Waiting(msgspec.Struct, frozen=True):
    """Whoever waits for checkpoints to be read. ``before``: the values of ``first``, once they are there."""

    command_no: int
    unit: InstanceId
    first: int
    second: int = 0
    before: dict[str, bytes] | None = None


class StateDesk:
    """``ask`` ends in one ``Reply``, or in a call to another node, whose end the desk turns into one."""

    def __init__(self, core: Core, ask_node: AskNode) -> None:
        self._core, self._ask_node = core, ask_node
        self._fetching: dict[int, None] = {}
        self._folding: dict[int, tuple[str, list[InstanceId]]] = {}  # who waits for checkpoints of which units
        self._waiting: dict[int, _Waiting] = {}
        self._last_ticket = 0

    def ask(self, command_no: int, command: commands.AnyCommand, now: Instant, *, asks_on: bool) -> Sequence[Effect]:
        """``asks_on``: another node may be asked; a question that came from one never is."""
        match command:
            case commands.ShowState() | commands.StateHistory() | commands.StateDiff() | commands.RestoreState():
                return self._about_unit(command_no, command, now, asks_on=asks_on)
            case commands.ListStates(agent=agent):
                return [Reply(command_no, memory.states(self._core, agent, now))]
            case commands.FoldState():
                return self._fold(command_no, command, now, asks_on=asks_on)
            case commands.ForgetState(unit=unit):
                return self._forget(command_no, self.unit_of(unit))
            case commands.ReadLogs() | commands.Why():
                return self._of_node(command_no, command, now, asks_on=asks_on)
            case _:
                raise AssertionError(command)

    def instead(self, command_no: int, command: commands.Command, now: Instant) -> Sequence[Effect]:
        """Who runs the unit did not answer: from the copy that is here, if there is one."""
        if not isinstance(command, commands.ShowState | commands.StateHistory | commands.StateDiff):
            return ()
        try:
            return self._about_unit(command_no, command, now, asks_on=False)
        except LocalError:
            return ()

    def fetched(self, event: LogsFetched) -> list[Effect]:
        if self._fetching.pop(event.ask_no, False) is False:
            return []
        return [Reply(event.ask_no, event.view)]

    def dropped(self, command_no: int) -> None:
        self._fetching.pop(command_no, None)
        self._folding.pop(command_no, None)

    def unit_of(self, given: str) -> InstanceId:
        """A unit by its id, or the first of an agent. Raises ``Invalid``."""
        agent, slash, slot = given.removeprefix("agent/").partition("/")
        if not agent or (slash and not slot.isdecimal()):
            raise Invalid(f"{given!r} names no unit", next_step="give AGENT or AGENT/SLOT: meshnode state list")
        if not slash:
            return unit_id(agent, 0)
        held = next(
            (u for u in units.claims(self._core, agent) if u.first_slot <= int(slot) < u.first_slot + u.slots), None
        )
        return unit_id(agent, held.first_slot if held is not None else int(slot))

    # -- units ------------------------------------------------------------------------------------------------------

    def _about_unit(self, command_no: int, command: OfUnit, now: Instant, *, asks_on: bool) -> Sequence[Effect]:
        core, unit = self._core, self.unit_of(command.unit)
        owner = self._owner(unit)
        if owner is not None and owner != core.config.node and asks_on and core.gossip.reachable(owner):
            return self._ask_node(command_no, command, owner, now)
        match command:
            case commands.RestoreState(version=version):
                return self._restore(command_no, unit, owner, version, now)
            case commands.ShowState(key=key, session=session):
                return [Reply(command_no, memory.state(core, unit, key, session, now))]
            case commands.StateHistory():
                return [Reply(command_no, memory.history(core, unit))]
            case commands.StateDiff(first=first, second=second):
                return self._diff(command_no, unit, first, second, now)

    def _restore(
        self, command_no: int, unit: InstanceId, owner: NodeId | None, version: int, now: Instant
    ) -> list[Effect]:
        core = self._core
        if owner != core.config.node:
            where = f"{core.names.of(owner)}, which cannot be reached now" if owner is not None else "no node now"
            raise Offline(
                f"{unit} runs on {where}",
                next_step="a state is set where its unit runs: meshnode ps shows when it does",
            )
        ticket = self._ticket(_Waiting(command_no, unit, version))
        return core.checkpoints.restore_to(ticket, unit, version, now)

    def _diff(self, command_no: int, unit: InstanceId, first: int, second: int, now: Instant) -> list[Effect]:
        """The older side is read first, then the newer."""
        ticket = self._ticket(_Waiting(command_no, unit, first, second))
        return self._core.checkpoints.read_version(ticket, unit, first, now)

    def version_told(self, fact: VersionRead | VersionRestored, now: Instant) -> list[Effect]:
        """What a checkpoint held, or that the state is what it was then."""
        waiting = self._waiting.pop(fact.ticket, None)
        if waiting is None:
            return []
        if fact.error:
            step = f"meshnode state history {fact.unit} lists what can be read"
            return [Reply(waiting.command_no, snapshot.failure_of(NotFound(fact.error, next_step=step)))]
        if isinstance(fact, VersionRestored):
            return [Reply(waiting.command_no, memory.state(self._core, fact.unit, "", "", now))]
        if waiting.before is None:
            ticket = self._ticket(msgspec.structs.replace(waiting, before=fact.values))
            return self._core.checkpoints.read_version(ticket, fact.unit, waiting.second, now)
        view = memory.difference(fact.unit, waiting.first, waiting.second, waiting.before, fact.values)
        return [Reply(waiting.command_no, view)]

    def _ticket(self, waiting: _Waiting) -> int:
        if len(self._waiting) >= FETCHES_MAX:
            raise LocalError("too many checkpoints are being read at once", next_step="try again in a second")
        self._last_ticket += 1
        self._waiting[self._last_ticket] = waiting
        return self._last_ticket

    def _owner(self, unit: InstanceId) -> NodeId | None:
        if unit in self._core.homes:
            return self._core.config.node
        claims = [u for u in units.claims(self._core, agent_of(unit)) if u.first_slot == slot_of(unit)]
        alive = [u for u in claims if self._core.gossip.reachable(u.node)] or claims
        return max(alive, key=lambda u: (u.epoch, u.node)).node if alive else None

    def _fold(self, command_no: int, command: commands.FoldState, now: Instant, *, asks_on: bool) -> Sequence[Effect]:
        """The units here; where none is, those of the one node that has them."""
        core, name = self._core, command.agent.removeprefix("agent/").partition("/")[0]
        here = [unit for unit in core.homes if agent_of(unit) == name]
        if here:
            effects = [effect for unit in here for effect in core.checkpoints.fold(unit, now)]
            self._folding[command_no] = (name, here)
            return [*effects, *self.folded(now)]
        nodes = [
            node for node in dict.fromkeys(u.node for u in units.claims(core, name)) if core.gossip.reachable(node)
        ]
        if asks_on and len(nodes) == 1:
            return self._ask_node(command_no, command, nodes[0], now)
        where = (
            f"they run on {', '.join(map(core.names.of, nodes))}: ask there" if nodes else "meshnode ps shows what runs"
        )
        raise NotFound(f"no unit of {name} runs on this node", next_step=where)

    def folded(self, now: Instant) -> list[Effect]:
        """A checkpoint is written, or will not be: whoever waited for the last one of an agent is answered."""
        core = self._core
        done = [no for no, (_, here) in self._folding.items() if not any(map(core.checkpoints.folding, here))]
        return [Reply(no, memory.states(core, self._folding.pop(no)[0], now)) for no in done]

    def _forget(self, command_no: int, unit: InstanceId) -> list[Effect]:
        agent = agent_of(unit)
        wanted = slot_of(unit) < self._core.intentions.replicas(agent)
        owner = self._owner(unit)
        if wanted or (owner is not None and self._core.gossip.reachable(owner)):
            what = "is wanted" if wanted else "still runs"
            raise Invalid(f"{unit} {what}: its state is in use", next_step=f"meshnode stop {agent}")
        return [
            *self._core.checkpoints.forget(unit),
            Reply(command_no, Done(message=f"the state of {unit} is forgotten on this node")),
        ]

    # -- what only one node knows -------------------------------------------------------------------------------------

    def _of_node(
        self, command_no: int, command: commands.ReadLogs | commands.Why, now: Instant, *, asks_on: bool
    ) -> Sequence[Effect]:
        core = self._core
        node = snapshot.find_node(core, command.node) if command.node else core.config.node
        if node != core.config.node:
            if not asks_on or not core.gossip.reachable(node):
                what = "its story" if isinstance(command, commands.Why) else "what its agents wrote"
                raise Offline(
                    f"{command.node} cannot be reached now, and only there is {what}",
                    next_step=f"meshnode why {command.node} tells since when",
                )
            return self._ask_node(command_no, command, node, now)
        if isinstance(command, commands.Why):
            return [Reply(command_no, explain.why(core, command.subject, now))]
        return self._logs(command_no, command)

    def _logs(self, command_no: int, command: commands.ReadLogs) -> list[Effect]:
        if len(self._fetching) >= FETCHES_MAX:
            raise LocalError("too many logs are being read at once", next_step="try again in a second")
        if not 1 <= command.limit <= LOG_LINES_MAX:
            raise Invalid(f"limit is {command.limit}; it may be 1 to {LOG_LINES_MAX}", next_step="ask in turns")
        self._fetching[command_no] = None
        return [FetchLogs(command_no, command.agent, command.after, command.limit)]
