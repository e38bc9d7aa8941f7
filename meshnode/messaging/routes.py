"""Where a call goes: agent, slot, node and, on this node, unit.

A call with a session goes to one slot; so does one with an idempotency key alone, so that a repetition, from whichever
node, meets the answer that is kept there.
"""

from collections.abc import Iterator

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Action
from meshnode.messaging import refusals
from meshnode.messaging.affinity import by_rendezvous, slot_of_session
from meshnode.messaging.around import Around
from meshnode.messaging.calls import Call
from meshnode.messaging.local import LocalUnits, Unit
from meshnode.model.ids import NodeId
from meshnode.registry.index import CAP_PREFIX, Candidate
from meshnode.wire.calls import CallHeader

_NAMED_MAX = 3  # nodes named in a refusal
FIRST = 4  # candidates looked at before all are


class Target(msgspec.Struct, frozen=True):
    """``unit`` is set on this node only. ``slot`` -1: any."""

    node: NodeId
    agent: str
    skill: str
    slot: int
    idempotent: bool
    unit: Unit | None = None


class Routes:
    """Picks targets, and says why there is none."""

    def __init__(self, around: Around, units: LocalUnits) -> None:
        self._around, self._units = around, units

    def pick(self, call: Call, now: Instant) -> Target | None:
        """The best target that this call has not passed by."""
        header = call.header
        near = self._near(call, now)
        if near is not None:
            return near
        for candidate, slot in self._in_order(header, call.where, now):
            if not self._open_to(call, candidate):
                continue
            if not candidate.local:
                if not candidate.excluded:
                    return _target(candidate, slot)
                continue
            unit = self._units.pick(candidate.offer.agent, slot)
            if unit is not None:
                return _target(candidate, slot, unit)
        return None

    def nobody(self, call: Call, now: Instant) -> tuple[str, str]:
        """Code and message: why no target was found, with the age of what is known."""
        code, message = self._nobody_here(call, now)
        further = self._around.beyond.why(call.header.skill, call.where, now)
        if further is None:
            return code, message
        return further if code == "not-found" else (code, f"{message}; {further[1]}")

    def _nobody_here(self, call: Call, now: Instant) -> tuple[str, str]:
        header, around = call.header, self._around
        skill = refusals.wanted(header)
        ranked = self._ranked(header, call.where, now)
        gone = [candidate for candidate, _ in ranked if candidate.excluded.startswith("unreachable")]
        if gone:
            return "unreachable", f"{skill} is offered by {self._gone(gone)}"
        if ranked:
            candidate, slot = ranked[0]
            if slot >= 0:
                return (
                    "unavailable",
                    f"{skill} belongs to slot {slot} of {candidate.offer.agent}, which runs nowhere now",
                )
            if call.where is None and not candidate.local:
                return "unavailable", f"{skill} is known of {around.name_of(candidate.node)}, but {candidate.excluded}"
            return (
                "unavailable",
                f"{skill} is known on {around.name_of(candidate.node)}, and its agent is not running now",
            )
        if call.where is None:
            return "not-found", f"no node known to {around.name} offers {skill}"
        if excluded := around.index.excluded(call.where, now):
            return (
                "unreachable",
                f"{around.name_of(call.where)}, which is to answer {skill}, cannot be reached now ({_age(excluded)})",
            )
        return "not-found", f"{around.name_of(call.where)} does not offer {skill}"

    def lost_lately(self, call: Call, within_us: int, now: Instant) -> bool:
        """Somebody who would take it was heard so short a time ago, and cannot be reached any more: whoever takes over
        may not have told yet. A call for one node alone does not ask: nobody answers in its place."""
        if call.where is not None:
            return False
        ranked = self._ranked(call.header, None, now)
        return any(self._around.index.lost_lately(candidate.node, within_us, now) for candidate, _ in ranked)

    def _gone(self, gone: list[Candidate]) -> str:
        """Nodes that cannot be reached, in words, the last heard first."""
        gone.sort(key=lambda c: (c.age_us, c.node))
        names = [self._around.name_of(c.node) for c in gone[:_NAMED_MAX]]
        names += [f"{len(gone) - _NAMED_MAX} more"] if len(gone) > _NAMED_MAX else []
        ages = "; ".join(_age(c.excluded) for c in gone[:_NAMED_MAX])
        return f"{', '.join(names)}, which cannot be reached now ({ages})"

    def home(self, call: Call) -> NodeId | None:
        """Where the slot of a call runs, as its node tells the whole mesh; ``None``: any slot will do, or none runs."""
        header = call.header
        if call.where is not None or not (header.agent or _stickiness(header)):
            return None
        for agent in self._agents(header):
            slot = self._slot(header, agent, None)
            node = self._around.index.runner(agent, slot) if slot >= 0 else None
            if node is not None:
                return node
        return None

    def news(self, node: NodeId) -> int:
        return self._units.changes if node == self._around.me else self._around.index.news(node)

    def _near(self, call: Call, now: Instant) -> Target | None:
        """This node, where it can answer at once: without looking at all others."""
        header, around = call.header, self._around
        if (call.where is not None and call.where != around.me) or around.me in call.passed:
            return None
        if header.slot < 0 and not header.agent and _stickiness(header):
            return None  # which agent it is depends on all who offer it
        offer = around.index.here(header.skill, header.agent, now)
        if offer is None:
            return None
        slot = self._slot(header, offer.agent, call.where)
        unit = self._units.pick(offer.agent, slot)
        if unit is None:
            return None
        return Target(around.me, offer.agent, header.skill, slot, offer.idempotent, unit)

    def _slot(self, header: CallHeader, agent: str, where: NodeId | None) -> int:
        if header.slot >= 0:
            return header.slot
        sticky = _stickiness(header)
        if not sticky:
            return -1
        if where is not None and not header.session:
            there = self._around.index.slots_on(where, agent)  # one node was asked for: the key chooses among its own
            return there[slot_of_session(sticky, len(there))] if there else -1
        slots = self._around.slots_of(agent)
        return slot_of_session(sticky, slots) if slots > 0 else -1

    def _in_order(self, header: CallHeader, where: NodeId | None, now: Instant) -> Iterator[tuple[Candidate, int]]:
        """All candidates, best first. Most calls go to the very first: the others are put in order only if need be."""
        if where is None and header.slot < 0 and not header.agent and not _stickiness(header):
            for candidate in self._around.index.top(header.skill, k=FIRST, now=now):
                yield candidate, -1
        elif where is None and not header.skill.startswith(CAP_PREFIX) and (header.agent or _stickiness(header)):
            agents = self._agents(header)
            slot = self._slot(header, agents[0], where) if agents else -1
            if slot >= 0:
                for candidate in self._around.index.at_slot(header.skill, agents[0], slot, now):
                    yield candidate, slot
        yield from self._ranked(header, where, now)

    def _agents(self, header: CallHeader) -> list[str]:
        """Whose agents may answer, in the order that all nodes give them for this session or key."""
        if header.agent:
            return [header.agent]
        return by_rendezvous(_stickiness(header), self._around.index.agents_of(header.skill))

    def _ranked(self, header: CallHeader, where: NodeId | None, now: Instant) -> list[tuple[Candidate, int]]:
        index = self._around.index
        by_tag = header.skill.startswith(CAP_PREFIX)
        look = index.resolve if by_tag else index.candidates
        sticky = _stickiness(header)
        if not sticky and not header.agent:
            return [(c, header.slot) for c in look(header.skill, now=now, node=where, slot=header.slot)]
        ranked: list[tuple[Candidate, int]] = []
        for agent in self._agents(header):
            slot = self._slot(header, agent, where)
            found = look(header.skill, now=now, node=where, agent=agent, slot=slot)
            if sticky and by_tag:
                order = by_rendezvous(sticky, {c.skill: None for c in found})
                found.sort(key=lambda c: (bool(c.excluded), order.index(c.skill)))
            ranked += [(candidate, slot) for candidate in found]
        return ranked

    def _open_to(self, call: Call, candidate: Candidate) -> bool:
        if call.header.skill.startswith(CAP_PREFIX):
            verdict = self._around.authority.may(self._around.me, Action.CALL, f"skill/{candidate.skill}")
            if not verdict.allowed:
                return False
        known = call.passed.get(candidate.node)
        # Asked again only by a call that waits for somebody, and only if there is news.
        return known is None or (call.lost_us >= 0 and known != self.news(candidate.node))


def _stickiness(header: CallHeader) -> str:
    return header.session or header.idempotency_key


def _age(excluded: str) -> str:
    return excluded.removeprefix("unreachable, ")


def _target(candidate: Candidate, slot: int, unit: Unit | None = None) -> Target:
    offer = candidate.offer
    return Target(candidate.node, offer.agent, candidate.skill, slot, offer.idempotent, unit)
