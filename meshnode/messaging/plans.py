"""Plans: what the slow path decided about plain calls, kept for the next ones.

A plan is no second opinion. What the index and the units of this node know is counted (``Index.changes``,
``LocalUnits.changes``), and when one of them has moved all plans are thrown away; what else a decision rests on (roles,
names, links, who can be reached) is asked again, once a turn, within which nothing of it changes.
"""

from collections.abc import Mapping

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Action
from meshnode.messaging import letters
from meshnode.messaging.around import Around
from meshnode.messaging.calls import NO_CONN, UNASKED, Call, Door, LocalAgent, Peer, Phase, Plan
from meshnode.messaging.life import Life, overdue_us
from meshnode.messaging.refusals import PING_SKILL
from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import CAP_PREFIX
from meshnode.registry.offers import SkillOffer
from meshnode.wire import plain
from meshnode.wire.calls import CallHeader
from meshnode.wire.frame import Frame

TOWARDS_MAX = 64  # of one plan
_NONE: dict[bytes, Plan] = {}

Source = NodeId | AgentConn  # a peer, or an agent of this node


class Plans:
    """The plans of one switch, by who calls and what the header says beside id and deadline."""

    def __init__(self, plans_max: int, around: Around, life: Life) -> None:
        self._plans_max, self._around, self._life = plans_max, around, life
        self._of: dict[Source, dict[bytes, Plan]] = {}
        self._of_doors: dict[tuple[NodeId | None, CallHeader], Plan] = {}
        self._count = 0
        self._made_for = (0, 0)
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    def begin(self, source: Source | None = None) -> Mapping[bytes, Plan]:
        """A turn of the switch; the plans of who speaks in it, by what their calls have in common
        (``plain.cut_call``)."""
        self._turn += 1
        made_for = self._around.index.changes, self._life.units.changes
        if made_for != self._made_for:
            self._made_for = made_for
            self._forget()
        return _NONE if source is None else self._of.get(source, _NONE)

    def of_door(self, where: NodeId | None, header: CallHeader) -> Plan | None:
        return self._of_doors.get((where, _untraced(header) if header.trace else header))

    def holds(self, plan: Plan, now: Instant) -> bool:
        """Whether the slow path would still decide so."""
        if plan.turn == self._turn:
            return True
        around, asker = self._around, plan.asker
        if not around.authority.may(asker or around.me, Action.CALL, plan.resource).allowed:
            return False
        if asker and around.name_of(asker) != plan.asker_name:
            return False
        if plan.node != around.me:
            if around.links.last_heard_us(plan.node) is None:
                return False
            if plan.agent and around.index.excluded(plan.node, now):
                return False
            plan.look_us = overdue_us(around.links.rtt_us(plan.node) or 0)
        plan.turn = self._turn
        return True

    def toward(self, plan: Plan, node: NodeId, offer: SkillOffer) -> Plan:
        """Where several answer: the plan of a call that goes to this one of them."""
        known = plan.towards.get((node, offer.agent))
        if known is None:
            if len(plan.towards) >= TOWARDS_MAX:
                plan.towards.clear()
            idempotent = plan.header.idempotent or offer.idempotent
            known = plan.towards[node, offer.agent] = self._plan(
                plan.header, plan.asker, where=plan.where, node=node, caller=plan.caller, agent=offer.agent,
                idempotent=idempotent,
            )  # fmt: skip
        return known

    # -- what is learned ----------------------------------------------------------------------------------------------

    def learn(self, source: Source, frame: Frame, header: CallHeader) -> None:
        """The slow path has taken this CALL of a peer or an agent."""
        cut = plain.cut_call(frame.header) if _is_plain(header) else None
        if cut is None or cut[4] != header.trace.encode():
            return
        if isinstance(source, int):
            plan = self._decided(self._life.calls.of(LocalAgent(source, header.call_id)), UNASKED)
        elif header.skill == PING_SKILL:
            plan = (
                None
                if letters.overlong(header)
                else self._plan(header, source, where=self._around.me, node=self._around.me)
            )
        else:
            plan = self._decided(self._life.calls.of(Peer(source, header.call_id)), source)
        if plan is not None and plain.as_written(header, frame.header) and self._make_room():
            self._of.setdefault(source, {})[cut[0]] = plan

    def learn_of_door(self, ticket: int, header: CallHeader, where: NodeId | None) -> None:
        """The same of a call of a door."""
        plan = self._decided(self._life.calls.of(Door(ticket)), UNASKED) if _is_plain(header) else None
        if plan is not None and self._make_room():
            self._of_doors[where, _untraced(header)] = plan

    def _decided(self, call: Call | None, asker: NodeId) -> Plan | None:
        """What the row tells of the decision that made it; ``None``: there is more to it than a plan can say."""
        if call is None or call.phase is not Phase.RUNNING or call.attempts != 1 or call.slot >= 0:
            return None
        here, where = call.node == self._around.me, call.where
        if here and call.conn == NO_CONN:
            return None  # this node's own daemon works on it
        alone = not call.agent or self._around.index.alone(call.node, call.header.skill, call.header.agent, where)
        if not alone and where is not None:
            return None  # a node was asked for, and several of its agents answer
        return self._plan(
            call.header, asker, where=where, node=call.node, caller=call.caller, agent=call.agent, alone=alone,
            idempotent=call.idempotent,
        )  # fmt: skip

    def _plan(
        self, header: CallHeader, asker: NodeId, *, where: NodeId | None, node: NodeId, caller: str = "",
        agent: str = "", alone: bool = True, idempotent: bool = False,
    ) -> Plan:  # fmt: skip
        goes_on = CallHeader(
            b"", header.skill, 0, agent, caller, trace=header.trace, idempotent=idempotent, batch=header.batch,
            raw=header.raw, as_bytes=header.as_bytes,
        )  # fmt: skip
        name = self._around.name_of(asker) if asker else ""
        way = plain.split(goes_on)
        return Plan(header, caller, asker, name, where, node, agent, alone, idempotent, f"skill/{header.skill}", way)

    def _make_room(self) -> bool:
        if self._count >= self._plans_max:
            self._forget()
        self._count += 1
        return self._plans_max > 0

    def _forget(self) -> None:
        self._of, self._of_doors, self._count = {}, {}, 0


def _is_plain(header: CallHeader) -> bool:
    """It says what and for how long, and nothing that would have to be looked at for each call."""
    return (
        not (header.idempotency_key or header.hlc or header.session or header.stream)
        and header.slot == -1
        and (not header.trace or plain.is_trace(header.trace))
        and not header.skill.startswith(CAP_PREFIX)
    )


def _untraced(header: CallHeader) -> CallHeader:
    """The same for calls that differ in their traces; one that has none differs from them."""
    return msgspec.structs.replace(header, trace=plain.BLANK_TRACE) if plain.is_trace(header.trace) else header
