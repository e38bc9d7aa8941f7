"""Server-sent events of ``/v1/subscribe``: events of topics as they come, from now on.

``?topic=topic/a/*``, any number of times. First comes "listening". Each is named "event", has a ``TopicEventView`` as
data and its number in this stream as id; numbers that are left out were lost, and "dropped" says how many. Nothing can
be asked for again.
"""

from collections.abc import AsyncGenerator

import msgspec
from starlette.datastructures import Headers, QueryParams

from meshnode.api.errors import failure_of
from meshnode.api.events import Source, refused
from meshnode.api.ports import LISTENING, Asker, TopicTold
from meshnode.model.errors import LocalError, RemoteError
from meshnode.model.views import Failure
from meshnode.wire.events import checked, is_filter

FIELD = "topic"


def topics_of(asker: Asker) -> Source:
    async def source(query: QueryParams, _headers: Headers) -> AsyncGenerator[bytes] | Failure:
        for name in query:
            if name != FIELD:
                return refused(name, f"unknown; there is {FIELD}")
        filters = tuple(query.getlist(FIELD))
        if not filters:
            return refused(FIELD, "what to listen to, e.g. topic/line/*")
        for name in filters:
            if not is_filter(name):
                return refused(FIELD, f"{name[:80]!r} is neither topic/a/b nor topic/a/*")
        try:
            checked(filters)
        except RemoteError as error:
            return refused(FIELD, str(error))
        return _frames(asker.subscribe(filters))

    return source


async def _frames(heard: AsyncGenerator[TopicTold]) -> AsyncGenerator[bytes]:
    try:
        async for told in heard:
            yield frame(told)
    except LocalError as error:
        yield b"event: failure\ndata: %s\n\n" % msgspec.json.encode(failure_of(error))
    finally:
        await heard.aclose()


def frame(told: TopicTold) -> bytes:
    """JSON has no raw line breaks, so one data line."""
    if told is LISTENING:
        return b"event: listening\ndata: {}\n\n"
    lost = b'event: dropped\ndata: {"dropped": %d}\n\n' % told.dropped if told.dropped else b""
    return lost + b"id: %d\nevent: event\ndata: %s\n\n" % (told.number, told.json)
