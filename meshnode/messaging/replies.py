"""What a waiter hears: the end of its call, or an item of its stream."""

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.messaging import letters
from meshnode.messaging.calls import Call, Door, Ending, LocalAgent, Peer, Waiter
from meshnode.messaging.messages import CallEnded, CallItem
from meshnode.model.ids import NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import ResultHeader


def refusal(waiter: Waiter, me: NodeId, ending: Ending) -> Effect:
    """The end of a call that never was in the table."""
    retry_after_ms = ending.retry_after_ms
    match waiter:
        case Door(ticket):
            return CallEnded(
                ticket, b"", ending.code, ending.message, ending.payload, me, "", 0, 0,
                retry_after_ms=retry_after_ms,
            )  # fmt: skip
        case LocalAgent(conn, call_id):
            header = ResultHeader(call_id, ending.code, ending.message, retry_after_ms=retry_after_ms)
            return ToAgent(conn, (letters.result_frame(header, ending.payload),))
        case Peer(node, call_id):
            header = ResultHeader(call_id, ending.code, ending.message, retry_after_ms=retry_after_ms)
            return Post(node, (letters.result_frame(header, ending.payload),))


def answer(call: Call, ending: Ending, now_us: int) -> Effect:
    waiter, took = call.waiter, now_us - call.started_us
    if isinstance(waiter, Door):
        return CallEnded(
            waiter.ticket, call.call_id, ending.code, ending.message, ending.payload, call.node, call.instance, took,
            call.attempts, call.durability, call.version, call.replayed, ending.retry_after_ms,
        )  # fmt: skip
    header = ResultHeader(
        waiter.call_id, ending.code, ending.message, call.instance, took, call.durability, call.version, call.replayed,
        ending.retry_after_ms,
    )  # fmt: skip
    frames = (letters.result_frame(header, ending.payload),)
    return ToAgent(waiter.conn, frames) if isinstance(waiter, LocalAgent) else Post(waiter.node, frames)


def item(call: Call, number: int, payload: bytes) -> Effect:
    """One item of a stream, passed on."""
    match call.waiter:
        case Door(ticket):
            return CallItem(ticket, number, payload)
        case LocalAgent(conn, call_id):
            return ToAgent(conn, (letters.chunk_frame(call_id, number, payload),))
        case Peer(node, call_id):
            return Post(node, (letters.chunk_frame(call_id, number, payload),))
