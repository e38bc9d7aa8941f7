"""Drained nodes: the commands that begin and end a drain, and what this node tells about one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.deployments.drains import left_of
from meshnode.kernel.effects import Note, Persist
from meshnode.model.document_views import AppliedView
from meshnode.model.interest import FIELD as INTEREST
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND, NodeIntent, node_manifest
from meshnode.node import snapshot
from meshnode.node.agent_desk import manifest_fields
from meshnode.node.effects import Reply
from meshnode.scheduler.views import KEEP, MOVE, PENDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import Drain, Resume
    from meshnode.node.core import Core
    from meshnode.scheduler.views import Intended

NOTES_MAX = 8


# -- commands ---------------------------------------------------------------------------------------------------------


def drain(core: Core, command_no: int, command: Drain, now: Instant) -> Sequence[Effect]:
    """The node is to be without units. Raises ``NotFound``, ``Invalid``, ``Denied``."""
    name = core.names.of(snapshot.find_node(core, command.node))
    notes = _forecast(core, name, command.reason, now)
    return _write(core, command_no, name, NodeIntent(drain=True, reason=command.reason), notes, now)


def resume(core: Core, command_no: int, command: Resume, now: Instant) -> Sequence[Effect]:
    """The node takes units again; none comes back by itself. A name that only a document has will do.

    Raises ``NotFound``, ``Denied``.
    """
    known = core.documents.get(KIND, NAMESPACE_DEFAULT, command.node) is not None
    name = command.node if known else core.names.of(snapshot.find_node(core, command.node))
    if core.documents.get(KIND, NAMESPACE_DEFAULT, name) is None:
        note = f"{name} is not drained"
        return [Reply(command_no, AppliedView(kind=KIND, namespace=NAMESPACE_DEFAULT, name=name, action="unchanged",
                                              notes=[note]))]  # fmt: skip
    return _write(core, command_no, name, NodeIntent(), [], now)


def _write(
    core: Core, command_no: int, name: str, intent: NodeIntent, notes: list[str], now: Instant
) -> Sequence[Effect]:
    held = core.documents.get(KIND, NAMESPACE_DEFAULT, name)
    interest = None if held is None else held.spec.get(INTEREST)
    manifest = node_manifest(name, drain=intent.drain, reason=intent.reason, interest=interest)
    kind, namespace, _, fields, _ = manifest_fields(manifest)
    change = core.documents.put(kind, namespace, name, fields, now)
    action = "created" if change.created else "unchanged" if change.unchanged else "updated"
    reply = Reply(command_no, AppliedView(kind=kind, namespace=namespace, name=name, action=action, notes=notes))
    return [Persist(change.records, then=(*change.effects, reply))] if change.records else [reply]


def _forecast(core: Core, name: str, reason: str, now: Instant) -> list[str]:
    """What will become of the node's units, in a few lines."""
    reading = core.intentions.reading
    after = {**reading.drains, name: reason}
    rows = [
        row
        for want in reading.wants
        for row in core.scheduler.intended(want.agent, want, now, after)
        if row.now_on == name
    ]
    moving = [row for row in rows if row.action == MOVE]
    told = [f"{len(moving)} {'unit moves' if len(moving) == 1 else 'units move'} to other nodes"] if moving else []
    told += [_row_words(row) for row in rows if row.action in (KEEP, PENDING)]
    if len(told) > NOTES_MAX:
        told[NOTES_MAX:] = [f"and {len(told) - NOTES_MAX} more: meshnode plan"]
    return told or [f"{name} has no units"]


def _row_words(row: Intended) -> str:
    if row.action == PENDING:
        return f"{row.unit} stops until {row.now_on} takes units again: {row.reason}"
    return f"{row.unit}: {row.reason}"


# -- what is told -----------------------------------------------------------------------------------------------------


def told(core: Core, name: str) -> Note:
    """The beginning or the end of a drain, for the story of that node."""
    document = core.documents.get(KIND, NAMESPACE_DEFAULT, name)
    by = f", as {core.names.of(document.updated_by)} asked" if document is not None else ""
    reason = core.intentions.reading.drains.get(name)
    if reason is None:
        return Note(f"node/{name}", f"takes units again{by}")
    why = f" ({reason})" if reason else ""
    return Note(f"node/{name}", f"drained{why}{by}: its units move away, and it takes no new ones")


def gone(core: Core) -> list[Effect]:
    """A unit of this node is gone: the last one of a drained node is the end of the way there."""
    name = core.config.name
    if core.homes or name not in core.intentions.reading.drains:
        return []
    return [Note(f"node/{name}", "drained: it has no units any more")]


def words(core: Core, name: str, now: Instant) -> str:
    """How far a drained node is, for ``why``; "" if it is not drained."""
    reason = core.intentions.reading.drains.get(name)
    if reason is None:
        return ""
    left = left_of(core.scheduler.standing_on(name, now))
    return f"drained{f' ({reason})' if reason else ''}: {left.words()}"
