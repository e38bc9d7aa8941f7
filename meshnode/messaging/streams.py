"""Streams with credit: the reader says how many items it takes, nobody sends more."""

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.messaging import letters
from meshnode.messaging.calls import NO_CONN, Call, Ending, Phase
from meshnode.model.ids import NodeId
from meshnode.wire.bus import ToAgent


def fault(call: Call, number: int, payload: bytes) -> Ending | None:
    """What is wrong with an item of its callee, ``None`` if it may be passed on."""
    if number != call.items:
        return Ending("stream-order", f"item {number} came where item {call.items} was due")
    if number >= call.granted:
        return Ending("stream-overrun", f"item {number} was sent, and {call.granted} were granted")
    if len(payload) > letters.RESULT_BYTES_MAX:
        return Ending(
            "result-too-long", f"item {number} is {len(payload)} bytes, the limit is {letters.RESULT_BYTES_MAX}"
        )
    return None


def grant(call: Call, total: int, me: NodeId) -> list[Effect]:
    """The reader takes items below ``total``: tell whoever works on it. A total only grows."""
    if not call.header.stream or total <= call.granted:
        return []
    call.granted = min(total, letters.NUMBER_MAX)
    if call.phase is not Phase.RUNNING:
        return []  # it is told with the call
    frame = letters.grant_frame(call.call_id, call.granted)
    if call.node != me:
        return [Post(call.node, (frame,))]
    return [ToAgent(call.conn, (frame,))] if call.conn != NO_CONN else []
