"""Questions that another node answers better: the command travels as the skill ``mesh.ask`` and its view comes back.

The asked node's desk answers as if the question had been put at its own door, never asks on, and judges by its own
authority who may ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.model import commands, views
from meshnode.model.errors import Denied, LocalError
from meshnode.wire.calls import CallHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import CallEnded, MeshAsked
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core

ASK_SKILL = "mesh.ask"
ASK_DEADLINE_MS = 10_000
Answered = views.StateView | views.HistoryView | views.StateDiffView | views.StatesView | views.LogsView | views.WhyView
# What may be asked of another node, and what it answers with.
ANSWERS: dict[type[commands.Command], type[Answered]] = {
    commands.ShowState: views.StateView,
    commands.StateHistory: views.HistoryView,
    commands.StateDiff: views.StateDiffView,
    commands.RestoreState: views.StateView,
    commands.FoldState: views.StatesView,
    commands.ListStates: views.StatesView,
    commands.ReadLogs: views.LogsView,
    commands.Why: views.WhyView,
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
)
_commands: msgspec.json.Decoder[Askable] = msgspec.json.Decoder(Askable)


def ask(core: Core, command_no: int, command: Askable, node: NodeId, now: Instant) -> Sequence[Effect]:
    """Put the question to ``node``; ends in ``CallEnded(command_no)``."""
    header = CallHeader(call_id=b"", skill=ASK_SKILL, deadline_ms=ASK_DEADLINE_MS, caller=f"node/{core.config.name}")
    return core.switch.ask(command_no, header, msgspec.json.encode(command), now, node=node)


def answer_of(command: Askable, ended: CallEnded) -> views.AnyView:
    """The view in an answer. Raises ``ValueError`` for what is none."""
    return msgspec.json.decode(ended.payload, type=ANSWERS[type(command)])


def asked(core: Core, fact: MeshAsked, now: Instant) -> Sequence[Effect]:
    """A peer's question, to this node's desk. The reply to a negative number goes back to it."""
    try:
        if fact.skill != ASK_SKILL:
            raise Denied(f"{fact.skill} is nothing a node answers")
        command = _commands.decode(fact.payload)
    except (ValueError, RecursionError) as error:  # ValueError: of msgspec, or text that is no UTF-8
        core.counters.add("ask-junk")
        return core.switch.answer(fact.ticket, "invalid", f"what was asked cannot be read: {error}", b"", now)
    except LocalError as error:
        return core.switch.answer(fact.ticket, error.code, error.message, b"", now)
    return core.desk.ask_for_peer(-fact.ticket, command, now)


def replied(core: Core, ticket: int, view: views.AnyView, now: Instant) -> Sequence[Effect]:
    """This node's answer to a peer."""
    if isinstance(view, views.Failure):
        return core.switch.answer(ticket, view.code, view.message, b"", now)
    return core.switch.answer(ticket, "", "", msgspec.json.encode(view), now)
