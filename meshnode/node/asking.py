"""Questions that another node answers better: the command travels as the skill ``mesh.ask`` and its view comes back.

The asked node's desk answers as if the question had been put at its own door, never asks on, and judges by its own
authority who may ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.messaging.letters import RESULT_BYTES_MAX
from meshnode.messaging.switch import ASK_SKILL
from meshnode.model import commands, unit_views, views
from meshnode.node import finding
from meshnode.node.beyond_letters import FIND_SKILL
from meshnode.wire.calls import CallHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import CallEnded, MeshAsked
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core

ASK_DEADLINE_MS = 10_000
EXIT_CODES_MAX = 128
Answered = (
    unit_views.StateView
    | unit_views.HistoryView
    | unit_views.StateDiffView
    | unit_views.StatesView
    | views.LogsView
    | views.WhyView
    | views.JournalView
    | views.LinksView
)
# What may be asked of another node, and what it answers with.
ANSWERS: dict[type[commands.Command], type[Answered]] = {
    commands.ShowState: unit_views.StateView,
    commands.StateHistory: unit_views.HistoryView,
    commands.StateDiff: unit_views.StateDiffView,
    commands.RestoreState: unit_views.StateView,
    commands.FoldState: unit_views.StatesView,
    commands.ListStates: unit_views.StatesView,
    commands.ReadLogs: views.LogsView,
    commands.Why: views.WhyView,
    commands.ReadJournal: views.JournalView,
    commands.ListLinks: views.LinksView,
}
Askable = (
    commands.ShowState
    | commands.StateHistory
    | commands.StateDiff
    | commands.RestoreState
    | commands.FoldState
    | commands.ListStates
    | commands.ReadLogs
    | commands.Why
    | commands.ReadJournal
    | commands.ListLinks
)
_commands: msgspec.json.Decoder[Askable] = msgspec.json.Decoder(Askable)


def ask(core: Core, command_no: int, command: Askable, node: NodeId, now: Instant) -> Sequence[Effect]:
    """Put the question to ``node``; ends in ``CallEnded(command_no)``."""
    header = CallHeader(call_id=b"", skill=ASK_SKILL, deadline_ms=ASK_DEADLINE_MS, caller=f"node/{core.config.name}")
    return core.switch.ask(command_no, header, msgspec.json.encode(command), now, node=node)


def answer_of(command: Askable, ended: CallEnded) -> views.AnyView:
    """The view in an answer, or the refusal of the asked desk in its own words. Raises ``ValueError`` or
    ``RecursionError`` for what is neither."""
    try:
        refusal = msgspec.json.decode(ended.payload, type=views.Failure)
    except msgspec.ValidationError:
        return msgspec.json.decode(ended.payload, type=ANSWERS[type(command)])
    if not 0 < refusal.exit_code < EXIT_CODES_MAX:
        raise ValueError(f"exit code {refusal.exit_code}")
    return refusal


def asked(core: Core, fact: MeshAsked, now: Instant) -> Sequence[Effect]:
    """A peer's question, to this node's desk. The reply to a negative number goes back to it."""
    if fact.skill == FIND_SKILL:
        return finding.asked(core, fact, now)
    if fact.skill != ASK_SKILL:
        return core.switch.answer(fact.ticket, "not-found", f"{fact.skill} is nothing a node answers", b"", now)
    try:
        command = _commands.decode(fact.payload)
    except JUNK as error:
        core.counters.add("ask-junk")
        return core.switch.answer(fact.ticket, "invalid", f"what was asked cannot be read: {error}", b"", now)
    return core.desk.ask_for_peer(-fact.ticket, command, fact.peer, now)


def replied(core: Core, ticket: int, view: views.AnyView, now: Instant) -> Sequence[Effect]:
    """This node's answer to a peer. A refusal is one as well: whoever asked reads it whole, with what to do next."""
    payload = msgspec.json.encode(view)
    if len(payload) > RESULT_BYTES_MAX:
        text = f"the answer has {len(payload)} bytes, the most is {RESULT_BYTES_MAX}: ask for less, or on its node"
        return core.switch.answer(ticket, "result-too-long", text, b"", now)
    return core.switch.answer(ticket, "", "", payload, now)
