"""Server-sent events of ``/v1/watch``: changes of documents as they come, resumable by cursor.

Each event is named by its type ("added", "changed", "deleted", "resync", "synced") and has a ``DocumentEvent`` as data
and a cursor as id: ``?after=CURSOR`` or ``Last-Event-ID`` goes on behind it, also after a restart of the node.
"""

from collections.abc import AsyncGenerator

import msgspec
from starlette.datastructures import Headers, QueryParams

from meshnode.api.errors import failure_of
from meshnode.api.events import Source, refused, yes_or_no
from meshnode.api.ports import Asker
from meshnode.model.commands import WatchDocuments
from meshnode.model.document_views import DocumentEvent, WatchView
from meshnode.model.errors import LocalError
from meshnode.model.views import Failure

WAIT_MS = 20_000
PAGE = 200
FIELDS = ("kind", "namespace", "name", "after", "follow")


def changes_of(asker: Asker) -> Source:
    async def source(query: QueryParams, headers: Headers) -> AsyncGenerator[bytes] | Failure:
        for name in query:
            if name not in FIELDS:
                return refused(name, f"unknown; there are {', '.join(FIELDS)}")
        follow = yes_or_no(query, "follow")
        if follow is None:
            return refused("follow", "must be true or false")
        after = query.get("after") or headers.get("last-event-id") or ""
        kind, namespace, name = (query.get(field, "") for field in FIELDS[:3])
        command = WatchDocuments(kind=kind, namespace=namespace, name=name, after=after, limit=PAGE)
        first = await _ask(asker, command)  # what is refused at all is refused before a stream begins
        return first if isinstance(first, Failure) else _frames(asker, command, first, follow=follow)

    return source


async def _frames(
    asker: Asker, command: WatchDocuments, view: WatchView | Failure, *, follow: bool
) -> AsyncGenerator[bytes]:
    """Until the reader goes, the node ends or, without ``follow``, there is nothing more."""
    after = command.after
    while isinstance(view, WatchView):
        for event in view.items:
            yield frame(event)
        if view.cursor != after and (not view.items or view.items[-1].cursor != view.cursor):
            yield b"id: %s\n\n" % view.cursor.encode()  # others changed: the reader's place has moved on
        after = view.cursor
        if not follow and not view.more:
            return
        wait_ms = WAIT_MS if follow and not view.more else 0
        view = await _ask(asker, msgspec.structs.replace(command, after=after, wait_ms=wait_ms))


async def _ask(asker: Asker, command: WatchDocuments) -> WatchView | Failure:
    try:
        view = await asker.ask(command)
    except LocalError as error:
        return failure_of(error)
    assert isinstance(view, WatchView | Failure)
    return view


def frame(event: DocumentEvent) -> bytes:
    """JSON has no raw line breaks, so one data line."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.cursor.encode(), event.type.encode(), msgspec.json.encode(event))
