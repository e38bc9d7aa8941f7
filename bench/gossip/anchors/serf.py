"""serf, measured as meshnode is: ``python -m bench.gossip.anchors.serf PLAN`` in the first of two namespaces.

PLAN is a ``Plan`` as JSON; the figures come as one line of JSON, a ``Figures``.
"""

import asyncio
import random
import signal
import sys

import msgspec

from bench.gossip.anchors.cluster import Agent, Cluster
from bench.gossip.busy import busy
from bench.gossip.namespaces import Namespaces
from bench.gossip.process import cpu_s
from bench.gossip.waiting import until

SEED = 7
JOIN_S, EVENT_S, UPDATE_S, DEATH_S, WHOLE_S = 120.0, 8.0, 15.0, 60.0, 180.0
RUN_S, SPINNERS, FROZEN_PART = 0.25, 8, 5
AFTERWARDS_S = 8.0


class Plan(msgspec.Struct):
    """What to take; 0 leaves it out. ``pulses_s``: lengths of the freezes."""

    names: tuple[str, str]
    count: int
    settle_s: float = 0
    idle_s: float = 0
    events: int = 0
    updates: int = 0
    kills: int = 0
    spin_s: float = 0
    pulse_s: float = 0
    pulses_s: tuple[float, ...] = ()
    cut_s: float = 0


class Pulse(msgspec.Struct):
    """Verdicts while a fifth was frozen now and then: about those that ran, about those that were frozen."""

    false: int
    flaps: int
    suspicions: int


class Figures(msgspec.Struct):
    """Lists hold one delay in seconds an (event, agent) pair."""

    join_s: float | None = None
    idle_bytes_s: float = 0
    idle_percent: float = 0
    events_s: list[float] = []
    missed: int = 0
    updates_s: list[float] = []
    kills_s: list[float] = []
    spin_false: int = 0
    pulses: list[Pulse] = []
    heal_s: float | None = None


class Bench:
    """One cluster, and its figures as they come."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self.plan, self.cluster = plan, cluster
        self.net = Namespaces("")
        self.net.names = plan.names
        self.luck = random.Random(SEED)
        self.figures = Figures()

    async def take(self) -> None:
        plan = self.plan
        await self._join()
        await asyncio.sleep(plan.settle_s)
        if plan.idle_s:
            await self._idle()
        await self._events()
        await self._updates()
        if plan.spin_s:
            await self._spin()
        for freeze_s in plan.pulses_s:
            await self._pulse(freeze_s)
        for _ in range(plan.kills):
            await self._kill()
        if plan.cut_s:
            await self._heal()

    async def _join(self) -> None:
        began_s = min(
            agent.ask("join", Existing=[self.cluster.agents[0].address], Replay=False) for agent in self._others()
        )
        if await until(self.cluster.whole, JOIN_S):
            last_s = max(at_s for agent in self.cluster.agents for at_s, what, _ in agent.log if what == "Join")
            self.figures.join_s = last_s - began_s

    def _others(self) -> list[Agent]:
        return self.cluster.agents[1:]

    async def _idle(self) -> None:
        agents, net = self.cluster.agents, self.net
        before, spent = net.traffic(), [cpu_s(agent.pid) for agent in agents]
        await asyncio.sleep(self.plan.idle_s)
        after, spent_after = net.traffic(), [cpu_s(agent.pid) for agent in agents]
        per_agent = self.plan.idle_s * len(agents)
        self.figures.idle_bytes_s = (after.sent_bytes - before.sent_bytes) / per_agent
        self.figures.idle_percent = 100 * (sum(spent_after) - sum(spent)) / per_agent

    async def _events(self) -> None:
        for number in range(self.plan.events):
            source, name = self.luck.choice(self.cluster.agents), f"event{number}"
            others = [agent for agent in self.cluster.agents if agent is not source]
            at_s = source.ask("event", Name=name, Payload=b"x" * 64, Coalesce=False)
            await until(lambda others=others, name=name: all(name in agent.events for agent in others), EVENT_S)
            delays = [agent.events[name] - at_s for agent in others if name in agent.events]
            self.figures.events_s += delays
            self.figures.missed += len(others) - len(delays)

    async def _updates(self) -> None:
        for number in range(self.plan.updates):
            source = self.luck.choice(self.cluster.agents)
            at_s = source.ask("tags", Tags={"load": str(number)}, DeleteTags=[])
            self.figures.updates_s += await self._heard(source, "Update", at_s, UPDATE_S)
            await asyncio.sleep(0.2)

    async def _kill(self) -> None:
        victim = self.luck.choice([agent for agent in self.cluster.alive if agent.number])
        victim.alive = False
        at_s = victim.signal(signal.SIGKILL)
        self.figures.kills_s += await self._heard(victim, "Failed", at_s, DEATH_S)

    async def _heard(self, subject: Agent, what: str, since_s: float, within_s: float) -> list[float]:
        """When each other agent says it of the subject, counted from ``since_s``."""

        def first(agent: Agent) -> float | None:
            return next(
                (at for at, kind, who in agent.log if at >= since_s and (kind, who) == (what, subject.name)), None
            )

        others = [agent for agent in self.cluster.alive if agent is not subject]
        await until(lambda: all(first(agent) is not None for agent in others), within_s)
        return [at_s - since_s for agent in others if (at_s := first(agent)) is not None]

    async def _spin(self) -> None:
        since_s = asyncio.get_running_loop().time()
        await busy(SPINNERS, self.plan.spin_s)
        await asyncio.sleep(AFTERWARDS_S)
        self.figures.spin_false = sum(what == "Failed" for _, what, _ in self._since(since_s))
        await until(self.cluster.whole, WHOLE_S)

    async def _pulse(self, freeze_s: float) -> None:
        some = self.luck.sample(self._others(), max(1, len(self.cluster.agents) // FROZEN_PART))
        frozen = {agent.name for agent in some}
        since_s = now_s = asyncio.get_running_loop().time()
        while now_s - since_s < self.plan.pulse_s:
            for number, for_s in ((signal.SIGSTOP, freeze_s), (signal.SIGCONT, RUN_S)):
                for agent in some:
                    agent.signal(number)
                await asyncio.sleep(for_s)
            now_s = asyncio.get_running_loop().time()
        await asyncio.sleep(3)
        told = self._since(since_s)
        failed = [who for _, what, who in told if what == "Failed"]
        self.figures.pulses.append(
            Pulse(
                false=sum(who not in frozen for who in failed), flaps=sum(who in frozen for who in failed),
                suspicions=sum(what == "Suspect" for _, what, _ in told),
            )
        )  # fmt: skip
        await until(self.cluster.whole, WHOLE_S)

    def _since(self, since_s: float) -> list[tuple[float, str, str]]:
        return [line for agent in self.cluster.agents for line in agent.log if line[0] > since_s]

    async def _heal(self) -> None:
        self.net.cut(0)
        await asyncio.sleep(self.plan.cut_s)
        self.net.mend(0)
        began_s = asyncio.get_running_loop().time()
        if await until(self.cluster.whole, WHOLE_S):
            self.figures.heal_s = asyncio.get_running_loop().time() - began_s


async def main(plan: Plan) -> Figures:
    async with asyncio.TaskGroup() as tasks:
        cluster = Cluster(plan.names, plan.count, tasks)
        try:
            await cluster.start()
            bench = Bench(plan, cluster)
            await bench.take()
        finally:
            cluster.stop()
    return bench.figures


if __name__ == "__main__":
    figures = asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
