"""Streams with credit: the reader says how many items it takes, and how many bytes of them; nobody sends more.

Items of a stream whose reader is an agent or a peer are passed on by ``Flows``, which looks at what differs from one to
the next only; whatever is not as it should be is left to the switch, which says what is wrong.
"""

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.messaging import letters, replies
from meshnode.messaging.calls import NO_CONN, Call, Calls, Door, Ending, LocalAgent, Phase
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import ChunkHeader, GrantHeader
from meshnode.wire.frame import Frame

_ID_AT, _ID_END = 3, 19  # where the id stands in a header as it is mostly written


def fault(call: Call, header: ChunkHeader, payload: bytes) -> Ending | None:
    """What is wrong with an item of its callee, ``None`` if it may be passed on."""
    number = header.number
    if header.raw and not call.raw:
        return Ending("stream-raw", f"item {number} came as bytes, and its reader did not say that it takes them")
    if number != call.items:
        return Ending("stream-order", f"item {number} came where item {call.items} was due")
    last, before_bytes = number, call.item_bytes
    if header.lengths:
        last, before_bytes = last + len(header.lengths) - 1, before_bytes + len(payload) - header.lengths[-1]
    if last >= call.granted:
        return Ending("stream-overrun", f"item {last} was sent, and {call.granted} were granted")
    if (header.metered or header.lengths) and before_bytes >= call.granted_bytes:
        words = f"item {last} was sent behind {before_bytes} bytes, and {call.granted_bytes} were granted"
        return Ending("stream-overdrawn", words)
    if len(payload) > letters.RESULT_BYTES_MAX:
        return Ending(
            "result-too-long", f"item {number} is {len(payload)} bytes, the limit is {letters.RESULT_BYTES_MAX}"
        )
    return None


def passed(call: Call, header: ChunkHeader, payload: bytes) -> None:
    """What came goes to its reader."""
    call.items += len(header.lengths) or 1
    call.item_bytes += len(payload)


def grant(call: Call, header: GrantHeader, me: NodeId) -> list[Effect]:
    """What the reader takes now: tell whoever works on it. It only grows."""
    total, total_bytes, raw = header.total, header.total_bytes, header.raw and not call.raw
    if not call.header.stream or (total <= call.granted and total_bytes <= call.granted_bytes and not raw):
        return []
    call.granted = max(call.granted, min(total, letters.NUMBER_MAX))
    call.granted_bytes = max(call.granted_bytes, min(total_bytes, letters.NUMBER_MAX))
    call.raw = call.raw or raw
    if call.phase is not Phase.RUNNING:
        return []  # it is told with the call
    if call.node != me:
        return [Post(call.node, (told(call),))]
    return [ToAgent(call.conn, (told(call),))] if call.conn != NO_CONN else []


def told(call: Call) -> Frame:
    """What its reader takes, for whoever works on it."""
    return letters.grant_frame(call.call_id, call.granted, call.granted_bytes, raw=call.raw)


class Flows:
    """Items of streams under way. Equal in what comes out to what the switch does with them one by one."""

    def __init__(self, calls: Calls, me: NodeId) -> None:
        self._rows, self._me = calls.rows, me

    def item(self, source: NodeId | AgentConn, frame: Frame) -> tuple[NodeId | AgentConn, Frame] | None:
        """What goes to the reader; ``None``, and nothing is changed, if the switch has to look at it."""
        payload = frame.payload
        call = self._rows.get(frame.header[_ID_AT:_ID_END])
        if not isinstance(call, Call) or call.phase is not Phase.RUNNING or not call.header.stream:
            return None
        here = call.node == self._me and call.conn == source if isinstance(source, int) else call.node == source
        waiter = call.waiter
        if not here or isinstance(waiter, Door):
            return None
        try:
            header = letters.read_chunk(frame)
        except RemoteError:
            return None
        if header.call_id != call.call_id or fault(call, header, payload) is not None:
            return None
        passed(call, header, payload)
        receiver = waiter.conn if isinstance(waiter, LocalAgent) else waiter.node
        return receiver, replies.chunk(waiter.call_id, header, payload)
