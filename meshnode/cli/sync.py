"""sync now: compare documents with all peers; sync export|import FILE: carry them by hand to nodes that never meet."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.record import document_kind
from meshnode.cli.words import clock, one_line, size
from meshnode.client.client import Client
from meshnode.crdt import stick
from meshnode.crdt.stick import STICK_BYTES_MAX, Item, ItemKind, StickUnreadable
from meshnode.model.commands import StickItem
from meshnode.model.document_views import ImportedView, StickView, SyncView
from meshnode.model.errors import Invalid, NotFound

ACTIONS = ("now", "export", "import")
PARTIAL = 5
PAGE_BYTES, PAGE_ITEMS = 384 * 1024, 2_000
# A node takes so many foreign writes a second; a stick has time.
TIRED = ("rate-peer", "rate-author")
TRIES_MAX, AGAIN_S = 120, 1.0


def _now(given: Given) -> int:
    _spare(given, file=False)
    view = client_of(given).sync()
    show_one(given, view, lambda: _sync_lines(view), "sync")
    return 0


def _sync_lines(view: SyncView) -> list[str]:
    asked = ", ".join(view.peers) if view.peers else "nobody: no peer is linked"
    lines = [f"asked:     {asked}", f"documents: {view.documents} (root {view.documents_root[:8]})"]
    if view.waiting:
        lines.append(f"waiting:   {view.waiting} writes for what they stand on")
    if view.awaiting:
        lines.append(f"waiting:   {view.awaiting} writes for an admin's word that their authors may write them")
    return [one_line(line) for line in lines]


def _export(given: Given) -> int:
    _spare(given, file=True)
    client, path = client_of(given), Path(given.file)
    if not path.absolute().parent.is_dir():
        raise NotFound(f"{path}: no such folder. Nothing was written", next_step="name a file in a folder that exists")
    pages = _pages(client, _kind(given.kind))
    items = list({(part.kind, part.data): None for page in pages for part in page.items})
    last = pages[-1]
    data = stick.write(last.mesh, last.node, last.at_ms, [Item(kind, body) for kind, body in items])
    _written(path, data)
    documents = sum(page.documents for page in pages)
    writes = sum(kind == ItemKind.ENVELOPE for kind, _ in items)
    told = f"{path}: {documents} documents, {writes} writes, {size(len(data))}, of mesh {last.mesh}"
    show_one(given, _summary(last, documents), lambda: [one_line(told)], str(path))
    return 0


def _kind(word: str) -> str:
    """By any of its names, as ``state`` and ``conflicts`` take it."""
    found = document_kind(word) if word else ("", None)
    if found is None:
        raise Invalid(
            f"{word} is no kind of documents",
            next_step="kinds of documents: agents, agentclusters (clusters), nodes, policies",
        )
    return found[0]


def _pages(client: Client, kind: str) -> list[StickView]:
    pages = [client.export_stick(kind)]
    while pages[-1].next:
        pages.append(client.export_stick(kind, pages[-1].next))
    return pages


def _summary(last: StickView, documents: int) -> StickView:
    """What -o json shows: where it comes from, not its megabytes."""
    return StickView(mesh=last.mesh, node=last.node, at_ms=last.at_ms, documents=documents, items=[])


def _written(path: Path, data: bytes) -> None:
    """Whole or not at all, and for this user only: documents stand in it in the clear."""
    fd, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=".stick-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _import(given: Given) -> int:
    _spare(given, file=True)
    client, path = client_of(given), Path(given.file)
    read = stick.read(_read(path), client.identity().mesh)
    done = ImportedView(applied=0, held=0)
    for page in stick.in_pages(read.items, PAGE_BYTES):
        for at in range(0, len(page), PAGE_ITEMS):
            done = _added(done, _give(client.import_stick, page[at : at + PAGE_ITEMS]))
    label = read.label
    origin = f"{path}: {label.items} items from {label.node}, written {clock(label.at_ms)}"
    show_one(given, done, lambda: _import_lines(origin, done), str(path))
    if done.refused:
        warn(" -> meshnode why of the authors, or their membership, tells more; importing again is harmless")
        return PARTIAL
    return 0


def _give(give: Callable[[list[StickItem]], ImportedView], page: Sequence[Item]) -> ImportedView:
    """Again after a rest where the node had enough for the moment."""
    items = [StickItem(item.kind, item.data) for item in page]
    done, total = give(items), ImportedView(applied=0, held=0)
    for _ in range(TRIES_MAX):
        if not any(reason in done.refused for reason in TIRED):
            break
        total = ImportedView(applied=total.applied + done.applied, held=0)
        time.sleep(AGAIN_S)
        done = give(items)
    return ImportedView(
        applied=total.applied + done.applied, held=max(0, done.held - total.applied), waits=done.waits,
        members=done.members, unknown=done.unknown, refused=done.refused,
    )  # fmt: skip


def _added(one: ImportedView, other: ImportedView) -> ImportedView:
    refused = {
        reason: one.refused.get(reason, 0) + other.refused.get(reason, 0)
        for reason in sorted({**one.refused, **other.refused})
    }
    return ImportedView(
        applied=one.applied + other.applied, held=one.held + other.held, waits=one.waits + other.waits,
        members=one.members + other.members, unknown=one.unknown + other.unknown, refused=refused,
    )  # fmt: skip


def _import_lines(origin: str, done: ImportedView) -> list[str]:
    pairs = (
        ("new", str(done.applied)),
        ("known", str(done.held)),
        ("waiting", f"{done.waits} for what they stand on" if done.waits else ""),
        ("left out", f"{done.unknown} of a later version" if done.unknown else ""),
        ("refused", ", ".join(f"{count} {reason}" for reason, count in done.refused.items())),
    )
    return [one_line(origin), *(one_line(f"{name + ':':<9} {value}") for name, value in pairs if value)]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > STICK_BYTES_MAX:
            raise StickUnreadable(
                f"{path}: a stick has at most {STICK_BYTES_MAX} bytes. Nothing was applied",
                next_step="export it in parts",
            )
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(f"{path}: no such file", next_step="meshnode sync export FILE writes one") from error


def _spare(given: Given, *, file: bool) -> None:
    """Nothing that was typed is ignored silently."""
    if file and not given.file:
        raise Invalid(f"sync {given.action}: which FILE?", next_step=command(given, f"sync {given.action} mesh.stick"))
    if not file and given.file:
        raise Invalid(f"sync {given.action}: what is {given.file}?", next_step="meshnode sync --help")
    if given.kind and given.action != "export":
        raise Invalid(f"sync {given.action} takes no --kind", next_step="meshnode sync --help")


def _sync(given: Given) -> int:
    return {"now": _now, "export": _export, "import": _import}[given.action](given)


def _options(parser: Parser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="of export and import: the stick")
    parser.add_argument(
        "--kind",
        metavar="KIND",
        default="",
        help="of export: one kind only: agent, agentcluster (cluster), node, policy",
    )
    output_option(parser)


VERBS = {"sync": Verb(options=_options, run=_sync)}
