"""What a node's public stream of events says about the others, as the harness receives it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from meshnode.client.locate import socket_of
from meshnode.gossip.messages import MemberState
from meshnode.model.views import EventView

LINE_BYTES_MAX = 256 * 1024
GONE = (MemberState.DOWN.value, MemberState.UNREACHABLE.value)  # a verdict, not a doubt
STATES = frozenset(state.value for state in MemberState)
LOST = "link lost"


class Told(NamedTuple):
    """``at_s``: on the one CLOCK_MONOTONIC, when the harness read it; in ``Fleet.held`` when the node held it.
    ``state``: of the subject, or ``LOST``."""

    at_s: float
    observer: int
    subject: int
    state: str


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def asked(directory: Path) -> Stream:
    """One node's events: kept ones first, then as they come."""
    reader, writer = await asyncio.open_unix_connection(str(socket_of(directory)), limit=LINE_BYTES_MAX)
    writer.write(b"GET /v1/events?after=0&follow=true HTTP/1.1\r\nhost: node\r\n\r\n")
    return reader, writer


async def follow(stream: Stream, observer: int, numbers: dict[str, int], hear: Callable[[Told], None]) -> None:
    """Read one node's stream until it ends."""
    reader, writer = stream
    try:
        while line := await reader.readline():
            at_s = time.monotonic()
            if line.startswith(b"data: "):
                event = msgspec.json.decode(line[6:], type=EventView)
                word = event.text.partition(":")[0]
                subject = numbers.get(event.subject.removeprefix("node/"))
                if subject is not None and (word in STATES or word == LOST):
                    hear(Told(at_s, observer, subject, word))
    finally:
        writer.close()
