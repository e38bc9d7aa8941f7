"""What the node knows about one agent, and how it is to be treated."""

from dataclasses import dataclass

from meshnode.agents.messages import InstanceInfo, InstanceState
from meshnode.agents.recipe import Recipe
from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import AgentConn, AgentName, InstanceId
from meshnode.wire.calls import SkillDescription


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentsConfig:
    """How this node treats its agents.

    A run shorter than ``healthy_us`` is a crash in a row: the first ``quick_restarts`` of a row wait by ``quick``, the
    others by ``slow``. ``settle_us``: a process that has not registered by then counts as running without skills.
    ``mute_us``: a process that lost its connection has this long to end by itself before it is stopped and restarted.
    """

    node: str
    agents_max: int = 256
    quick_restarts: int = 3
    quick: Backoff = Backoff(first_us=200 * MS, cap_us=1 * SECOND)
    slow: Backoff = Backoff(first_us=2 * SECOND, cap_us=60 * SECOND)
    healthy_us: int = 60 * SECOND
    settle_us: int = 10 * SECOND
    mute_us: int = 5 * SECOND
    grace_us: int = 5 * SECOND

    def __post_init__(self) -> None:
        if not self.node or "/" in self.node or min(self.agents_max, self.quick_restarts, self.grace_us) < 1:
            raise ValueError(f"agents config out of range: {self}")


@dataclass(slots=True)
class Instance:
    """``alive``: from StartProcess until the end of that process is told. ``forgotten``: goes when its process does.

    ``successor``: the recipe that follows when a stopping process is gone.
    """

    name: AgentName
    id: InstanceId
    recipe: Recipe
    state: InstanceState = InstanceState.STOPPED
    reason: str = ""
    since_us: int = 0
    run_no: int = 0
    began_us: int = 0
    alive: bool = False
    pid: int | None = None
    ticket: str = ""
    conn: AgentConn | None = None
    was_registered: bool = False
    skills: tuple[SkillDescription, ...] = ()
    restarts: int = 0
    crashes_in_a_row: int = 0
    forgotten: bool = False
    successor: Recipe | None = None

    @property
    def stopping(self) -> bool:
        return self.state is InstanceState.STOPPING

    def info(self) -> InstanceInfo:
        return InstanceInfo(
            self.id, self.name, self.state, self.reason, self.pid, self.restarts, self.skills, self.since_us
        )
