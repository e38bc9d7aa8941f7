"""The life of the agents of this node: start, register, restart, stop, forget.

Invariants: at most one process per instance; skills are offered only while a registered connection of the present run
stands; an agent that keeps ending is retried for ever, ever more slowly, never in a hot loop.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from meshnode.agents.instance import AgentsConfig, Instance
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    AgentsInput,
    AgentsStopped,
    InstanceChanged,
    InstanceInfo,
    InstanceState,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    Run,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    Stop,
    StopProcess,
    WelcomeAgent,
)
from meshnode.agents.recipe import Recipe, check_name, read_recipe, read_record, record_of
from meshnode.agents.registration import judge
from meshnode.agents.words import exit_in_words, wait_in_words
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.commands import RunAgent
from meshnode.model.errors import Invalid, LocalError, NotFound, Offline
from meshnode.model.ids import AgentConn, AgentName, InstanceId


class Agents:
    """The agents room. Commands enter by ``run`` and ``stop``; everything else by ``handle``."""

    def __init__(self, config: AgentsConfig, rng: Random, restored: Sequence[Record]) -> None:
        self._config = config
        self._rng = rng
        # Tickets are seen by agents, so they are a keyed hash: no number of them tells the next.
        self._ticket_key = rng.randbytes(32)
        self._agents: dict[AgentName, Instance] = {}
        self._timers: Timers[AgentName] = Timers()
        self._run_no = 0
        self._closing = False
        self._unreadable: list[str] = []
        for record in restored:
            if record.kind == RecordKind.AGENT:
                self._restore(record)

    # Doors

    def start(self, now: Instant) -> list[Effect]:
        """A cold boot: everything that ran here runs again, without asking anybody."""
        effects: list[Effect] = [
            Note(f"agent/{name}", "its stored recipe cannot be read by this version: run it again")
            for name in self._unreadable
        ]
        for agent in self._agents.values():
            effects += self._launch(agent, now)
        return effects

    def run(self, command: RunAgent, now: Instant) -> list[Effect]:
        """Raises ``Invalid`` or ``Offline``; then nothing has changed. The same recipe again is harmless."""
        if self._closing:
            raise Offline("this node is going down", next_step="Start it again: meshnode up")
        name, recipe = read_recipe(command)
        agent = self._agents.get(name)
        if agent is None:
            return self._run_new(name, recipe, now)
        if agent.forgotten:
            # It is still stopping: the new one starts when the old one is gone.
            agent.forgotten, agent.successor = False, recipe
            return [Persist((record_of(name, recipe),)), Note(f"agent/{name}", "will run again once it has stopped")]
        if recipe != (agent.successor or agent.recipe):
            raise Invalid(
                f"agent {name} already runs here with another command line, folder or environment",
                next_step=f"Stop it first (meshnode stop {name}), or give this one another --name.",
            )
        if agent.state is InstanceState.STOPPED:
            return self._launch(agent, now)
        return []

    def stop(self, name: str, now: Instant) -> list[Effect]:
        """Stop and forget. Raises ``NotFound``; stopping twice is harmless."""
        check_name(name)
        agent = self._agents.get(AgentName(name))
        if agent is None:
            raise NotFound(f"no agent {name} runs on this node", next_step="See what runs here: meshnode ps")
        if agent.forgotten:
            return []
        effects: list[Effect] = [Persist((record_of(agent.name, None),)), Note(f"agent/{name}", "stopped as asked")]
        agent.forgotten, agent.successor = True, None
        if not agent.alive:
            return effects + self._forget(agent, now)
        return effects if agent.stopping else effects + self._end(agent, "asked to stop", now)

    def instances(self) -> list[InstanceInfo]:
        return [agent.info() for agent in self._agents.values()]

    def instance(self, name: str) -> InstanceInfo | None:
        agent = self._agents.get(AgentName(name))
        return None if agent is None else agent.info()

    # Machine

    def handle(self, event: AgentsInput, now: Instant) -> list[Effect]:
        match event:
            case Run():
                command = RunAgent(name=event.name, argv=list(event.argv), cwd=event.cwd, environment=event.environment)
                return self._by_another_room(event.name, lambda: self.run(command, now))
            case Stop():
                return self._by_another_room(event.name, lambda: self.stop(event.name, now))
            case ProcessStarted():
                return self._process_started(event, now)
            case ProcessFailed():
                return self._process_failed(event, now)
            case ProcessExited():
                return self._process_exited(event, now)
            case AgentRegistered():
                return self._registered(event, now)
            case AgentGone():
                return self._gone(event.conn, now)
            case Shutdown():
                return self._shut_down(now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for name in self._timers.pop_due(now.mono_us):
            effects += self._timer_due(self._agents[name], now)
        return effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    # Starting

    def _restore(self, record: Record) -> None:
        if not record.body:
            self._agents.pop(AgentName(record.key.decode(errors="replace")), None)
            return
        try:
            name, recipe = read_record(record)
        except (msgspec.MsgspecError, ValueError):
            self._unreadable.append(record.key.decode(errors="replace"))
            return
        self._agents[name] = self._new(name, recipe)

    def _new(self, name: AgentName, recipe: Recipe) -> Instance:
        return Instance(name, InstanceId(f"{name}/{self._config.node}"), recipe)

    def _run_new(self, name: AgentName, recipe: Recipe, now: Instant) -> list[Effect]:
        if len(self._agents) >= self._config.agents_max:
            raise Invalid(
                f"this node runs {len(self._agents)} agents already, which is its limit",
                next_step="Stop one (meshnode ps shows them) or run it on another node.",
            )
        agent = self._agents[name] = self._new(name, recipe)
        return [Persist((record_of(name, recipe),)), *self._launch(agent, now)]

    def _launch(self, agent: Instance, now: Instant) -> list[Effect]:
        self._run_no += 1
        agent.run_no, agent.began_us, agent.alive = self._run_no, now.mono_us, True
        agent.pid, agent.conn, agent.was_registered, agent.skills = None, None, False, ()
        agent.ticket = self._ticket(agent)
        recipe = agent.recipe
        return [
            StartProcess(agent.id, agent.run_no, recipe.argv, recipe.cwd, recipe.environment, agent.ticket),
            self._change(agent, InstanceState.STARTING, "", now),
        ]

    def _ticket(self, agent: Instance) -> str:
        label = f"{agent.id}#{agent.run_no}".encode()
        return hashlib.blake2b(label, key=self._ticket_key, digest_size=16).hexdigest()

    def _process_started(self, event: ProcessStarted, now: Instant) -> list[Effect]:
        agent = self._current(event.instance, event.run_no)
        if agent is None:
            return []
        agent.pid = event.pid
        if agent.state is InstanceState.STARTING:
            self._timers.set(agent.name, now.mono_us + self._config.settle_us)
        return [
            Note(f"agent/{agent.name}", f"started, pid {event.pid}"),
            self._change(agent, agent.state, agent.reason, now),
        ]

    def _registered(self, event: AgentRegistered, now: Instant) -> list[Effect]:
        agent = self._of_instance(event.header.instance)
        if agent is None or not agent.alive or agent.stopping:
            message = f"no instance {event.header.instance[:120]!r} is wanted here now"
            return [WelcomeAgent(event.conn, "unknown-instance", message)]
        ticket_fits = hmac.compare_digest(agent.ticket.encode(), event.header.ticket.encode())
        refusal = judge(event, ticket_fits=ticket_fits, pid=agent.pid, taken=agent.conn is not None)
        if refusal is not None:
            text = f"a registration by pid {event.pid} was refused: {refusal.message}"
            return [WelcomeAgent(event.conn, refusal.reason, refusal.message), Note(f"agent/{agent.name}", text)]
        agent.conn, agent.skills, agent.was_registered = event.conn, event.skills, True
        self._timers.cancel(agent.name)
        return [
            WelcomeAgent(event.conn),
            self._change(agent, InstanceState.RUNNING, "", now),
            SkillsOffered(agent.id, event.conn, event.skills),
        ]

    # Ending

    def _gone(self, conn: AgentConn, now: Instant) -> list[Effect]:
        agent = next((agent for agent in self._agents.values() if agent.conn == conn), None)
        if agent is None:
            return []
        effects = self._withdraw(agent)
        if agent.state is InstanceState.RUNNING:
            # Its end is usually told a moment later; if not, it hangs or works for nobody.
            self._timers.set(agent.name, now.mono_us + self._config.mute_us)
            effects.append(self._change(agent, InstanceState.STARTING, "lost its connection to the daemon", now))
        return effects

    def _end(self, agent: Instance, reason: str, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        if agent.conn is not None:
            effects.append(SkillsWithdrawn(agent.id))
        agent.skills = ()
        self._timers.cancel(agent.name)
        return [
            *effects,
            StopProcess(agent.id, agent.run_no, self._config.grace_us),
            self._change(agent, InstanceState.STOPPING, reason, now),
        ]

    def _process_failed(self, event: ProcessFailed, now: Instant) -> list[Effect]:
        agent = self._current(event.instance, event.run_no)
        return [] if agent is None else self._ended(agent, f"could not start: {event.error}", now)

    def _process_exited(self, event: ProcessExited, now: Instant) -> list[Effect]:
        agent = self._current(event.instance, event.run_no)
        if agent is None:
            return []
        in_order = event.code == 0 and not event.signal
        if in_order and not agent.was_registered and not agent.stopping:
            return self._finished(agent, now)
        return self._ended(agent, exit_in_words(event.code, event.signal, event.tail), now)

    def _finished(self, agent: Instance, now: Instant) -> list[Effect]:
        """Not a service but a job, and the job is done. It runs again at the next boot."""
        agent.alive, agent.pid = False, None
        self._timers.cancel(agent.name)
        words = "finished by itself with code 0"
        return [Note(f"agent/{agent.name}", words), self._change(agent, InstanceState.STOPPED, words, now)]

    def _ended(self, agent: Instance, words: str, now: Instant) -> list[Effect]:
        """The run is over and nothing of it is left."""
        effects: list[Effect] = []
        if agent.stopping:
            words = f"{agent.reason}; {words}"  # its skills were withdrawn when it was told to stop
        elif agent.conn is not None:
            effects.append(SkillsWithdrawn(agent.id))
        agent.alive, agent.pid, agent.conn, agent.skills = False, None, None, ()
        if agent.forgotten:
            effects += self._forget(agent, now)
        elif self._closing:
            effects.append(self._change(agent, InstanceState.STOPPED, words, now))
        elif agent.successor is not None:
            agent.recipe, agent.successor, agent.crashes_in_a_row = agent.successor, None, 0
            effects += self._launch(agent, now)
        else:
            effects += self._back_off(agent, words, now)
        return effects + self._all_stopped() if self._closing else effects

    def _back_off(self, agent: Instance, words: str, now: Instant) -> list[Effect]:
        config = self._config
        healthy = now.mono_us - agent.began_us >= config.healthy_us
        agent.crashes_in_a_row = 1 if healthy else agent.crashes_in_a_row + 1
        over = agent.crashes_in_a_row - config.quick_restarts
        if over > 0:
            wait_us = config.slow.wait_us(over, self._rng)
        else:
            wait_us = config.quick.wait_us(agent.crashes_in_a_row, self._rng)
        self._timers.set(agent.name, now.mono_us + wait_us)
        row = f", crash {agent.crashes_in_a_row} in a row" if agent.crashes_in_a_row > 1 else ""
        reason = f"{words}; starts again in {wait_in_words(wait_us)}{row}"
        return [Note(f"agent/{agent.name}", reason), self._change(agent, InstanceState.BACKOFF, reason, now)]

    def _timer_due(self, agent: Instance, now: Instant) -> list[Effect]:
        if agent.state is InstanceState.BACKOFF:
            agent.restarts += 1
            return self._launch(agent, now)
        if agent.was_registered:
            return self._end(agent, "stopped answering", now)
        return [self._change(agent, InstanceState.RUNNING, "runs without skills: it has not registered", now)]

    def _forget(self, agent: Instance, now: Instant) -> list[Effect]:
        self._timers.cancel(agent.name)
        del self._agents[agent.name]
        return [self._change(agent, InstanceState.STOPPED, "stopped as asked", now)]

    def _shut_down(self, now: Instant) -> list[Effect]:
        if self._closing:
            return []
        self._closing = True
        effects: list[Effect] = []
        for agent in self._agents.values():
            self._timers.cancel(agent.name)
            if agent.alive and not agent.stopping:
                effects += self._end(agent, "the node goes down", now)
            elif agent.state is InstanceState.BACKOFF:
                effects.append(self._change(agent, InstanceState.STOPPED, "the node goes down", now))
        return effects + self._all_stopped()

    def _all_stopped(self) -> list[Effect]:
        return [] if any(agent.alive for agent in self._agents.values()) else [AgentsStopped()]

    # Small steps

    def _withdraw(self, agent: Instance) -> list[Effect]:
        offered = agent.conn is not None
        agent.conn, agent.skills = None, ()
        return [SkillsWithdrawn(agent.id)] if offered else []

    def _change(self, agent: Instance, state: InstanceState, reason: str, now: Instant) -> InstanceChanged:
        if state is not agent.state:
            agent.since_us = now.mono_us
        agent.state, agent.reason = state, reason
        return InstanceChanged(agent.id, agent.name, state.value, reason, agent.pid, agent.restarts)

    def _of_instance(self, instance: str) -> Instance | None:
        agent = self._agents.get(AgentName(instance.partition("/")[0]))
        return agent if agent is not None and agent.id == instance else None

    def _current(self, instance: InstanceId, run_no: int) -> Instance | None:
        """The agent this process belongs to; None for news of a run that is over."""
        agent = self._of_instance(instance)
        return agent if agent is not None and agent.alive and agent.run_no == run_no else None

    @staticmethod
    def _by_another_room(name: str, act: Callable[[], list[Effect]]) -> list[Effect]:
        try:
            return act()
        except LocalError as error:
            return [Note(f"agent/{name[:63]}", error.message)]
