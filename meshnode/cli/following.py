"""``get KIND -w`` of documents: all of them once, then every change as it comes, over restarts of the node."""

import sys

import msgspec

from meshnode.cli import rows
from meshnode.cli.output import show_list
from meshnode.cli.parser import Given, client_of, warn
from meshnode.cli.words import clock, one_line
from meshnode.client.watching import followed
from meshnode.model.document_views import DocumentEvent, DocumentView

RESYNC, SYNCED = "resync", "synced"


def follow(given: Given, kind: str, namespace: str, name: str) -> int:
    """Goes on until Ctrl-C, or until the node stays away."""
    whole: list[DocumentView] | None = []
    for event in followed(client_of(given), kind, namespace, name):
        if event.type == RESYNC:
            whole = []
            warn("the node cannot tell what changed meanwhile; all documents as they are:")
        elif event.type == SYNCED:
            _all(given, whole or [])
            whole = None
        elif whole is not None and event.document is not None:
            whole.append(event.document)
        else:
            _one(given, event)
        sys.stdout.flush()  # whoever reads through a pipe follows as well
    return 0


def _all(given: Given, found: list[DocumentView]) -> None:
    found.sort(key=lambda document: (document.kind, document.namespace, document.name))
    if given.output in ("json", "jsonl"):
        for document in found:
            print(msgspec.json.encode({"type": "added", "document": document}).decode())
        return
    show_list(given, found, rows.DOCUMENTS, rows.document_name, empty="no documents of that kind")


def _one(given: Given, event: DocumentEvent) -> None:
    subject = f"{event.kind.lower()}/{event.namespace}/{event.name}"
    if given.output in ("json", "jsonl", "yaml"):
        print(msgspec.json.encode(event).decode())
    elif given.output == "name":
        print(f"{event.type} {subject}")
    else:
        wrote = f": {', '.join(event.fields)}" if event.fields else ""
        print(one_line(f"{clock(event.at_ms)}  {event.type:<7}  {subject}  by {event.by}{wrote}"))
