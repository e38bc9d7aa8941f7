"""What users do meanwhile: run agents, write and delete AgentClusters, call skills, from machines of luck's choice."""

from collections.abc import Callable
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import AnyCommand, Apply, CallSkill, DeleteDocument, JsonObject, PingNode, RunAgent
from meshnode.sim.agents import SCRIPT
from meshnode.sim.node import SimNode
from meshnode.sim.older import as_older
from meshnode.sim.world import World

KIND, NAMESPACE = "AgentCluster", "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How busy they are, all together. ``documents``: names they write under, few, so that they meet;
    ``luggage_bytes``: what a call brings along, and its answer back, at most.
    """

    writes_per_s: float = 1.0
    calls_per_s: float = 3.0
    documents: int = 6
    skills: tuple[str, ...] = ("words.count", "maths.add", "echo.say")
    offers: int = 2  # instances of each agent
    luggage_bytes: int = 0

    def __post_init__(self) -> None:
        if min(self.writes_per_s, self.calls_per_s) <= 0 or self.documents < 1 or not self.skills:
            raise ValueError(f"users who do nothing prove nothing: {self}")


class Users:
    """``start`` them and ``stop`` them; what they ask and hear is for watchers."""

    def __init__(self, world: World, pace: Pace) -> None:
        self.pace = pace
        self.asked = 0
        self._world = world
        self._luck = world.luck("users")
        self._until_us = 0
        self._writes = 0

    def run_agents(self) -> None:
        """Every skill gets its agent, wanted near a machine of luck's choice from then on."""
        for number, skill in enumerate(self.pace.skills):
            agent = skill.partition(".")[0]
            words = [SCRIPT, skill, f"answer_ms={10 + 25 * number}"]
            node = self._luck.choice(self._world.running())
            node.ask(RunAgent(name=agent, argv=words, cwd="/", replicas=self.pace.offers))

    def start(self, for_s: float) -> None:
        self._until_us = self._world.now_us + round(for_s * SECOND)
        self._next_write()
        self._next_call()

    # -- at random ----------------------------------------------------------------------------------------------------

    def _next_write(self) -> None:
        self._later(self.pace.writes_per_s, self._write)

    def _next_call(self) -> None:
        self._later(self.pace.calls_per_s, self._call)

    def _later(self, per_s: float, act: Callable[[], None]) -> None:
        wait_us = round(self._luck.expovariate(per_s) * SECOND)
        if self._world.now_us + wait_us < self._until_us:
            self._world.at(self._world.now_us + wait_us, act)

    def write_on(self, node: SimNode) -> None:
        """Somebody writes on this machine, whatever the others do."""
        self._writes += 1
        command = Apply(manifest=self._manifest(f"c{self._luck.randrange(self.pace.documents)}"))
        node.ask(as_older(command) if node.is_older else command)

    def _write(self) -> None:
        self._next_write()
        name = f"c{self._luck.randrange(self.pace.documents)}"
        self._writes += 1
        if self._luck.random() < 0.15:
            self._ask(DeleteDocument(kind=KIND, namespace=NAMESPACE, name=name))
        else:
            self._ask(Apply(manifest=self._manifest(name)))

    def _call(self) -> None:
        self._next_call()
        deadline_s = round(0.3 + 6.0 * self._luck.random() ** 2, 3)
        if self._luck.random() < 0.2:
            target = self._luck.choice(self._world.nodes).name
            self._ask(PingNode(name=target, deadline_s=deadline_s))
        else:
            arguments: JsonObject = {"number": self._luck.randrange(1000)}
            if self.pace.luggage_bytes:
                arguments["luggage"] = "x" * round(self.pace.luggage_bytes * self._luck.random() ** 2)
            self._ask(CallSkill(skill=self._luck.choice(self.pace.skills), arguments=arguments, deadline_s=deadline_s))

    def _ask(self, command: AnyCommand) -> None:
        """Somebody stands at one machine; at one that is down nobody gets anything done."""
        node: SimNode = self._luck.choice(self._world.nodes)
        if node.usable:
            self.asked += 1
            node.ask(as_older(command) if node.is_older else command)

    def _manifest(self, name: str) -> JsonObject:
        luck = self._luck
        agents = [
            {"name": agent, "replicas": luck.randrange(1, 9), "resources": {"cpu": str(luck.randrange(1, 5))}}
            for agent in ("reader", "painter", "writer")[: luck.randrange(1, 4)]
        ]
        spec: JsonObject = {"agents": agents}
        if luck.random() < 0.5:
            levels = [{"name": f"w{self._writes}", "scope": "global", "responsibilities": ["all"]}]
            spec["orchestrator"] = {"type": "hierarchical", "levels": levels}
        metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec}
