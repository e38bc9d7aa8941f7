"""``find`` for people and programs: what is known here, and, where nobody here may be called, what lies beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.errors import LocalError, RemoteError
from meshnode.model.views import SkillsView, SkillView
from meshnode.node import beyond, snapshot
from meshnode.node.beyond_letters import FIND_SKILL
from meshnode.node.effects import Reply
from meshnode.wire.calls import CallHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import MeshAsked
    from meshnode.model.commands import FindSkills
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core

YOUNG_US = 10 * SECOND  # so long after its start a node may not have heard all of its region


class Finding:
    """Every request ends in one ``Reply``."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[int, FindSkills] = {}

    def ask(self, command_no: int, command: FindSkills, now: Instant) -> Sequence[Effect]:
        """Raises ``Invalid``: its page or its constraints cannot be read."""
        core = self._core
        view = snapshot.skills(core, command, now)
        if command.after or any(not item.excluded for item in view.items):
            return [Reply(command_no, view)]
        address = core.beyond.address_of(command.skill, now)
        if not address:
            return [Reply(command_no, view)]
        self._waiting[command_no] = command
        return core.beyond.find(command_no, address, command.where, now)

    def answer(self, command_no: int, findings: beyond.Findings, now: Instant) -> Effect:
        """What is here and cannot be called, then what other regions have, then why one of them says nothing."""
        command = self._waiting.pop(command_no)
        items = list(snapshot.skills(self._core, command, now).items)
        room = (command.limit or len(findings.told)) - len(items)
        items[:0] = [self._told(each, now) for each in findings.told][: max(0, room)]
        items += [_gap(gap, command.skill) for gap in findings.gaps]
        ranked = [msgspec.structs.replace(item, rank=rank) for rank, item in enumerate(items, start=1)]
        return Reply(command_no, SkillsView(items=ranked[: command.limit or None]))

    def dropped(self, command_no: int) -> None:
        if self._waiting.pop(command_no, None) is not None:
            self._core.beyond.dropped(command_no)

    def _told(self, told: beyond.Told, now: Instant) -> SkillView:
        core = self._core
        rtt = core.hub.rtt_us(told.node)
        asked_s = max(0, now.mono_us - told.told_us) / SECOND
        return SkillView(
            rank=0, skill=told.skill, agent=told.offer.agent, instance=told.offer.agent, node=core.names.of(told.node),
            region=told.region, description=told.offer.description,
            input_schema=snapshot.json_object(told.offer.input_schema.encode()),
            output_schema=snapshot.json_object(told.offer.output_schema.encode()),
            age_s=round(max(0, now.mono_us - told.heard_us) / SECOND, 3),
            excluded=snapshot.excluded(core, told.node, core.index.excluded(told.node, now), now),
            rtt_ms=None if rtt is None else round(rtt / MS, 3),
            path=f"told by {core.names.of(told.through)} {asked_s:.1f} s ago",
        )  # fmt: skip


def _gap(gap: beyond.Gap, wanted: str) -> SkillView:
    """A region that should have it, as a line of its own: nobody there can be named."""
    return SkillView(
        rank=0, skill=wanted, agent="", instance="", node="", region=gap.region, description="", input_schema={},
        output_schema={}, rtt_ms=None, age_s=round(gap.age_us / SECOND, 3), excluded=gap.why, path="catalogue",
    )  # fmt: skip


def around(core: Core) -> beyond.Around:
    """What the room beyond asks of this node."""

    def ask(ticket: int, node: NodeId, question: bytes, now: Instant) -> Sequence[Effect]:
        caller = f"node/{core.config.name}"
        header = CallHeader(call_id=b"", skill=FIND_SKILL, deadline_ms=beyond.ASK_MS, caller=caller)
        return core.switch.ask(ticket, header, question, now, node=node)

    def young(now: Instant) -> str:
        age_us = now.mono_us - core.started_us
        if age_us >= YOUNG_US or core.gossip.holds_all():
            return ""
        return f"{core.config.name} started {age_us / SECOND:.1f} s ago and has not heard all of its region yet"

    def answer(command_no: int, findings: beyond.Findings, now: Instant) -> Effect:
        return core.desk.finding.answer(command_no, findings, now)

    def news(now: Instant) -> Sequence[Effect]:
        return core.switch.offers_changed(now)

    return beyond.Around(
        me=core.config.node, index=core.index, region_of=core.region_of, reachable=core.gossip.reachable,
        elsewhere=lambda node: not core.gossip.near(node), name_of=core.names.of, ask=ask, news=news, young=young,
        answer=answer,
    )  # fmt: skip


def asked(core: Core, fact: MeshAsked, now: Instant) -> Sequence[Effect]:
    """A question of another region's node."""
    try:
        payload = beyond.told_to_peer(core.index, core.config.region, core.names.of, fact.payload, now)
    except RemoteError as error:
        core.counters.add(error.reason)
        return core.switch.answer(fact.ticket, "invalid", f"what was asked cannot be read: {error}", b"", now)
    except LocalError as error:
        return core.switch.answer(fact.ticket, error.code, error.message, b"", now)
    return core.switch.answer(fact.ticket, "", "", payload, now)
