"""The runs of units: adopted or started, registered, ended, followed by the next; the last one at a shutdown.

Invariants: at most one process per unit; skills are offered only while a registered connection of the present run
stands; a unit that keeps ending is started again ever more slowly, and left alone once it ends too often.

Nothing starts before it is known what a former daemon left running (``ProcessesFound``).
"""

from collections.abc import Sequence

from meshnode.agents.config import AgentsConfig
from meshnode.agents.found import Found
from meshnode.agents.instance import Instance
from meshnode.agents.messages import (
    AgentRegistered,
    AgentsStopped,
    FoundProcess,
    InstanceChanged,
    InstanceState,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.agents.order import Order
from meshnode.agents.registration import judge, refused
from meshnode.agents.tickets import Tickets, of_another_order
from meshnode.agents.units import Units
from meshnode.agents.words import exit_in_words, wait_in_words
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.model.units import agent_of

ADOPTED = "adopted from the former daemon"
_WAITING = "waits to hear what already runs here"


class Runs:
    """All processes of this node's units. ``closing``: the node goes down, and nothing starts any more."""

    def __init__(self, config: AgentsConfig, rng: Random, units: Units) -> None:
        self.closing = False
        self._config = config
        self._rng = rng
        self._tickets = Tickets(rng)
        self._units = units
        self._found = Found(config.units_max)
        self._strays: dict[tuple[InstanceId, int], None] = {}  # runs that are being stopped and belong to no unit
        self._timers: Timers[InstanceId] = Timers()
        self._run_no = 0
        self._closed = False

    def begin(self, unit: Instance, now: Instant) -> list[Effect]:
        """A unit that is new here: adopted if it runs already, else started, as soon as that is known."""
        if not self._found.told:
            unit.waiting = True
            return [self.change(unit, InstanceState.STARTING, _WAITING, now)]
        return self._adopt_or_launch(unit, now)

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

    # Adopting

    def processes_found(self, found: Sequence[FoundProcess], now: Instant) -> list[Effect]:
        assert not self._found.told, "what already runs is told once"
        self._run_no = max((process.run_no for process in found), default=0)
        effects: list[Effect] = []
        for older in self._found.learn(found):
            self._strays[older.instance, older.run_no] = None
            text = f"{older.instance}: run {older.run_no} outlived its daemon beside a newer one, and is stopped"
            effects.append(Note(f"agent/{agent_of(older.instance)}", text))
            effects.append(StopProcess(older.instance, older.run_no, self._config.grace_us))
        if self.closing:
            return effects + self._unasked(now) + self._all_stopped()
        for unit in list(self._units):
            effects += self._adopt_or_launch(unit, now)
        if len(self._found):
            self._found.due_us = now.mono_us + self._config.adopt_us
        for event in self._found.early():
            effects += self.registered(event, now)
        return effects

    def _adopt_or_launch(self, unit: Instance, now: Instant) -> list[Effect]:
        process, registration = self._found.take(unit.id)
        if process is None:
            unit.successor = None
            return self.launch(unit, now)
        effects = self._adopt(unit, process, now)
        if unit.successor is not None or of_another_order(process.ticket, unit.order):
            unit.successor = unit.order
            effects += self.end(unit, "is wanted in another way", now)
        if registration is not None:
            effects += self.registered(registration, now)
        return effects

    def _adopt(self, unit: Instance, process: FoundProcess, now: Instant) -> list[Effect]:
        self._units.begin(unit, process.run_no, process.ticket, process.pid, now.mono_us)
        unit.adopted = True
        self._await_registration(unit, now)
        return [
            self.note(unit, f"{ADOPTED}, pid {process.pid}"),
            self.change(unit, InstanceState.STARTING, ADOPTED, now),
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
            effects += [self.note(unit, "outlived its daemon and is not wanted here any more")]
            effects += self.end(unit, "was not wanted any more after a restart of the daemon", now)
            if registration is not None:
                effects += self.registered(registration, now)
        return effects

    # Starting

    def launch(self, unit: Instance, now: Instant) -> list[Effect]:
        self._run_no += 1
        order = unit.order
        ticket = self._tickets.of(unit.id, self._run_no, order)
        self._units.begin(unit, self._run_no, ticket, None, now.mono_us)
        self._timers.cancel(unit.id)
        return [
            StartProcess(unit.id, unit.run_no, order.recipe, ticket, order.first_slot, order.slots),
            self.change(unit, InstanceState.STARTING, "", now),
        ]

    def process_started(self, event: ProcessStarted, now: Instant) -> list[Effect]:
        unit = self._current(event.instance, event.run_no)
        if unit is None:
            return []
        unit.pid = event.pid
        if unit.state is InstanceState.STARTING:
            self._await_registration(unit, now)
        return [self.note(unit, f"started, pid {event.pid}"), self.change(unit, unit.state, unit.reason, now)]

    def _await_registration(self, unit: Instance, now: Instant) -> None:
        wait_us = self._config.start_us if unit.must_register else self._config.settle_us
        self._timers.set(unit.id, now.mono_us + wait_us)

    def registered(self, event: AgentRegistered, now: Instant) -> list[Effect]:
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
            self.change(unit, InstanceState.RUNNING, "", now),
            SkillsOffered(
                unit.id, event.conn, event.skills, tuple(header.hooks), resumed, header.merge_no if resumed else 0
            ),
        ]

    def _registered_early(self, event: AgentRegistered) -> list[Effect]:
        """Of a unit that does not run here: it may be about to be adopted."""
        named = event.header.instance
        process = self._found.process(named)
        if process is not None and not self.closing:
            refusal = judge(event, ticket=process.ticket, pid=process.pid, taken=self._found.holds(named))
            if refusal is not None:
                return refused(event, refusal)
            self._found.hold(event)
            return []
        if not self._found.told and not self.closing and self._found.keep_early(event):
            return []
        return [WelcomeAgent(event.conn, "unknown-instance", f"no instance {named[:120]!r} is wanted here now")]

    # Ending

    def gone(self, conn: AgentConn, now: Instant) -> list[Effect]:
        unit = self._units.of_conn(conn)
        if unit is None:
            self._found.gone(conn)
            return []
        self._units.disconnect(unit)
        effects = self._withdraw(unit)
        if unit.state is InstanceState.RUNNING:
            # Its end is usually told a moment later; if not, it hangs or works for nobody.
            self._timers.set(unit.id, now.mono_us + self._config.mute_us)
            effects.append(self.change(unit, InstanceState.STARTING, "lost its connection to the daemon", now))
        return effects

    def end(self, unit: Instance, reason: str, now: Instant) -> list[Effect]:
        """Ask the process to end. Its connection stays: it may still answer what it works on."""
        self._timers.cancel(unit.id)
        return [
            *self._withdraw(unit),
            StopProcess(unit.id, unit.run_no, self._config.grace_us),
            self.change(unit, InstanceState.STOPPING, reason, now),
        ]

    def process_exited(self, event: ProcessExited, now: Instant) -> list[Effect]:
        unit = self._current(event.instance, event.run_no)
        in_order = event.code == 0 and not event.signal
        if unit is not None and in_order and self._may_be_a_job(unit):
            return self._finished(unit, now)
        return self.process_ended(event, exit_in_words(event.code, event.signal, event.tail), now)

    def process_ended(self, event: ProcessExited | ProcessFailed, words: str, now: Instant) -> list[Effect]:
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
        return [self.note(unit, words), self.change(unit, InstanceState.STOPPED, words, now)]

    def _ended(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        """The run is over and nothing of it is left."""
        effects = self._withdraw(unit)
        self._units.end(unit)
        if unit.stopping:
            words = f"{unit.reason}; {words}"
        if unit.forgotten:
            effects += [self.note(unit, words), *self.forget(unit, words, now)]
        elif self.closing:
            self._timers.cancel(unit.id)
            effects.append(self.change(unit, InstanceState.STOPPED, words, now))
        elif unit.successor is not None:
            unit.follow(unit.successor)
            effects += self.launch(unit, now)
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
        return [self.note(unit, reason), self.change(unit, InstanceState.BACKOFF, reason, now)]

    def _fail(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        config = self._config
        self._timers.cancel(unit.id)
        often = f"ended more than {config.intensity_max} times within {wait_in_words(config.intensity_window_us)}"
        reason = f"{words}; {often}: restart it once the cause is mended (meshnode restart {unit.agent})"
        return [self.note(unit, reason), self.change(unit, InstanceState.FAILED, reason, now)]

    def _timer_due(self, unit: Instance, now: Instant) -> list[Effect]:
        if unit.state is InstanceState.BACKOFF:
            unit.restarts += 1
            return self.launch(unit, now)
        if unit.was_registered:
            return self.end(unit, "stopped answering", now)
        if unit.must_register:
            return self.end(unit, f"has not registered within {wait_in_words(self._config.start_us)}", now)
        return [self.change(unit, InstanceState.RUNNING, "runs without skills: it has not registered", now)]

    def forget(self, unit: Instance, words: str, now: Instant) -> list[Effect]:
        self._timers.cancel(unit.id)
        self._units.remove(unit)
        return [self.change(unit, InstanceState.STOPPED, words, now)]

    def shut_down(self, now: Instant) -> list[Effect]:
        if self.closing:
            return []
        self.closing = True
        effects = self._unasked(now)
        for unit in self._units:
            self._timers.cancel(unit.id)
            if unit.alive and not unit.stopping:
                effects += self.end(unit, "the node goes down", now)
            elif unit.waiting or unit.state is InstanceState.BACKOFF:
                unit.waiting = False
                effects.append(self.change(unit, InstanceState.STOPPED, "the node goes down", now))
        if not self._found.told:
            self._found.due_us = now.mono_us + self._config.adopt_us
        return effects + self._all_stopped()

    def _all_stopped(self) -> list[Effect]:
        if not self.closing or self._closed or self._units.alive or self._strays or not self._found.told:
            return []
        self._closed = True
        return [AgentsStopped()]

    # Small steps

    def _withdraw(self, unit: Instance) -> list[Effect]:
        offered, unit.offering, unit.skills = unit.offering, False, ()
        return [SkillsWithdrawn(unit.id)] if offered else []

    def change(self, unit: Instance, state: InstanceState, reason: str, now: Instant) -> InstanceChanged:
        if state is not unit.state:
            unit.since_us = now.mono_us
        unit.state, unit.reason = state, reason
        return InstanceChanged(unit.id, unit.agent, state.value, reason, unit.pid, unit.restarts)

    @staticmethod
    def note(unit: Instance, text: str) -> Note:
        return Note(f"agent/{unit.agent}", f"{unit.id}: {text}")

    def _current(self, unit_id: InstanceId, run_no: int) -> Instance | None:
        """The unit this process belongs to; None for news of a run that is over."""
        unit = self._units.get(unit_id)
        return unit if unit is not None and unit.alive and unit.run_no == run_no else None
