"""Units, as this node shows them: its own as they are, others' as their nodes last told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshnode.model.ids import AgentName
from meshnode.model.units import agent_of, slot_of, unit_id
from meshnode.model.views import AgentsView, AgentView
from meshnode.node import snapshot
from meshnode.node.units import OPENING, claims, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import InstanceId
    from meshnode.node.core import Core
    from meshnode.registry.index import UnitSeen

PENDING = "pending"


def agents(core: Core, now: Instant, agent: str = "") -> AgentsView:
    """All units known here, and what is wanted and claimed by nobody."""
    return AgentsView(items=sorted((row.view() for row in _rows(core, now, agent)), key=_place))


def paged(core: Core, now: Instant, after: str, limit: int) -> AgentsView:
    """With a limit those behind ``after`` in the order of "INSTANCE@NODE". Only what is shown is looked at closely."""
    snapshot.check_page(limit)
    if not limit and not after:
        return agents(core, now)
    rows = sorted((row for row in _rows(core, now) if row.key > after), key=lambda row: row.key)
    return AgentsView(items=[row.view() for row in rows[: limit or None]])


class _Row(NamedTuple):
    key: str
    view: Callable[[], AgentView]


def _rows(core: Core, now: Instant, agent: str = "") -> Iterator[_Row]:
    claimed: dict[str, None] = {}
    for unit in core.homes:
        if not agent or agent_of(unit) == agent:
            claimed[unit] = None
            yield _Row(f"{unit}@{core.config.name}", partial(_own, core, unit))
    for seen in claims(core, agent):
        if seen.node != core.config.node:
            unit = unit_id(seen.agent, seen.first_slot)
            claimed[unit] = None
            yield _Row(f"{unit}@{core.names.of(seen.node)}", partial(_other, core, seen, now))
    for want in core.intentions.wants():
        if not agent or want.agent == agent:
            for unit in core.scheduler.standing(want.agent, now).units:
                if unit.unit not in claimed:
                    pending = partial(_without_node, unit.unit, PENDING, unit.reason, unit.slots)
                    yield _Row(f"{unit.unit}@", pending)


def agent(core: Core, name: str, now: Instant) -> AgentView:
    """One row for a whole agent: its first unit that works, else its first."""
    views = agents(core, now, name).items
    working = [view for view in views if view.state == "running"] or views
    if working:
        return working[0]
    want = core.intentions.want(AgentName(name))
    if want is None:
        return _without_node(unit_id(name, 0), "stopped", "nobody wants it")
    return _without_node(unit_id(name, 0), PENDING, "it is wanted now" if want.replicas else "it is wanted 0 times")


def wanted(name: str) -> AgentView:
    """An agent whose document is being written: nobody can have claimed it yet."""
    return _without_node(unit_id(name, 0), PENDING, "it is wanted from now on")


def stopping(view: AgentView) -> AgentView:
    """The same, on its way out."""
    return msgspec.structs.replace(view, state="stopping" if view.pid else "stopped", reason="stopped as asked")


def _place(view: AgentView) -> tuple[str, int, str]:
    return view.name, slot_of(view.instance), view.node


def _own(core: Core, unit: InstanceId) -> AgentView:
    home, info = core.homes[unit], core.agents.instance(unit)
    holder = core.checkpoints.holder_of(unit)
    return AgentView(
        name=agent_of(unit), instance=unit, node=core.config.name,
        state=info.state.value if info is not None else OPENING,
        reason=info.reason if info is not None else core.scheduler.reason(unit),
        pid=info.pid if info is not None else None, restarts=info.restarts if info is not None else 0,
        skills=sorted(s.name for s in info.skills) if info is not None else [], age_s=0.0, slots=home.slots,
        epoch=f"{home.epoch.counter}@{core.config.name}", version=core.checkpoints.version(unit),
        durability=home.want.durability.written(), copies=[core.names.of(holder)] if holder is not None else [],
    )  # fmt: skip


def _other(core: Core, seen: UnitSeen, now: Instant) -> AgentView:
    reachable, want = core.gossip.reachable(seen.node), core.intentions.want(AgentName(seen.agent))
    name = core.names.of(seen.node)
    return AgentView(
        name=seen.agent, instance=unit_id(seen.agent, seen.first_slot), node=name,
        state=seen.state if reachable else "unreachable",
        reason=seen.reason if reachable else f"last known {seen.state}; {core.gossip.reason(seen.node)}",
        pid=seen.pid or None, restarts=seen.restarts, skills=core.index.skills_of(seen.node, seen.agent),
        age_s=snapshot.age_s(core, seen.node, now), slots=seen.slots, version=seen.version,
        epoch=f"{seen.epoch}@{name}",
        durability=want.durability.written() if want is not None else "",
        copies=[core.names.of(holder)] if (holder := whole(core, seen.holder)) is not None else [],
    )  # fmt: skip


def _without_node(unit: InstanceId, state: str, reason: str, slots: int = 1) -> AgentView:
    return AgentView(
        name=agent_of(unit), instance=unit, node="", state=state, reason=reason, pid=None, restarts=0, skills=[],
        age_s=0.0, slots=slots,
    )  # fmt: skip
