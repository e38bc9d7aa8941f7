"""state verify: the documents of this node, made once more from its journal, and whether the running node has the same.

It only reads, also while the node runs or when it cannot start. What is damaged is named; what to do stands beside it.
"""

from pathlib import Path

import msgspec

from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, client_of, command, directory_of, warn
from meshnode.cli.words import one_line, size
from meshnode.client.locate import data_dir
from meshnode.model.errors import Invalid, LocalError, NotFound

FAILED, PARTIAL = 1, 5
JOURNAL = "journal"
SHOWN_MAX = 16


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """For ``-o json``. ``running_root``: what the running node says, "" if none runs; ``torn``: the file ends within a
    record, which a power cut leaves or a node that writes at this moment."""

    documents: int
    roots: int
    envelopes: int
    earlier: int
    waiting: int
    documents_root: str
    running_root: str
    journal_bytes: int
    unreadable: int
    torn: bool
    damaged_count: int
    damaged: list[str]

    @property
    def is_whole(self) -> bool:
        return not (self.damaged_count or self.unreadable or self.waiting)

    @property
    def is_same(self) -> bool:
        return self.running_root in ("", self.documents_root)


def verify(given: Given) -> int:
    """0: whole, and the same as the running node has; 5: whole, but the node has written since; 1: damaged."""
    if given.unit or given.versions:
        raise Invalid(f"state verify: what is {given.unit}?", next_step="meshnode state --help")
    view = verified(data_dir(directory_of(given)) / JOURNAL, _running_root(given))
    show_one(given, view, lambda: _lines(view), "documents")
    if not view.is_whole:
        again = command(given, "down, then up, then sync now")
        warn(f" -> a start leaves damaged records out, and peers bring back what was in them: {again}")
        return FAILED
    if not view.is_same:
        warn(" -> the node has written since the journal was read, or holds what the disk has not taken: verify again")
        return PARTIAL
    return 0


def verified(path: Path, running_root: str) -> Verified:
    """Raises ``NotFound`` or ``JournalUnreadable``."""
    from meshnode.crdt.audit import Auditor
    from meshnode.kernel.journal import recover
    from meshnode.kernel.ledger import live

    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}", next_step="name the directory of a node with -C DIR") from error
    found = recover(data, str(path))
    audit = Auditor().audit(live(found.records))
    return Verified(
        documents=audit.documents, roots=audit.roots, envelopes=audit.envelopes, earlier=audit.earlier,
        waiting=audit.waiting, documents_root=audit.root.hex(), running_root=running_root, journal_bytes=len(data),
        unreadable=len(found.quarantined), torn=bool(found.torn and not found.spare), damaged_count=audit.damaged_count,
        damaged=list(audit.damaged),
    )  # fmt: skip


def _running_root(given: Given) -> str:
    try:
        return client_of(given).status().documents_root
    except LocalError:
        return ""


def _lines(view: Verified) -> list[str]:
    running = "no node runs" if not view.running_root else "the same" if view.is_same else "another"
    torn = ", ends within a record" if view.torn else ""
    pairs = [
        ("journal", f"{size(view.journal_bytes)}, {view.unreadable} unreadable pieces{torn}"),
        ("documents", f"{view.documents} from {view.roots} roots and {view.envelopes} writes"),
        ("root", f"{view.documents_root[:16]}; the running node has {running}" if view.running_root else
                 f"{view.documents_root[:16]}; {running}"),
        ("earlier", f"{view.earlier} writes of generations that are over, to be forgotten" if view.earlier else ""),
        ("waiting", f"{view.waiting} writes stand on what is not here" if view.waiting else ""),
        ("damaged", f"{view.damaged_count} records" if view.damaged_count else "nothing"),
    ]  # fmt: skip
    lines = [one_line(f"{name + ':':<10} {value}") for name, value in pairs if value]
    return [*lines, *(one_line(f"  {each}") for each in view.damaged[:SHOWN_MAX])]
