"""Inputs, effects and facts of the agents room. (Calls pass it by: see wire/bus.py.)"""

import enum

import msgspec

from meshnode.kernel.effects import Effect, Fact
from meshnode.model.ids import AgentConn, AgentName, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.wire.calls import RegisterHeader, SkillDescription


class InstanceState(enum.StrEnum):
    """Where one instance stands."""

    STARTING = "starting"  # the process was asked for, or runs and has not registered yet
    RUNNING = "running"
    BACKOFF = "backoff"  # it ended; the next try is set
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # it kept ending: more restarts than its intensity allows; a person or another recipe starts it


# Inputs


class RunUnit(msgspec.Struct, frozen=True):
    """The scheduler placed this unit here and its state is open: run it. Again with another recipe: restart it so."""

    unit: InstanceId
    recipe: Recipe
    first_slot: int = 0
    slots: int = 1


class StopUnit(msgspec.Struct, frozen=True):
    """The unit is not to run here any more: stop its process in order and forget it."""

    unit: InstanceId
    reason: str


class RestartUnit(msgspec.Struct, frozen=True):
    """Stop its process in order and start it again, now. ``at_fault``: the process itself is the reason, so it counts
    as a crash: it waits longer each time, and has failed in the end."""

    unit: InstanceId
    reason: str
    at_fault: bool = False


class FoundProcess(msgspec.Struct, frozen=True):
    """A process that outlived the daemon which started it."""

    instance: InstanceId
    run_no: int
    pid: int
    ticket: str


class ProcessesFound(msgspec.Struct, frozen=True):
    """Told exactly once, before anything is started: what already runs. Units are adopted when the scheduler wants them
    here (RunUnit with the same recipe), and stopped when it has not asked for them within ``adopt_us``."""

    found: tuple[FoundProcess, ...] = ()


class ProcessStarted(msgspec.Struct, frozen=True):
    instance: InstanceId
    run_no: int
    pid: int


class ProcessFailed(msgspec.Struct, frozen=True):
    """There is no process: the program, its folder or the machine's limits did not allow one."""

    instance: InstanceId
    run_no: int
    error: str


class ProcessExited(msgspec.Struct, frozen=True):
    """The process and its whole group are gone. ``signal``: a name like "SIGKILL", "" if it exited with ``code``.

    ``tail``: the last lines it wrote, standard error first.
    """

    instance: InstanceId
    run_no: int
    code: int
    signal: str = ""
    tail: str = ""


class AgentRegistered(msgspec.Struct, frozen=True):
    """A process asks to be taken as an agent. ``pid``, ``uid``: of the peer, as the kernel says, not as it claims.

    ``lineage``: its parents, nearest first: a registration may come from a descendant of the started process.
    """

    conn: AgentConn
    header: RegisterHeader
    skills: tuple[SkillDescription, ...]
    pid: int
    uid: int
    lineage: tuple[int, ...] = ()


class AgentGone(msgspec.Struct, frozen=True):
    """The connection ended, or has been silent for too long. Told exactly once per registered connection."""

    conn: AgentConn


class Shutdown(msgspec.Struct, frozen=True):
    """The node goes down: stop everything, forget nothing. Ends in ``AgentsStopped``."""


AgentsInput = (
    RunUnit | StopUnit | RestartUnit | ProcessesFound | ProcessStarted | ProcessFailed | ProcessExited
    | AgentRegistered | AgentGone | Shutdown
)  # fmt: skip


# Effects


class StartProcess(Effect, frozen=True):
    """Start one process in its own group. Ends in ProcessStarted (then ProcessExited) or ProcessFailed.

    ``recipe.file`` set: forked from the warm interpreter (or the bundle's copy of the file), else ``recipe.argv`` is
    executed.
    """

    instance: InstanceId
    run_no: int
    recipe: Recipe
    ticket: str
    first_slot: int = 0
    slots: int = 1


class StopProcess(Effect, frozen=True):
    """SIGTERM to the group; SIGKILL to what is left of it after ``grace_us``. Ends in ProcessExited."""

    instance: InstanceId
    run_no: int
    grace_us: int


class WelcomeAgent(Effect, frozen=True):
    """The answer to AgentRegistered. A ``refusal`` (a name) also ends the connection."""

    conn: AgentConn
    refusal: str = ""
    message: str = ""
    first_slot: int = 0
    slots: int = 1


# Facts


class InstanceChanged(Fact, frozen=True):
    """``state`` is an InstanceState; "stopped" of a forgotten agent is the last that is heard of it."""

    instance: InstanceId
    agent: AgentName
    state: str
    reason: str
    pid: int | None
    restarts: int


class SkillsOffered(Fact, frozen=True):
    instance: InstanceId
    conn: AgentConn
    skills: tuple[SkillDescription, ...]
    hooks: tuple[str, ...] = ()
    resumed: bool = False  # the process held its state all the time; only the daemon is new
    merge_no: int = 0


class SkillsWithdrawn(Fact, frozen=True):
    instance: InstanceId


class AgentsStopped(Fact, frozen=True):
    """After ``Shutdown``: no process of ours is left."""


# Answers


class InstanceInfo(msgspec.Struct, frozen=True):
    """One instance, for views. ``since_us``: when its state last changed, on the mono_us axis."""

    instance: InstanceId
    agent: AgentName
    state: InstanceState
    reason: str
    pid: int | None
    restarts: int
    skills: tuple[SkillDescription, ...]
    since_us: int
    first_slot: int = 0
    slots: int = 1
