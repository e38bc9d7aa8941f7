"""What a waiter hears: the end of its call, or an item of its stream."""

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.messaging import letters
from meshnode.messaging.calls import Call, Door, Ending, LocalAgent, Peer, Waiter
from meshnode.messaging.messages import CallEnded, CallItem
from meshnode.model.ids import NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import ChunkHeader, ResultHeader
from meshnode.wire.frame import Frame


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


def fault(call: Call, header: ResultHeader, payload: bytes) -> Ending | None:
    """What is wrong with a result of its callee, ``None`` if it may be passed on."""
    if header.raw and (not call.header.as_bytes or call.header.idempotency_key):
        return Ending("result-raw", "the result came as bytes, and whoever called did not say that it takes them")
    if len(payload) > letters.RESULT_BYTES_MAX:
        words = f"the result is {len(payload)} bytes, the limit is {letters.RESULT_BYTES_MAX}"
        return Ending("result-too-long", words)
    return None


def answer(call: Call, ending: Ending, now_us: int) -> Effect:
    waiter, took = call.waiter, now_us - call.started_us
    if isinstance(waiter, Door):
        return CallEnded(
            waiter.ticket, call.call_id, ending.code, ending.message, ending.payload, call.node, call.instance, took,
            call.attempts, call.durability, call.version, call.replayed, ending.retry_after_ms,
        )  # fmt: skip
    header = ResultHeader(
        waiter.call_id, ending.code, ending.message, call.instance, took, call.durability, call.version, call.replayed,
        ending.retry_after_ms, ending.raw,
    )  # fmt: skip
    frames = (letters.result_frame(header, ending.payload),)
    return ToAgent(waiter.conn, frames) if isinstance(waiter, LocalAgent) else Post(waiter.node, frames)


def items(call: Call, header: ChunkHeader, payload: bytes) -> list[Effect]:
    """One item of a stream, or several in one frame, passed on."""
    match call.waiter:
        case Door(ticket):
            return _to_door(ticket, header, payload)
        case LocalAgent(conn, call_id):
            return [ToAgent(conn, (chunk(call_id, header, payload),))]
        case Peer(node, call_id):
            return [Post(node, (chunk(call_id, header, payload),))]


def chunk(call_id: bytes, header: ChunkHeader, payload: bytes) -> Frame:
    """The same items for a waiter that knows the call under its own id."""
    return letters.chunk_frame(
        call_id, header.number, payload, metered=header.metered, lengths=header.lengths, raw=header.raw
    )


def _to_door(ticket: int, header: ChunkHeader, payload: bytes) -> list[Effect]:
    out: list[Effect] = []
    at = 0
    for number, length in enumerate(header.lengths or (len(payload),), start=header.number):
        out.append(CallItem(ticket, number, payload[at : at + length]))
        at += length
    return out
