"""Questions about one document beyond what it reads: who wrote what when, what is in conflict; and sticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from meshnode.crdt import chronicle
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import DELETED
from meshnode.crdt.kinds import counters_of
from meshnode.crdt.stick import Item
from meshnode.kernel.effects import Persist
from meshnode.model import commands, document_views, view_parts
from meshnode.model.declared import parse_declared
from meshnode.model.errors import Invalid, NotFound
from meshnode.model.ids import DocId, NodeId
from meshnode.model.interest import EVERYTHING
from meshnode.node import memory, snapshot
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.chronicle import Written
    from meshnode.crdt.document import Change, Document, Sibling
    from meshnode.crdt.fields import JsonValue
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

LIMIT_MAX = 4_096
STICK_PAGE_BYTES = 384 * 1024  # as JSON it must fit into one request of the local API
ITEMS_MAX = 5_000
Asked = (
    commands.ShowDocument | commands.DocumentHistory | commands.DocumentDiff | commands.ResolveConflict
    | commands.AddToCounter
)  # fmt: skip
Carried = commands.SyncNow | commands.ExportStick | commands.ImportStick


class DocumentDesk:
    """Ends in one ``Reply`` each."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def ask(self, command_no: int, command: Asked, now: Instant) -> Sequence[Effect]:
        match command:
            case commands.ShowDocument():
                return self._show(command_no, command)
            case commands.DocumentHistory():
                return [Reply(command_no, self._history(command))]
            case commands.DocumentDiff():
                return [Reply(command_no, self._diff(command))]
            case commands.ResolveConflict():
                return self._resolve(command_no, command, now)
            case commands.AddToCounter():
                return self._count(command_no, command, now)
            case _:
                assert_never(command)

    def sync(self, command_no: int, command: Carried, now: Instant) -> Sequence[Effect]:
        match command:
            case commands.SyncNow():
                return self._compare(command_no)
            case commands.ExportStick():
                return [Reply(command_no, self._export(command, now))]
            case commands.ImportStick():
                return self._import(command_no, command, now)
            case _:
                assert_never(command)

    # -- one document

    def _show(self, command_no: int, command: commands.ShowDocument) -> Sequence[Effect]:
        core, names = self._core, (command.kind, command.namespace, command.name)
        found = core.documents.get(*names)
        if found is not None:
            return [Reply(command_no, self._shown(found, ""))]
        interest = core.documents.interests.mine
        if interest == EVERYTHING:
            raise self._unknown(*names)
        kept = core.documents.interests.unkept(*names)
        apart = f"{core.config.name} wants {interest.words()}"
        unknown = NotFound(
            f"no {command.kind} {command.namespace}/{command.name} is here: {apart}. Its neighbours are asked for it",
            next_step="ask again in a second",
        )
        note = f"{apart}, so this may be old: its neighbours are asked for what is newer"
        view = snapshot.failure_of(unknown) if kept is None else self._shown(kept, note)
        return [*core.documents.fetch(*names), Reply(command_no, view)]

    def _shown(self, found: Document, note: str) -> document_views.DocumentStateView:
        core, writers = self._core, self._core.documents.chronicle.writers(found.kind, found.namespace, found.name)
        return document_views.DocumentStateView(
            kind=found.kind, namespace=found.namespace, name=found.name, doc_id=found.doc_id.hex(),
            changes=found.changes, heads=[head.hex() for head in found.heads], updated_ms=found.updated_ms,
            updated_by=core.names.of(found.updated_by), note=note,
            fields=[
                self._field(key, value, found.siblings.get(key), *writers[key]) for key, value in found.fields.items()
            ],
        )  # fmt: skip

    def _field(
        self, key: str, value: JsonValue, others: Sibling | None, writer: NodeId, at_ms: int
    ) -> view_parts.FieldView:
        name_of = self._core.names.of
        return view_parts.FieldView(
            field=key, value=value, writer=name_of(writer), at_ms=at_ms,
            others=list(others.values[1:]) if others else [],
            other_writers=[name_of(each) for each in others.writers[1:]] if others else [],
        )  # fmt: skip

    def _history(self, command: commands.DocumentHistory) -> document_views.DocumentHistoryView:
        if not 1 <= command.limit <= LIMIT_MAX:
            raise Invalid(f"limit is {command.limit}; it may be 1 to {LIMIT_MAX}", next_step="give a smaller one")
        writes = self._writes(command.kind, command.namespace, command.name)
        return document_views.DocumentHistoryView(
            kind=command.kind, namespace=command.namespace, name=command.name,
            items=[self._write(each) for each in chronicle.shown(writes, command.limit)],
            left_out=max(0, len(writes) - command.limit),
        )  # fmt: skip

    def _write(self, each: Written) -> view_parts.WriteView:
        return view_parts.WriteView(
            number=each.number, change=each.change.hex(), at_ms=each.at_ms, writer=self._core.names.of(each.author),
            fields=dict(each.fields), deletes=each.deletes, size_bytes=each.size_bytes,
        )  # fmt: skip

    def _diff(self, command: commands.DocumentDiff) -> document_views.DocumentDiffView:
        names = (command.kind, command.namespace, command.name)
        count = len(self._writes(*names))
        for number in (command.first, command.second):
            if not 0 <= number <= count:
                raise NotFound(
                    f"{command.kind} {command.namespace}/{command.name} has {count} writes here, and no write {number}",
                    next_step=f"meshnode state history {command.kind.lower()} {command.name} lists them",
                )
        before = self._core.documents.chronicle.read_at(*names, command.first)
        after = self._core.documents.chronicle.read_at(*names, command.second or count)
        return document_views.DocumentDiffView(
            kind=command.kind, namespace=command.namespace, name=command.name, first=command.first,
            second=command.second,
            changed={key: list(pair) for key, pair in chronicle.difference(before, after).items()},
        )  # fmt: skip

    def _writes(self, kind: str, namespace: str, name: str) -> list[Written]:
        """Those that are kept. None at all: the history was summed up a moment ago."""
        documents = self._core.documents
        if documents.names(doc_id_of(kind, namespace, name)) is None:
            raise self._unknown(kind, namespace, name)
        return documents.chronicle.writes(kind, namespace, name)

    def _unknown(self, kind: str, namespace: str, name: str) -> NotFound:
        return NotFound(f"no {kind} {namespace}/{name} is known here", next_step="meshnode get documents")

    def _count(self, command_no: int, command: commands.AddToCounter, now: Instant) -> Sequence[Effect]:
        core, names = self._core, (command.kind, command.namespace, command.name)
        if core.documents.get(*names) is None:
            raise self._unknown(*names)
        change = core.documents.add(*names, command.counter, command.amount, now)
        found = core.documents.get(*names)
        total = counters_of(found.fields).get(command.counter, 0) if found is not None else 0
        view = document_views.AppliedView(
            kind=command.kind, namespace=command.namespace, name=command.name, action="updated",
            notes=[f"{command.counter} is {total}, as far as is known here"],
        )  # fmt: skip
        return [Persist(change.records, then=(*change.effects, Reply(command_no, view)))]

    # -- conflicts

    def _resolve(self, command_no: int, command: commands.ResolveConflict, now: Instant) -> Sequence[Effect]:
        """One value for a field that has several. The choice is a write like any other, and everybody takes it over."""
        core, names = self._core, (command.kind, command.namespace, command.name)
        if command.kind == memory.KIND:
            raise Invalid(
                f"{command.field} is a key of an agent's state: its agent settles it with its next write",
                next_step=f"meshnode state show {command.name}",
            )
        found = core.documents.get(*names)
        if found is None:
            raise self._unknown(*names)
        others = found.siblings.get(command.field)
        if others is None:
            raise NotFound(
                f"{command.field} of {command.kind} {command.namespace}/{command.name} has no concurrent values",
                next_step="meshnode conflicts lists the fields that have",
            )
        change = self._settled(command, found, others, now)
        view = document_views.AppliedView(
            kind=command.kind, namespace=command.namespace, name=command.name,
            action="deleted" if core.documents.get(*names) is None else "updated", notes=[],
        )  # fmt: skip
        return [Persist(change.records, then=(*change.effects, Reply(command_no, view)))]

    def _settled(self, command: commands.ResolveConflict, found: Document, others: Sibling, now: Instant) -> Change:
        names = (command.kind, command.namespace, command.name)
        if not 0 <= command.pick <= len(others.values):
            raise Invalid(
                f"pick is {command.pick}; {command.field} has {len(others.values)} values",
                next_step="meshnode conflicts shows them; the first is 1 and in force",
            )
        if command.field == DELETED:  # a deletion that met an edit
            if not command.pick:
                raise Invalid("a deletion has no value: pick 1 keeps the document, pick 2 deletes it", next_step="pick")
            return (
                self._core.documents.settle(*names, {DELETED: None}, now)
                if command.pick == 1
                else self._core.documents.delete(*names, now)
            )
        value: JsonValue = others.values[command.pick - 1] if command.pick else command.value
        _judge(found, command.field, value)
        return self._core.documents.settle(*names, {command.field: value}, now)

    # -- carrying

    def _compare(self, command_no: int) -> Sequence[Effect]:
        core = self._core
        peers, effects = core.documents.compare_now()
        view = document_views.SyncView(
            peers=[core.names.of(peer) for peer in peers], documents=core.documents.count(),
            documents_root=core.documents.root().hex(), waiting=core.documents.waiting(),
            awaiting=core.documents.awaiting(),
        )  # fmt: skip
        return [*effects, Reply(command_no, view)]

    def _export(self, command: commands.ExportStick, now: Instant) -> document_views.StickView:
        core = self._core
        try:
            after = DocId(bytes.fromhex(command.after)) or None
        except ValueError as error:
            raise Invalid(
                f"after is {command.after[:80]!r}, which is no place in an export", next_step="give next, or nothing"
            ) from error
        page = core.documents.carried(command.kind, after, STICK_PAGE_BYTES)
        return document_views.StickView(
            mesh=core.config.mesh, node=core.config.name, at_ms=now.wall_ms, documents=page.documents,
            items=[view_parts.StickPart(int(item.kind), item.data) for item in page.items],
            next=page.last.hex() if page.last else "",
        )  # fmt: skip

    def _import(self, command_no: int, command: commands.ImportStick, now: Instant) -> Sequence[Effect]:
        if len(command.items) > ITEMS_MAX:
            raise Invalid(
                f"{len(command.items)} items at once, the most is {ITEMS_MAX}",
                next_step="give them in several requests",
            )
        taken, change = self._core.documents.take_in([Item(each.kind, each.data) for each in command.items], now)
        view = document_views.ImportedView(
            applied=len(taken.applied), held=taken.held, waits=taken.waits, members=taken.members,
            unknown=taken.unknown, refused=dict(sorted(taken.refused.items())),
        )  # fmt: skip
        if not change.records:
            return [Reply(command_no, view)]
        return [Persist(change.records, then=(*change.effects, Reply(command_no, view)))]


def _judge(found: Document, field: str, value: JsonValue) -> None:
    """The document must still be one that people could have applied. Raises ``Invalid``."""
    fields = {**found.fields, field: value}
    spec = {key.removeprefix("spec."): each for key, each in fields.items() if key.startswith("spec.")}
    labels = {key.removeprefix("labels."): each for key, each in fields.items() if key.startswith("labels.")}
    metadata = {"name": found.name, "namespace": found.namespace, **({"labels": labels} if labels else {})}
    parse_declared(
        {
            "apiVersion": fields.get("apiVersion"), "kind": found.kind, "metadata": metadata,
            "spec": {key: each for key, each in spec.items() if each is not None},
        }
    )  # fmt: skip
