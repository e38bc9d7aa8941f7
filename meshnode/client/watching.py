"""Watches documents through restarts of the node: one stream of events, gone on with behind the last cursor."""

import time
from collections.abc import Callable, Iterator

from meshnode.client.client import Client
from meshnode.model.commands import WatchDocuments
from meshnode.model.document_views import DocumentEvent
from meshnode.model.errors import LocalError, Offline, TimedOut

AGAIN_S = 0.25
WAIT_MS = 5_000  # of one question: whoever has gone is noticed by then


def followed(
    client: Client,
    kind: str = "",
    namespace: str = "",
    name: str = "",
    *,
    after: str = "",
    patience_s: float = 60.0,
    gone: Callable[[], bool] = lambda: False,
) -> Iterator[DocumentEvent]:
    """Documents as they are, then every change once, in causal order, over any number of daemons of this node.

    Where the node cannot go on from the last cursor it says "resync": all documents follow as they are.

    Args:
        after: go on behind this cursor.
        patience_s: how long the node may be away.
        gone: asked every few seconds; once it is true, this ends.

    Raises:
        LocalError: the node refuses, or has not come back in time.
    """
    cursor, heard_s = after, time.monotonic()
    while not gone():
        wanted = WatchDocuments(kind=kind, namespace=namespace, name=name, after=cursor, wait_ms=WAIT_MS)
        try:
            view = client.changes(wanted)
        except (Offline, TimedOut) as error:
            _patient(error, heard_s, patience_s)
            time.sleep(AGAIN_S)
            continue
        heard_s = time.monotonic()
        yield from view.items
        cursor = view.cursor


def _patient(error: LocalError, heard_s: float, patience_s: float) -> None:
    """Raises the error when nothing was heard for so long."""
    if time.monotonic() - heard_s >= patience_s:
        raise error
