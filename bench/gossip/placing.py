"""What a decision of placement costs one node of a mesh of 10,000 nodes in 20 regions.

    python -m bench.gossip.placing [NODES]

Measured on the scheduler itself; who asks it for its nodes pays for making each of them, as the daemon does.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources
from meshnode.scheduler.messages import Claim, Want, Wanted
from meshnode.scheduler.ports import DOWN, READY, NodeFacts
from meshnode.scheduler.rules import SchedulerRules
from meshnode.scheduler.scheduler import Scheduler, SchedulerConfig

REGIONS, AGENTS, GIB = 20, 50, 2**30
RECIPE = Recipe(("/bin/cat",))


class Mesh:
    """What this node knows of the others: the ports of the scheduler."""

    def __init__(self, count: int, luck: random.Random) -> None:
        ids = sorted(NodeId(luck.randbytes(32)) for _ in range(count))
        self.facts = {
            node: NodeFacts(
                node, f"node-{at}", f"region-{at % REGIONS}", {"site": f"plant-{at % 100}"},
                cpu_milli=luck.choice((2000, 8000, 16000)), memory_bytes=16 * GIB,
            )
            for at, node in enumerate(ids)
        }  # fmt: skip

    def nodes(self) -> Sequence[NodeFacts]:
        return [msgspec.structs.replace(facts) for facts in self.facts.values()]

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        facts = self.facts.get(node)
        return msgspec.structs.replace(facts) if facts is not None else None

    def spare(self, region: str, /) -> Resources | None:
        return Resources(1_000_000, 1_000 * GIB, 100)

    def version(self, name: InstanceId, /) -> int:
        return 0


class Bench:
    """One node's scheduler, in virtual time."""

    def __init__(self, count: int) -> None:
        self.luck = random.Random(6)
        self.mesh = Mesh(count, self.luck)
        self.ids = list(self.mesh.facts)
        self.me = self.luck.choice(self.ids)
        self.now_us = 100 * SECOND
        name = self.mesh.facts[self.me].name
        self.scheduler = Scheduler(
            SchedulerConfig(), me=self.me, name=name, nodes=self.mesh, copies=self.mesh, rules=SchedulerRules()
        )
        self.wants: list[Want] = []
        self.units = 0
        self.started_ms = self.turn(lambda: self.scheduler.start(self.now))
        self.turn(lambda: self.scheduler.linked(self.now))
        self.turn(lambda: self.scheduler.wanted(Wanted(()), self.now))
        self.now_us += 10 * SECOND
        self.turn(lambda: self.scheduler.wake(self.now))

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 0)

    def turn(self, act: Callable[[], object]) -> float:
        """Milliseconds."""
        self.now_us += MS
        began = time.thread_time()
        act()
        return (time.thread_time() - began) * 1e3

    def wanted(self, **more: object) -> float:
        """A new agent of one unit: who is to have it?"""
        want = msgspec.structs.replace(Want(AgentName(f"agent{len(self.wants)}"), RECIPE), **more)
        self.wants.append(want)
        return self.turn(lambda: self.scheduler.wanted(Wanted(tuple(self.wants)), self.now))

    def claimed(self, at: int) -> float:
        """Somebody takes it."""
        node = next(node for node in self.luck.sample(self.ids, 2) if node != self.me)
        agent, unit = self.wants[at].agent, InstanceId(f"{self.wants[at].agent}/0")
        claim = Claim(node, unit, Epoch(1, node), running=True)
        return self.turn(lambda: self.scheduler.claims(node, agent, [claim], self.now))

    def changes(self, state: str) -> float:
        """A node comes or goes."""
        node = next(node for node in self.luck.sample(self.ids, 2) if node != self.me)
        self.mesh.facts[node] = msgspec.structs.replace(self.mesh.facts[node], state=state, lost_us=self.now_us)
        return self.turn(lambda: self.scheduler.member_changed(node, self.now))


def middle(times: Sequence[float]) -> str:
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:.2f} ms, worst {ordered[-1]:.2f} ms"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    bench = Bench(count)
    print(f"{count} nodes, {REGIONS} regions, load {os.getloadavg()[0]:.1f}; start: {bench.started_ms:.0f} ms")
    print(f"a new agent anywhere: {middle([bench.wanted() for _ in range(AGENTS)])}")
    print(f"a new agent of a label: {middle([bench.wanted(labels={'site': f'plant-{n}'}) for n in range(AGENTS)])}")
    needs = Resources(500, GIB)
    print(f"a new agent that needs something: {middle([bench.wanted(resources=needs) for _ in range(AGENTS)])}")
    print(f"a claim of another node: {middle([bench.claimed(at) for at in range(len(bench.wants))])}")
    print(f"a node goes, all are placed: {middle([bench.changes(DOWN) for _ in range(AGENTS)])}")
    for _ in range(10):
        bench.wanted(labels={"site": "nowhere"})
    print(f"a node comes, ten units fit nowhere: {middle([bench.changes(READY) for _ in range(AGENTS)])}")
    print(f"a thousand units at once: {bench.wanted(replicas=1_000):.0f} ms")
    agents = [want.agent for want in bench.wants]
    looks = [bench.turn(lambda agent=agent: bench.scheduler.standing(agent, bench.now)) for agent in agents]
    print(f"how an agent stands, for people: {middle(looks)}")


if __name__ == "__main__":
    main()
