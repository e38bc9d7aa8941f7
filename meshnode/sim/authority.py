"""Who may do what is the same on all nodes once they hold the same documents."""

from meshnode.kernel.ports import Action
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker

QUESTIONS = (
    (Action.WRITE, "AgentCluster/default/c0"), (Action.WRITE, "Policy/default/n0"), (Action.CALL, "words.count"),
    (Action.RUN, "words"), (Action.READ, "journal"),
)  # fmt: skip


class SameAuthority(Checker):
    """Every node gives the same verdict about every member, and none allows more than its member record does."""

    def finish(self) -> None:
        told = {node.name: verdicts(node, self.world.nodes) for node in self.world.running()}
        first = next(iter(told.values()), dict[str, str]())
        for name, said in told.items():
            for question, verdict in said.items():
                if verdict != first[question]:
                    self.wrong(self.world.named(name), f"says {verdict} of {question}, others say {first[question]}")


def verdicts(node: SimNode, members: list[SimNode]) -> dict[str, str]:
    """What a node thinks that everybody may."""
    assert node.core is not None
    authority, found = node.core.authority, dict[str, str]()
    for member in members:
        for action, resource in QUESTIONS:
            verdict = authority.may(member.node, action, resource)
            found[f"{member.name} {action.value} {resource}"] = "yes" if verdict.allowed else verdict.reason
    return found
