"""One unit as this node knows it: who claims it, whether they still count, and what this node has of it itself."""

import msgspec

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import agent_of, slot_of
from meshnode.scheduler.fitting import Part
from meshnode.scheduler.messages import Claim
from meshnode.scheduler.ports import DOWN, LEFT, READY, SUSPECT, Known, NodeFacts

# A suspect that others still hear may become one that nobody hears without a word from membership.
LOOK_AGAIN_US = 250 * MS
# A counter beyond this was never reached by counting: following it would leave no room above.
COUNTER_MAX = 2**48


class Mine(msgspec.Struct):
    """This node's own claim. ``failed``: it gave up, and there is nobody else to try. ``opened``: its process has been
    heard of, so the claim is known to be durable and the unit open."""

    epoch: Epoch
    running: bool = False
    opened: bool = False
    failed: str = ""
    outdated: bool = False  # wanted in another way than it runs


class Standing(msgspec.Struct, frozen=True):
    """The claim that counts among other nodes, and when that may change by itself."""

    claim: Claim | None
    due_us: int | None


class Unit:
    """The book of one unit. Invariant: a node has at most one entry: a claim or a refusal."""

    def __init__(self, unit: InstanceId) -> None:
        self.id = unit
        self.agent: AgentName = agent_of(unit)
        self.part = Part(slot_of(unit), 1, "")
        self.wanted = False
        self.counter = 0  # the highest seen
        self.claims: dict[NodeId, Claim] = {}
        self.gone: dict[NodeId, int] = {}  # withdrawn claims still believed for a moment: since when
        self.refusals: dict[NodeId, str] = {}
        self.mine: Mine | None = None
        self.leaving: NodeId | None = None  # its state goes to them
        self.recorded = False  # it ran here before this boot
        self.learned = False  # from others or the journal, not from a want
        self.fresh = False  # wanted for the first time since this boot
        self.last: Claim | None = None  # the newest claim that ever counted
        self.governor: NodeId | None = None
        self.planned: NodeId | None = None  # who comes first while it is open
        self.planned_in = ""  # or one of the nodes of that region
        self.open_us: int | None = None  # since when nobody has it, or the wrong node
        self.astray_us: int | None = None  # since when it is where it does not belong
        self.refused = ""  # why this node does not take it
        self.refused_until_us = 0
        self.full = False  # the refusal is for want of room: it ends when there is some
        self.failures = 0
        self.reason = ""  # the last decision, in words

    def hear(self, claim: Claim) -> bool:
        """Whether another node's word is new."""
        node = claim.node
        if claim.epoch.counter == 0:
            changed = self.refusals.get(node) != claim.refusal or node in self.claims
            self._drop(node)
            self.refusals[node] = claim.refusal
            return changed
        before = self.claims.get(node)
        changed = self.gone.pop(node, None) is not None or node in self.refusals
        self.refusals.pop(node, None)
        self.claims[node] = claim
        self.counter = max(self.counter, claim.epoch.counter)
        return changed or before is None or _telling(before) != _telling(claim)

    def unsay(self, node: NodeId, now_us: int, *, believed: bool) -> bool:
        """A node does not tell of this unit any more. ``believed``: its claim stands for a moment longer."""
        if self.refusals.pop(node, None) is not None:
            return True
        if node not in self.claims or node in self.gone:
            return False
        if believed:
            self.gone[node] = now_us
        else:
            self._drop(node)
        return True

    def standing(self, nodes: Known, lost_after_us: int, linger_us: int, now_us: int) -> Standing:
        """Of the claims that count, the one with the highest epoch; those that count no more are forgotten."""
        best: Claim | None = None
        due: int | None = None
        for node, claim in list(self.claims.items()):
            facts = nodes.get(node)
            until = self._counts_until(node, facts, lost_after_us, linger_us, now_us)
            if until is not None and until <= now_us:
                if node in self.gone:
                    self._drop(node)
                continue
            if best is None or claim.epoch > best.epoch:
                best = claim
            if until is not None:
                due = until if due is None else min(due, until)
        if best is not None and (self.last is None or best.epoch >= self.last.epoch):
            self.last = best
        return Standing(best, due)

    def _counts_until(
        self, node: NodeId, facts: NodeFacts | None, lost_after_us: int, linger_us: int, now_us: int
    ) -> int | None:
        """``None``: as long as nothing is heard. A moment that has passed: it does not count."""
        if facts is None or facts.state in (DOWN, LEFT):
            return now_us
        if facts.state == READY:
            return self.gone[node] + linger_us if node in self.gone else None
        if facts.state == SUSPECT:
            return now_us + LOOK_AGAIN_US
        return facts.lost_us + lost_after_us

    def predecessor(self, nodes: Known) -> NodeId | None:
        """Another node within reach that still has this unit, which is this node's by a higher epoch."""
        for node, claim in self.claims.items():
            facts = nodes.get(node)
            if facts is None or facts.state != READY or node in self.gone:
                continue
            if self.mine is not None and claim.epoch < self.mine.epoch:
                return node
        return None

    def _drop(self, node: NodeId) -> None:
        self.claims.pop(node, None)
        self.gone.pop(node, None)

    def idle(self) -> bool:
        """Nothing is to be remembered about it but its counter."""
        return not (self.wanted or self.mine or self.leaving or self.claims or self.refusals or self.recorded)


def is_about(claim: Claim, node: NodeId, agent: AgentName) -> bool:
    """A node speaks for itself alone, and in what it tells of one agent of that agent alone."""
    own = claim.node == node and claim.epoch.node == node and agent_of(claim.unit) == agent
    return own and 0 <= claim.epoch.counter <= COUNTER_MAX


def _telling(claim: Claim) -> tuple[Epoch, bool, NodeId | None]:
    return claim.epoch, claim.running, claim.holder


def name_of(node: NodeId, nodes: Known) -> str:
    facts = nodes.get(node)
    return facts.name if facts is not None else node.hex()[:12]


def loss_in_words(claim: Claim, facts: NodeFacts | None, now_us: int) -> str:
    """Why a claim counts no more."""
    name = facts.name if facts else claim.node.hex()[:12]
    had = f"{name}, which had it in epoch {claim.epoch.counter},"
    if facts is None:
        return f"{had} is no member any more"
    if facts.state in (DOWN, LEFT):
        said = f" ({facts.reason})" if facts.reason else ""
        return f"{had} {'is down' if facts.state == DOWN else 'left the mesh'}{said}"
    if facts.state == READY:
        return f"{had} gave it up"
    return f"{had} cannot be reached for {max(0, now_us - facts.lost_us) / SECOND:.1f} s"
