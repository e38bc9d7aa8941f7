"""What the node knows about one unit."""

from dataclasses import dataclass, field

from meshnode.agents.config import AgentsConfig
from meshnode.agents.intensity import Crashes
from meshnode.agents.messages import InstanceInfo, InstanceState
from meshnode.agents.order import Order
from meshnode.model.ids import AgentConn, AgentName, InstanceId
from meshnode.wire.calls import SkillDescription

__all__ = ["AgentsConfig", "Instance"]


@dataclass(slots=True)
class Instance:
    """One unit. ``alive``: from StartProcess (or adoption) until the end of that process is told.

    ``waiting``: nobody has told yet what already runs here. ``forgotten``: goes when its process does. ``successor``:
    what follows when a stopping process is gone. ``speaks``: a run of this order has registered once, so every other
    has to. ``adopted``: this run was started by a former daemon.
    """

    agent: AgentName
    id: InstanceId
    order: Order
    state: InstanceState = InstanceState.STOPPED
    reason: str = ""
    since_us: int = 0
    run_no: int = 0
    began_us: int = 0
    alive: bool = False
    waiting: bool = False
    adopted: bool = False
    pid: int | None = None
    ticket: str = ""
    conn: AgentConn | None = None
    was_registered: bool = False
    speaks: bool = False
    offering: bool = False
    skills: tuple[SkillDescription, ...] = ()
    restarts: int = 0
    crashes: Crashes = field(default_factory=Crashes)
    forgotten: bool = False
    successor: Order | None = None

    @property
    def stopping(self) -> bool:
        return self.state is InstanceState.STOPPING

    @property
    def must_register(self) -> bool:
        return self.speaks or self.order.recipe.file != ""

    def follow(self, order: Order) -> None:
        """From the next run on it is this order; what was learned about another does not count."""
        if order != self.order:
            self.order, self.speaks = order, False
        self.successor = None
        self.crashes.clear()

    def info(self) -> InstanceInfo:
        return InstanceInfo(
            self.id, self.agent, self.state, self.reason, self.pid, self.restarts, self.skills, self.since_us,
            self.order.first_slot, self.order.slots,
        )  # fmt: skip
