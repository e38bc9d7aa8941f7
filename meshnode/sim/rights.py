"""``python -m meshnode.sim.rights --seeds 20``: admins take roles from members and give them back, in any storm.

Both admins write policies while the mesh is cut and machines crash, often about the same member at once. Once all is
healed the policies are the same everywhere, and so is every verdict, before anybody has settled anything. Then roles
are given back, and what members wrote while they had none is no less there than what others wrote.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.model.commands import Apply
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.policy import FIELD, KIND
from meshnode.sim import seeds
from meshnode.sim.authority import SameAuthority
from meshnode.sim.faults import Fault, Kind, draw
from meshnode.sim.node import SimNode
from meshnode.sim.run import Run
from meshnode.sim.scenario import Scenario
from meshnode.sim.watching import Violated
from meshnode.sim.workloads import Pace
from meshnode.sim.world import SEEDS

NODES = 5
POLICY_US = 2 * SECOND
AGREE_S = 90.0
GIVE_BACK_S = 50.0  # until the last one carries what nobody else has
CHOICES: tuple[tuple[str, ...], ...] = ((), (), ("gateway",), ("member",), ("gateway", "member"))


def _storm(luck: Random, nodes: int) -> list[Fault]:
    """The two admins apart for a while, and whatever else comes."""
    apart = Fault(Kind.CUT, 3.0, 15.0, (0, *sorted(luck.sample(range(SEEDS, nodes), (nodes - 1) // 2))))
    others = draw(luck, (Kind.CUT, Kind.KILL, Kind.POWER, Kind.ONE_WAY, Kind.PAUSE), nodes, 40.0, times=1)
    return sorted([apart, *others], key=lambda fault: fault.at_s)


SCENARIO = Scenario(
    name="rights", about="roles are taken and given back by two admins on both sides of cuts", kinds=(Kind.CUT,),
    plan=_storm, storm_s=40.0, settle_s=90.0,
    pace=Pace(writes_per_s=3.0, calls_per_s=0.5, documents=3, skills=("words.count",), offers=1),
    documents=DocumentsConfig(generation_changes=20, kinds=OURS),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One run. ``policies``: that were written; ``conflicts``: fields of policies that were divided at the heal;
    ``denied``: commands that were refused for want of a role."""

    seed: int
    policies: int
    conflicts: int
    denied: int
    generations: int
    why: str = ""


class RightsRun(Run):
    """``judged`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES, scenario: Scenario = SCENARIO) -> None:
        super().__init__(scenario, seed=seed, nodes=nodes)
        self.policies = self.conflicts = 0
        self._until_us = 0
        self._chance = self.world.luck("rights")
        self._members = self.world.nodes[SEEDS:]

    def judged(self) -> Judged:
        report = self.play()
        denied = sum(count for what, count in report.answers.items() if what.endswith("-> denied"))
        return Judged(
            seed=report.seed, policies=self.policies, conflicts=self.conflicts, denied=denied,
            generations=report.generations, why=report.violation,
        )  # fmt: skip

    def _begin_work(self) -> None:
        super()._begin_work()
        self._until_us = self.world.now_us + round(self.scenario.storm_s * SECOND)
        self._go_on()

    def _go_on(self) -> None:
        """One of the admins, about anybody."""
        admin: SimNode = self._chance.choice(self.world.nodes[:SEEDS])
        member: SimNode = self._chance.choice(self._members)
        roles = self._chance.choice(CHOICES)
        if admin.usable:
            self.policies += 1
            admin.ask(policy(member, roles))
        at_us = self.world.now_us + round(POLICY_US * 2 * self._chance.random())
        if at_us < self._until_us:
            self.world.at(at_us, self._go_on)

    def _healed(self) -> None:
        world = self.world
        if not world.run_till(lambda: not self._odd(), AGREE_S, 0.25):
            raise Violated("Liveness", world.now_us, "all nodes", f"do not hold the same policies: {self._odd()}")
        SameAuthority(world).finish()
        admin = world[0]
        assert admin.core is not None
        self.conflicts = sum(each.kind == KIND for each in admin.core.documents.conflicts())
        for member in self._members:
            admin.ask(policy(member, ("gateway", "member")))
        world.run_for(GIVE_BACK_S)

    def _odd(self) -> str:
        """The first node whose policies differ from those of the first one, or that does not run."""
        told = [policies_of(node, self._members) for node in self.world.nodes]
        return next((node.name for node, said in zip(self.world.nodes, told, strict=True) if said != told[0]), "")


def policies_of(node: SimNode, members: Sequence[SimNode]) -> list[str] | None:
    """All versions of the policies about these members, as this node holds them."""
    if node.core is None or not node.usable:
        return None
    documents = node.core.documents
    versions = [documents.versions(KIND, NAMESPACE_DEFAULT, each.node_name, f"spec.{FIELD}") for each in members]
    return [str(sorted(map(str, each))) for each in versions]


def policy(member: SimNode, roles: Sequence[str]) -> Apply:
    metadata = {"name": member.node_name}
    return Apply(manifest={"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": {FIELD: list(roles)}})


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("rights", "roles come and go in a storm", 20)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--long", action="store_true", help="generations of their usual length")
    asked = parser.parse_args(words)
    scenario = replace(SCENARIO, documents=DocumentsConfig(kinds=OURS)) if asked.long else SCENARIO

    def play(seed: int) -> tuple[str, str]:
        done = RightsRun(seed, nodes=asked.nodes, scenario=scenario).judged()
        return f"{done.policies} policies, {done.conflicts} in conflict, {done.denied} denied", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
