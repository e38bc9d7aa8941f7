"""Changes of documents for agents: ``async for change in watch("AgentCluster")``.

They come from the local API of the agent's own node, whose socket lies beside the bus the agent is connected by.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

from meshnode.client.client import Client
from meshnode.client.watching import followed
from meshnode.model.document_views import DocumentEvent
from meshnode.model.errors import LocalError, Offline

AHEAD_MAX = 64  # events that the reader has not taken yet: then the node is asked no further
API_SOCKET = "api.sock"


async def watch(
    kind: str = "", namespace: str = "", name: str = "", *, after: str = "", directory: str | None = None
) -> AsyncGenerator[DocumentEvent]:
    """Documents as they are, then every change, once, in causal order, over restarts of the node's daemon.

    Args:
        kind, namespace, name: which documents; "" = all.
        after: go on behind the ``cursor`` of an event that was seen before.
        directory: of the node; None = the node that runs this agent, outside of one as the command line chooses.

    Yields:
        ``DocumentEvent``: ``type`` is "added", "changed", "deleted", "resync" (forget what you hold, all follow) or
        "synced" (that was all of them); ``document`` as it reads now, ``fields`` what was written, ``by`` whom.

    Raises:
        LocalError: the node refuses, or stays away for a minute.
    """
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[DocumentEvent | LocalError] = asyncio.Queue()
    room, gone = threading.Semaphore(AHEAD_MAX), threading.Event()
    client = _client(directory)

    def read() -> None:
        last: LocalError = Offline("the watch has ended")
        try:
            for event in followed(client, kind, namespace, name, after=after, gone=gone.is_set):
                room.acquire()
                if gone.is_set():
                    return
                loop.call_soon_threadsafe(heard.put_nowait, event)
        except LocalError as error:
            last = error
        if not gone.is_set():
            loop.call_soon_threadsafe(heard.put_nowait, last)

    threading.Thread(target=read, name="watch", daemon=True).start()
    try:
        while isinstance(event := await heard.get(), DocumentEvent):
            room.release()
            yield event
        raise event
    finally:
        gone.set()
        room.release()


def _client(directory: str | None) -> Client:
    bus = os.environ.get("MESHNODE_BUS", "")
    if directory is not None or not bus:
        return Client(directory)
    return Client(socket=str(Path(bus.partition("://")[2]).with_name(API_SOCKET)))
