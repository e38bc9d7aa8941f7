"""The life of the units of this node: what is wanted of them, and the table of all that may happen to them.

The runs themselves are in ``runs.py``.
"""

from collections.abc import Sequence
from typing import assert_never

from meshnode.agents.config import AgentsConfig
from meshnode.agents.instance import Instance
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    AgentsInput,
    InstanceInfo,
    InstanceState,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    RestartUnit,
    RunUnit,
    Shutdown,
    StopUnit,
)
from meshnode.agents.order import Order, objection
from meshnode.agents.runs import Runs
from meshnode.agents.units import Units
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.rng import Random
from meshnode.model.ids import AgentName, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.model.units import agent_of

__all__ = ["Agents", "AgentsConfig"]

_EARLIER = "was started by an earlier version: run it again"


class Agents:
    """The agents room. ``restored``: the records of the journal."""

    def __init__(self, config: AgentsConfig, rng: Random, restored: Sequence[Record] = ()) -> None:
        self._config = config
        self._units = Units()
        self._runs = Runs(config, rng, self._units)
        agent_records = {record.key: record.body for record in restored if record.kind == RecordKind.AGENT}
        self._earlier = [key for key, body in agent_records.items() if body]

    # Doors

    def start(self, now: Instant) -> list[Effect]:  # noqa: ARG002 - every room starts at a time
        """Launches nothing: units come by ``RunUnit``. What an earlier version kept here is told of once and let go."""
        effects: list[Effect] = []
        for key in self._earlier:
            effects.append(Note(f"agent/{key.decode(errors='replace')[:63]}", _EARLIER))
            effects.append(Persist((Record(RecordKind.AGENT, key, b""),)))
        self._earlier = []
        return effects

    def instances(self) -> list[InstanceInfo]:
        return [unit.info() for unit in self._units]

    def instance(self, unit: str) -> InstanceInfo | None:
        found = self._units.get(InstanceId(unit))
        return None if found is None else found.info()

    def of_agent(self, name: str) -> list[InstanceInfo]:
        return [unit.info() for unit in self._units.of_agent(AgentName(name))]

    # Machine

    def handle(self, event: AgentsInput, now: Instant) -> list[Effect]:
        match event:
            case RunUnit():
                return self._run(event, now)
            case StopUnit():
                return self._stop(event, now)
            case RestartUnit():
                return self._restart(event, now)
            case ProcessesFound(found):
                return self._runs.processes_found(found, now)
            case ProcessStarted():
                return self._runs.process_started(event, now)
            case ProcessFailed():
                return self._runs.process_ended(event, f"could not start: {event.error}", now)
            case ProcessExited():
                return self._runs.process_exited(event, now)
            case AgentRegistered():
                return self._runs.registered(event, now)
            case AgentGone(conn):
                return self._runs.gone(conn, now)
            case Shutdown():
                return self._runs.shut_down(now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> list[Effect]:
        return self._runs.wake(now)

    def deadline(self) -> int | None:
        return self._runs.deadline()

    # What is wanted

    def _run(self, event: RunUnit, now: Instant) -> list[Effect]:
        if self._runs.closing:
            return []
        order = Order(event.recipe, event.first_slot, event.slots)
        refusal = objection(event)
        unit = self._units.get(event.unit)
        if refusal:
            return self._not_started(event.unit, refusal, now)
        if unit is None:
            return self._run_new(event.unit, order, now)
        if unit.forgotten:
            unit.forgotten, unit.successor = False, order
            return [self._runs.note(unit, "will run again once it has stopped")]
        if unit.alive:
            return self._run_otherwise(unit, order, now)
        if unit.waiting or (order == unit.order and unit.state is InstanceState.BACKOFF):
            unit.order = order
            return []
        unit.follow(order)
        return self._runs.launch(unit, now)

    def _run_otherwise(self, unit: Instance, order: Order, now: Instant) -> list[Effect]:
        if order == (unit.successor or unit.order):
            return []
        unit.successor = order
        return [] if unit.stopping else self._runs.end(unit, "is wanted in another way", now)

    def _run_new(self, unit_id: InstanceId, order: Order, now: Instant) -> list[Effect]:
        if len(self._units) >= self._config.units_max:
            words = f"this node runs {len(self._units)} units, which is its limit: stop some, or run it elsewhere"
            return self._not_started(unit_id, words, now)
        unit = Instance(agent_of(unit_id), unit_id, order)
        self._units.add(unit)
        return self._runs.begin(unit, now)

    def _not_started(self, unit_id: InstanceId, why: str, now: Instant) -> list[Effect]:
        """Told as a failure, so that nobody waits for it; what already runs under that id goes on."""
        agent = AgentName(agent_of(unit_id)[:63])
        effects: list[Effect] = [Note(f"agent/{agent}", f"{unit_id[:80]} was not started: {why}")]
        if self._units.get(unit_id) is None:
            effects.append(self._runs.change(Instance(agent, unit_id, Order(Recipe())), InstanceState.FAILED, why, now))
        return effects

    def _stop(self, event: StopUnit, now: Instant) -> list[Effect]:
        """Stop and forget. Twice is harmless; nothing is said of a unit that is not here."""
        unit = self._units.get(event.unit)
        if unit is None or unit.forgotten:
            return []
        unit.forgotten, unit.successor = True, None
        effects: list[Effect] = [self._runs.note(unit, f"stops: {event.reason}")]
        if not unit.alive:
            return effects + self._runs.forget(unit, event.reason, now)
        return effects if unit.stopping else effects + self._runs.end(unit, event.reason, now)

    def _restart(self, event: RestartUnit, now: Instant) -> list[Effect]:
        """A unit at fault has crashed: it waits like one. If it waits already, or has failed, it stays so."""
        unit = self._units.get(event.unit)
        if unit is None or unit.forgotten or self._runs.closing:
            return []
        if unit.alive or unit.waiting:
            if not event.at_fault:
                unit.successor = unit.successor or unit.order
            if unit.waiting or unit.stopping:
                return []
            return [self._runs.note(unit, f"restarts: {event.reason}"), *self._runs.end(unit, event.reason, now)]
        if event.at_fault:
            return []
        unit.follow(unit.order)
        return [self._runs.note(unit, f"restarts: {event.reason}"), *self._runs.launch(unit, now)]
