"""The life of the units of this node: adopt, start, register, restart, stop, forget.

Invariants: at most one process per unit; skills are offered only while a registered connection of the present run
stands; a unit that keeps ending is started again ever more slowly, and left alone once it ends too often.

Nothing starts before it is known what a former daemon left running (``ProcessesFound``).
"""

from collections.abc import Sequence
from typing import assert_never

from meshnode.agents.config import AgentsConfig
from meshnode.agents.found import Found
from meshnode.agents.instance import Instance, Order
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    AgentsInput,
    AgentsStopped,
    FoundProcess,
    InstanceChanged,
    InstanceInfo,
    InstanceState,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    RestartUnit,
    RunUnit,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
    StopUnit,
    WelcomeAgent,
)
from meshnode.agents.recipe import objection
from meshnode.agents.registration import judge, refused
from meshnode.agents.tickets import Tickets, of_another_order
from meshnode.agents.units import Units
from meshnode.agents.words import exit_in_words, wait_in_words
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import AgentConn, AgentName, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.model.units import agent_of

__all__ = ["Agents", "AgentsConfig"]

ADOPTED = "adopted from the former daemon"
_WAITING = "waits to hear what already runs here"
_EARLIER = "was started by an earlier version: run it again"


class Agents:
    """The agents room. ``restored``: the records of the journal."""

    def __init__(self, config: AgentsConfig, rng: Random, restored: Sequence[Record] = ()) -> None:
        self._config = config
        self._rng = rng
        self._tickets = Tickets(rng)
        self._units = Units()
        self._found = Found(config.units_max)
        self._strays: dict[tuple[InstanceId, int], None] = {}  # runs that are being stopped and belong to no unit
        self._timers: Timers[InstanceId] = Timers()
        self._run_no = 0
        self._closing = self._closed = False
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
                return self._processes_found(found, now)
            case ProcessStarted():
                return self._process_started(event, now)
            case ProcessFailed():
                return self._process_ended(event, f"could not start: {event.error}", now)
            case ProcessExited():
                return self._process_exited(event, now)
            case AgentRegistered():
                return self._registered(event, now)
            case AgentGone(conn):
                return self._gone(conn, now)
            case Shutdown():
                return self._shut_down(now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for key in self._timers.pop_due(now.mono_us):
            unit = self._units.get(key)
            assert unit is not None
            effects += self._timer_due(unit, now)
        if self._found.due_us is not None and self._found.due_us <= now.mono_us:
            effects += self._found_due(now)
        return effects

    def deadline(self) -> int | None:
        return earliest(self._timers.deadline(), self._found.due_us)

    # What is wanted

    def _run(self, event: RunUnit, now: Instant) -> list[Effect]:
        if self._closing:
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
            return [self._note(unit, "will run again once it has stopped")]
        if unit.alive:
            return self._run_otherwise(unit, order, now)
        if unit.waiting or (order == unit.order and unit.state is InstanceState.BACKOFF):
            unit.order = order
            return []
        unit.follow(order)
        return self._launch(unit, now)

    def _run_otherwise(self, unit: Instance, order: Order, now: Instant) -> list[Effect]:
        if order == (unit.successor or unit.order):
            return []
        unit.successor = order
        return [] if unit.stopping else self._end(unit, "is wanted in another way", now)

    def _run_new(self, unit_id: InstanceId, order: Order, now: Instant) -> list[Effect]:
        if len(self._units) >= self._config.units_max:
            words = f"this node runs {len(self._units)} units, which is its limit: stop some, or run it elsewhere"
            return self._not_started(unit_id, words, now)
        unit = Instance(agent_of(unit_id), unit_id, order)
        self._units.add(unit)
        if not self._found.told:
            unit.waiting = True
            return [self._change(unit, InstanceState.STARTING, _WAITING, now)]
        return self._adopt_or_launch(unit, now)

    def _not_started(self, unit_id: InstanceId, why: str, now: Instant) -> list[Effect]:
        """Told as a failure, so that nobody waits for it; what already runs under that id goes on."""
        agent = AgentName(agent_of(unit_id)[:63])
        effects: list[Effect] = [Note(f"agent/{agent}", f"{unit_id[:80]} was not started: {why}")]
        if self._units.get(unit_id) is None:
            effects.append(self._change(Instance(agent, unit_id, Order(Recipe())), InstanceState.FAILED, why, now))
        return effects

    def _stop(self, event: StopUnit, now: Instant) -> list[Effect]:
        """Stop and forget. Twice is harmless; nothing is said of a unit that is not here."""
        unit = self._units.get(event.unit)
        if unit is None or unit.forgotten:
            return []
        unit.forgotten, unit.successor = True, None
        effects: list[Effect] = [self._note(unit, f"stops: {event.reason}")]
        if not unit.alive:
            return effects + self._forget(unit, event.reason, now)
        return effects if unit.stopping else effects + self._end(unit, event.reason, now)

    def _restart(self, event: RestartUnit, now: Instant) -> list[Effect]:
        unit = self._units.get(event.unit)
        if unit is None or unit.forgotten or self._closing:
            return []
        if unit.alive or unit.waiting:
            unit.successor = unit.successor or unit.order
            if unit.waiting or unit.stopping:
                return []
            return [self._note(unit, f"restarts: {event.reason}"), *self._end(unit, event.reason, now)]
        unit.follow(unit.order)
        return [self._note(unit, f"restarts: {event.reason}"), *self._launch(unit, now)]

    # Adopting

    def _processes_found(self, found: Sequence[FoundProcess], now: Instant) -> list[Effect]:
        assert not self._found.told, "what already runs is told once"
        self._run_no = max((process.run_no for process in found), default=0)
        effects: list[Effect] = []
        for older in self._found.learn(found):
            self._strays[older.instance, older.run_no] = None
            text = f"{older.instance}: run {older.run_no} outlived its daemon beside a newer one, and is stopped"
            effects.append(Note(f"agent/{agent_of(older.instance)}", text))
            effects.append(StopProcess(older.instance, older.run_no, self._config.grace_us))
        if self._closing:
            return effects + self._unasked(now) + self._all_stopped()
        for unit in list(self._units):
            effects += self._adopt_or_launch(unit, now)
        if len(self._found):
            self._found.due_us = now.mono_us + self._config.adopt_us
        for event in self._found.early():
            effects += self._registered(event, now)
        return effects

    def _adopt_or_launch(self, unit: Instance, now: Instant) -> list[Effect]:
        process, registration = self._found.take(unit.id)
        if process is None:
            unit.successor = None
            return self._launch(unit, now)
        effects = self._adopt(unit, process, now)
        if unit.successor is not None or of_another_order(process.ticket, unit.order):
            unit.successor = unit.order
            effects += self._end(unit, "is wanted in another way", now)
        if registration is not None:
            effects += self._registered(registration, now)
        return effects

    def _adopt(self, unit: Instance, process: FoundProcess, now: Instant) -> list[Effect]:
        self._units.begin(unit, process.run_no, process.ticket, process.pid, now.mono_us)
        unit.adopted = True
        self._await_registration(unit, now)
        return [
            self._note(unit, f"{ADOPTED}, pid {process.pid}"),
            self._change(unit, InstanceState.STARTING, ADOPTED, now),
        ]

    def _found_due(self, now: Instant) -> list[Effect]:
        self._found.due_us = None
        if self._found.told:
            return self._unasked(now)
        self._closed = True  # it goes down, and nobody has ever told what runs: it does not wait for that any longer
        return [AgentsStopped()]

    def _unasked(self, now: Instant) -> list[Effect]:
        """Nobody has asked for these: they are stopped, and forgotten once they are gone."""
        effects: list[Effect] = []
        for unit_id in self._found.unasked():
            process, registration = self._found.take(unit_id)
            assert process is not None
            unit = self._units.get(unit_id)
            if unit is None:
                unit = Instance(agent_of(unit_id), unit_id, Order(Recipe()), forgotten=True)
                self._units.add(unit)
            self._units.begin(unit, process.run_no, process.ticket, process.pid, now.mono_us)
            unit.adopted = True
            effects += [self._note(unit, "outlived its daemon and is not wanted here any more")]
            effects += self._end(unit, "was not wanted any more after a restart of the daemon", now)
            if registration is not None:
                effects += self._registered(registration, now)
        return effects

    # Starting

    def _launch(self, unit: Instance, now: Instant) -> list[Effect]:
        self._run_no += 1
        order = unit.order
        ticket = self._tickets.of(unit.id, self._run_no, order)
        self._units.begin(unit, self._run_no, ticket, None, now.mono_us)
        self._timers.cancel(unit.id)
        return [
            StartProcess(unit.id, unit.run_no, order.recipe, ticket, order.first_slot, order.slots),
            self._change(unit, InstanceState.STARTING, "", now),
        ]

    def _process_started(self, event: ProcessStarted, now: Instant) -> list[Effect]:
        unit = self._current(event.instance, event.run_no)
        if unit is None:
            return []
        unit.pid = event.pid
        if unit.state is InstanceState.STARTING:
            self._await_registration(unit, now)
        return [self._note(unit, f"started, pid {event.pid}"), self._change(unit, unit.state, unit.reason, now)]

    def _await_registration(self, unit: Instance, now: Instant) -> None:
        wait_us = self._config.start_us if unit.must_register else self._config.settle_us
        self._timers.set(unit.id, now.mono_us + wait_us)

    def _registered(self, event: AgentRegistered, now: Instant) -> list[Effect]:
        named = event.header.instance
        unit = self._units.get(InstanceId(named))
        if unit is None or not unit.alive or unit.stopping:
            return self._registered_early(event)
        refusal = judge(event, ticket=unit.ticket, pid=unit.pid, taken=unit.conn is not None)
        if refusal is not None:
            return refused(event, refusal)
        header = event.header
        # A process that this or a former daemon never took in cannot hold anything: it gets its state like any other.
        resumed = header.resume and (unit.adopted or unit.was_registered)
        self._units.connect(unit, event.conn)
        unit.skills, unit.was_registered, unit.speaks, unit.offering = event.skills, True, True, True
        self._timers.cancel(unit.id)
        return [
            WelcomeAgent(event.conn, first_slot=unit.order.first_slot, slots=unit.order.slots),
            self._change(unit, InstanceState.RUNNING, "", now),
            SkillsOffered(
                unit.id, event.conn, event.skills, tuple(header.hooks), resumed, header.merge_no if resumed else 0
            ),
        ]

    def _registered_early(self, event: AgentRegistered) -> list[Effect]:
        """Of a unit that does not run here: it may be about to be adopted."""
        named = event.header.instance
        process = self._found.process(named)
        if process is not None and not self._closing:
            refusal = judge(event, ticket=process.ticket, pid=process.pid, taken=self._found.holds(named))
            if refusal is not None:
                return refused(event, refusal)
            self._found.hold(event)
            return []
        if not self._found.told and not self._closing and self._found.keep_early(event):
            return []
        return [WelcomeAgent(event.conn, "unknown-instance", f"no instance {named[:120]!r} is wanted here now")]

    # Ending

    def _gone(self, conn: AgentConn, now: Instant) -> list[Effect]:
        unit = self._units.of_conn(conn)
        if unit is None:
            self._found.gone(conn)
            return []
        self._units.disconnect(unit)
        effects = self._withdraw(unit)
        if unit.state is InstanceState.RUNNING:
            # Its end is usually told a moment later; if not, it hangs or works for nobody.
            self._timers.set(unit.id, now.mono_us + self._config.mute_us)
            effects.append(self._change(unit, InstanceState.STARTING, "lost its connection to the daemon", now))
        return effects

    def _end(self, unit: Instance, reason: str, now: Instant) -> list[Effect]:
        """Ask the process to end. Its connection stays: it may still answer what it works on."""
        self._timers.cancel(unit.id)
        return [
            *self._withdraw(unit),
            StopProcess(unit.id, unit.run_no, self._config.grace_us),
            self._change(unit, InstanceState.STOPPING, reason, now),
        ]

    def _process_exited(self, event: ProcessExited, now: Instant) -> list[Effect]:
        unit = self._current(event.instance, event.run_no)
        in_order = event.code == 0 and not event.signal
        if unit is not None and in_order and self._may_be_a_job(unit):
            return self._finished(unit, now)
        return self._process_ended(event, exit_in_words(event.code, event.signal, event.tail), now)

    def _process_ended(self, event: ProcessExited | ProcessFailed, words: str, now: Instant) -> list[Effect]:
        if self._strays.pop((event.instance, event.run_no), False) is None:
            return self._all_stopped()
        process = self._found.process(event.instance)
        if process is not None and process.run_no == event.run_no:
            self._found.take(event.instance)  # before anybody asked for it
        unit = self._current(event.instance, event.run_no)
        if unit is None:
            return []
        return [*self._ended(unit, words, now), *self._all_stopped()]

    @staticmethod
    def _may_be_a_job(unit: Instance) -> bool:
        """What was adopted may have registered with the former daemon: it is a job if it did not come back in time."""
        if unit.was_registered or unit.stopping:
            return False
        return not unit.adopted or unit.state is InstanceState.RUNNING

    def _finished(self, unit: Instance, now: Instant) -> list[Effect]:
        """Not a service but a job, and the job is done. It runs again at the next boot."""
        self._units.end(unit)
        self._timers.cancel(unit.id)
        words = "finished by itself with code 0"
        return [self._note(unit, words), self._change(unit, InstanceState.STOPPED, words, now)]

    def _ended(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        """The run is over and nothing of it is left."""
        effects = self._withdraw(unit)
        self._units.end(unit)
        if unit.stopping:
            words = f"{unit.reason}; {words}"
        if unit.forgotten:
            effects += self._forget(unit, words, now)
        elif self._closing:
            self._timers.cancel(unit.id)
            effects.append(self._change(unit, InstanceState.STOPPED, words, now))
        elif unit.successor is not None:
            unit.follow(unit.successor)
            effects += self._launch(unit, now)
        elif unit.crashes.add(self._config, unit.began_us, now.mono_us):
            effects += self._fail(unit, words, now)
        else:
            effects += self._back_off(unit, words, now)
        return effects

    def _back_off(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        wait_us = unit.crashes.wait_us(self._config, self._rng)
        self._timers.set(unit.id, now.mono_us + wait_us)
        row = f", crash {unit.crashes.in_a_row} in a row" if unit.crashes.in_a_row > 1 else ""
        reason = f"{words}; starts again in {wait_in_words(wait_us)}{row}"
        return [self._note(unit, reason), self._change(unit, InstanceState.BACKOFF, reason, now)]

    def _fail(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        config = self._config
        self._timers.cancel(unit.id)
        often = f"ended more than {config.intensity_max} times within {wait_in_words(config.intensity_window_us)}"
        reason = f"{words}; {often}: restart it once the cause is mended (meshnode restart {unit.agent})"
        return [self._note(unit, reason), self._change(unit, InstanceState.FAILED, reason, now)]

    def _timer_due(self, unit: Instance, now: Instant) -> list[Effect]:
        if unit.state is InstanceState.BACKOFF:
            unit.restarts += 1
            return self._launch(unit, now)
        if unit.was_registered:
            return self._end(unit, "stopped answering", now)
        if unit.must_register:
            return self._end(unit, f"has not registered within {wait_in_words(self._config.start_us)}", now)
        return [self._change(unit, InstanceState.RUNNING, "runs without skills: it has not registered", now)]

    def _forget(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        self._timers.cancel(unit.id)
        self._units.remove(unit)
        return [self._change(unit, InstanceState.STOPPED, words, now)]

    def _shut_down(self, now: Instant) -> list[Effect]:
        if self._closing:
            return []
        self._closing = True
        effects = self._unasked(now)
        for unit in self._units:
            self._timers.cancel(unit.id)
            if unit.alive and not unit.stopping:
                effects += self._end(unit, "the node goes down", now)
            elif unit.waiting or unit.state is InstanceState.BACKOFF:
                unit.waiting = False
                effects.append(self._change(unit, InstanceState.STOPPED, "the node goes down", now))
        if not self._found.told:
            self._found.due_us = now.mono_us + self._config.adopt_us
        return effects + self._all_stopped()

    def _all_stopped(self) -> list[Effect]:
        if not self._closing or self._closed or self._units.alive or self._strays or not self._found.told:
            return []
        self._closed = True
        return [AgentsStopped()]

    # Small steps

    def _withdraw(self, unit: Instance) -> list[Effect]:
        offered, unit.offering, unit.skills = unit.offering, False, ()
        return [SkillsWithdrawn(unit.id)] if offered else []

    def _change(self, unit: Instance, state: InstanceState, reason: str, now: Instant) -> InstanceChanged:
        if state is not unit.state:
            unit.since_us = now.mono_us
        unit.state, unit.reason = state, reason
        return InstanceChanged(unit.id, unit.agent, state.value, reason, unit.pid, unit.restarts)

    @staticmethod
    def _note(unit: Instance, text: str) -> Note:
        return Note(f"agent/{unit.agent}", f"{unit.id}: {text}")

    def _current(self, unit_id: InstanceId, run_no: int) -> Instance | None:
        """The unit this process belongs to; None for news of a run that is over."""
        unit = self._units.get(unit_id)
        return unit if unit is not None and unit.alive and unit.run_no == run_no else None
