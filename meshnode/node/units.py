"""Units in the words of the rooms that need them: what this node offers of its own, what it learns of others."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from meshnode.kernel.epochs import Epoch
from meshnode.messaging.topics import TOPICS_KEY
from meshnode.model.ids import AgentName
from meshnode.model.units import agent_of, slot_of, unit_id
from meshnode.registry.offers import AGENT_PREFIX, HOLDER_BYTES, SKILL_PREFIX, UnitOffer
from meshnode.registry.offers import agent_key as read_key
from meshnode.scheduler.messages import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core
    from meshnode.registry.index import UnitSeen

REFUSED = "refused"
OPENING = "starting"  # claimed; its state is being gathered and no process was asked for yet


def units_of(core: Core, agent: AgentName) -> list[UnitOffer]:
    """This node's units of an agent as they are now, and those it refuses to take."""
    offers = [UnitOffer(slot_of(claim.unit), 1, REFUSED, 0, claim.refusal) for claim in core.scheduler.refusals(agent)]
    for unit, home in core.homes.items():
        if agent_of(unit) != agent:
            continue
        info = core.agents.instance(unit)
        holder = core.checkpoints.holder_of(unit)
        offers.append(
            UnitOffer(
                slot_of(unit), home.slots, info.state.value if info is not None else OPENING, home.epoch.counter,
                info.reason if info is not None else "", info.restarts if info is not None else 0,
                info.pid or 0 if info is not None else 0, core.checkpoints.version(unit),
                holder[:HOLDER_BYTES] if holder is not None else b"",
            )
        )  # fmt: skip
    return offers


def learned(core: Core, node: NodeId, key: str, value: bytes, now: Instant) -> Sequence[Effect]:
    """A soft fact changed: the index, the scheduler and waiting calls want to know."""
    if key == TOPICS_KEY:
        core.switch.topics.learned(node, value)
        return ()
    core.index.learn(node, key, value)
    if key.startswith(SKILL_PREFIX):
        return core.switch.offers_changed(now)
    found = read_key(key.removeprefix(AGENT_PREFIX)) if key.startswith(AGENT_PREFIX) else None
    if found is None:
        return ()
    agent = AgentName(found[0])
    told = [_claim(core, seen) for seen in core.index.units_on(node, agent)]
    effects = [*core.scheduler.claims(node, agent, told, now)]
    for claim in told:
        core.checkpoints.known(claim.unit, claim.version)
    return [*effects, *core.succession.look(now), *core.switch.offers_changed(now)]


def claims(core: Core, agent: str = "") -> Iterator[UnitSeen]:
    """Units of one agent ("" = of all) as nodes claim them, without those that a node refuses to take."""
    return (seen for seen in core.index.units(agent) if seen.epoch)


def _claim(core: Core, seen: UnitSeen) -> Claim:
    return Claim(
        seen.node, unit_id(seen.agent, seen.first_slot), Epoch(seen.epoch, seen.node), seen.state == "running",
        whole(core, seen.holder), seen.version, refusal=seen.reason if seen.state == REFUSED else "",
    )  # fmt: skip


def whole(core: Core, prefix: bytes) -> NodeId | None:
    """The member whose id begins so."""
    if not prefix:
        return None
    members = core.gossip.members()
    at = bisect_left(members, prefix)
    return members[at] if at < len(members) and members[at].startswith(prefix) else None
