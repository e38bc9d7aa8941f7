"""One document over time: state show|history|diff KIND NAME: who wrote what when, field by field."""

from collections.abc import Sequence

from meshnode.cli.kinds import Kind, kind_of
from meshnode.cli.output import show_list, show_one
from meshnode.cli.parser import Given, client_of, command, warn
from meshnode.cli.table import Column, table
from meshnode.cli.words import clock, one_line, size
from meshnode.model.document_views import DocumentDiffView, DocumentStateView
from meshnode.model.errors import Invalid
from meshnode.model.view_parts import FieldView, WriteView

_HASH_CHARS = 12
# Kinds whose things are no documents, and which have documents about them all the same.
_ABOUT = {"node": "Node"}

Names = tuple[str, str, str]


def shown(value: object) -> str:
    from json import dumps

    return "-" if value is None else dumps(value, ensure_ascii=False)


def _others(field: FieldView) -> str:
    return "; ".join(
        f"{shown(value)} by {writer}" for value, writer in zip(field.others, field.other_writers, strict=False)
    )


def _wrote(write: WriteView) -> str:
    if write.deletes:
        return "deleted it"
    return ", ".join(f"{field}={shown(value)}" for field, value in write.fields.items()) or "nothing of its own"


_FIELDS: tuple[Column[FieldView], ...] = (
    Column(title="FIELD", cell=lambda f: f.field),
    Column(title="VALUE", cell=lambda f: shown(f.value)),
    Column(title="WRITTEN BY", cell=lambda f: f.writer),
    Column(title="WHEN", cell=lambda f: clock(f.at_ms)),
    Column(title="ALSO WRITTEN", cell=_others, optional=True),
)
_WRITES: tuple[Column[WriteView], ...] = (
    Column(title="WRITE", cell=lambda w: str(w.number), right=True),
    Column(title="WHEN", cell=lambda w: clock(w.at_ms)),
    Column(title="BY", cell=lambda w: w.writer),
    Column(title="WROTE", cell=_wrote),
    Column(title="SIZE", cell=lambda w: size(w.size_bytes), right=True, wide=True),
    Column(title="HASH", cell=lambda w: w.change[:_HASH_CHARS]),
)


def document_kind(word: str) -> tuple[str, Kind] | None:
    """The kind of documents that a word means, if it means one."""
    try:
        kind = kind_of(word)
    except Invalid:
        return None
    document = kind.document or _ABOUT.get(kind.word, "")
    return (document, kind) if document else None


def names_of(words: Sequence[str], namespace: str, *, versions: bool = False) -> tuple[Names, Sequence[str]] | None:
    """(kind, namespace, name) and the words behind them; None when these words are about a unit's state.

    ``versions``: a number behind a unit is a version of it, and no name.
    """
    if len(words) < 2 or (versions and words[1].isdecimal()):
        return None
    found = document_kind(words[0])
    if found is None:
        return None
    document, kind = found
    return (document, *kind.place(words[1], namespace)), words[2:]


def named(names: Names) -> str:
    kind, namespace, name = names
    return f"{kind.lower()}/{namespace}/{name}"


def show(given: Given, names: Names) -> int:
    view = client_of(given).document_state(*names)
    show_one(given, view, lambda: _lines(view), named(names))
    return 0


def _lines(view: DocumentStateView) -> list[str]:
    pairs = (
        ("document", f"{view.kind} {view.namespace}/{view.name}"),
        ("written", f"{clock(view.updated_ms)} by {view.updated_by}"),
        ("writes", f"{view.changes}, heads {', '.join(head[:_HASH_CHARS] for head in view.heads)}"),
        ("id", view.doc_id),
        *((("note", view.note),) if view.note else ()),
    )
    head = [one_line(f"{name + ':':<10} {value}") for name, value in pairs]
    return [*head, *table(view.fields, _FIELDS, wide=False, colour=False)]


def history(given: Given, names: Names) -> int:
    view = client_of(given).document_history(*names)

    def name(row: WriteView) -> str:
        return f"{named(names)}#{row.number}"

    show_list(given, view.items, _WRITES, name, empty=f"{named(names)} was not written since its history was summed up")
    if view.left_out and given.output in ("table", "wide"):
        warn(f"{view.left_out} older writes are not shown: -o json has as many as the API gives")
    return 0


def diff(given: Given, names: Names, behind: Sequence[str]) -> int:
    if not behind:
        raise Invalid(
            "state diff: from which write on?",
            next_step=command(given, f"state history {names[0].lower()} {names[2]}, then state diff"),
        )
    numbers = [_number(word) for word in behind]
    if len(numbers) > 2:
        raise Invalid(f"state diff: what is {behind[2]}?", next_step="meshnode state --help")
    view = client_of(given).document_diff(*names, *numbers)
    show_one(given, view, lambda: _diff_lines(view, named(names)), named(names))
    return 0


def count(given: Given, names: Names, behind: Sequence[str]) -> int:
    usage = "meshnode state count KIND NAME COUNTER [AMOUNT]"
    if not 1 <= len(behind) <= 2:
        raise Invalid("state count: which counter, and by how much?", next_step=usage)
    by = behind[1] if len(behind) == 2 else "1"
    if not by.removeprefix("-").isdecimal():
        raise Invalid(f"state count: {by} is no whole number", next_step=usage)
    view = client_of(given).count(*names, behind[0], int(by))
    show_one(given, view, lambda: [one_line(f"{named(names)}: {note}") for note in view.notes], named(names))
    return 0


def _diff_lines(view: DocumentDiffView, name: str) -> list[str]:
    lines = [f"{name}: write {view.first} -> {f'write {view.second}' if view.second else 'now'}"]
    lines += [f"  {field}: {shown(before)} -> {shown(after)}" for field, (before, after) in view.changed.items()]
    return [one_line(line) for line in (lines if view.changed else [*lines, "  nothing differs"])]


def _number(word: str) -> int:
    if not word.isdecimal():
        raise Invalid(f"state diff: {word} is not the number of a write", next_step="meshnode state history lists them")
    return int(word)
