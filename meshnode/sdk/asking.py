"""Calls that this agent makes: waits for their answers and for the items of streams."""

import asyncio
import contextvars
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.model import patience
from meshnode.sdk.errors import CallFailed, DeadlinePassed, Refused, Unavailable, failure_of
from meshnode.sdk.streams import INITIAL_GRANT, WINDOW_BYTES, Answer, Inbox
from meshnode.sdk.wheel import Wheel
from meshnode.wire import blobs, plain
from meshnode.wire.calls import CallHeader, CancelHeader, ChunkHeader, GrantHeader, ResultHeader, encoded_call
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind

PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX - 64
# Own calls in flight at once; one more fails.
ASKING_MAX = 4096
# Skills whose headers are remembered, and the length of their names.
WAYS_MAX, WAY_CHARS_MAX = 256, 60
# Skills are remembered whose arguments have to be JSON.
TEXTUAL_MAX = 256
# The daemon ends a call at its deadline; this much later it is taken to hang.
_DAEMON_LATE_S = 1.0

_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_base64 = msgspec.json.Decoder(bytes)

# When the call that is being served must be answered, on the loop's clock: calls made for it end by then too.
serving_due_s: contextvars.ContextVar[float] = contextvars.ContextVar("serving_due_s", default=float("inf"))

Head = plain.Way | CallHeader  # what is known of a call's header before it has an id


class Asking:
    """``send`` returns False if there is no daemon to send to."""

    def __init__(self, send: Callable[..., bool], wheel: Wheel) -> None:
        self._send, self._wheel = send, wheel
        self._loop = asyncio.get_running_loop()
        self._answers: dict[bytes, asyncio.Future[Answer]] = {}
        self._inboxes: dict[bytes, Inbox] = {}
        # A daemon may still work on calls of an earlier process: ids never repeat.
        self._life, self._count = secrets.token_bytes(8), 0
        self._ways: dict[tuple[str, bool, bool, bool], plain.Way] = {}
        self._textual: dict[str, None] = {}

    async def call(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str = "",
        key: str = "",
        *,
        batch: bool = False,
        as_bytes: bool = False,
    ) -> Any:  # noqa: ANN401 - JSON
        """One that is shed waits as long as it is told and is tried again, while its deadline allows it. Bytes among
        its arguments go as they are; where that is refused, before anything has run, as base64."""
        due_s = min(self._loop.time() + deadline_s, serving_due_s.get())
        payload = blobs.packed(arguments) if skill not in self._textual else None
        raw, tries = payload is not None, 1
        while True:
            try:
                way = None if session or key else self._ways.get((skill, batch, raw, as_bytes))
                head = way or self._head(skill, session, key, batch=batch, raw=raw, as_bytes=as_bytes)
                data = payload if raw and payload is not None else _json(arguments)
                result, is_raw = await self._try(skill, head, data, due_s)
                if payload is not None and not raw:
                    self._refuses_raw(skill)
                if as_bytes:
                    return result if is_raw else value_of(skill, result, as_bytes=True)
                return msgspec.json.decode(result) if result else None
            except CallFailed as error:
                if raw and isinstance(error, Refused):
                    raw = False
                    continue
                left_s = due_s - self._loop.time()
                wait_s = patience.wait_s(error.retry_after_ms, tries, left_s, secrets.randbelow(100) / 100)
                if error.code != patience.SHED or wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
            tries += 1

    def _refuses_raw(self, skill: str) -> None:
        """Somebody on the way knows of JSON alone, or the skill's own types do."""
        if len(self._textual) >= TEXTUAL_MAX:
            self._textual.clear()
        self._textual[skill] = None

    async def _try(self, skill: str, head: Head, payload: bytes, due_s: float) -> Answer:
        answer: asyncio.Future[Answer] = self._loop.create_future()
        call_id = self._ask(skill, head, payload, due_s)
        self._answers[call_id] = answer
        late = self._wheel.set(call_id, due_s + _DAEMON_LATE_S, functools.partial(self._late, call_id, skill))
        try:
            return await answer
        finally:
            self._wheel.clear(call_id, late)
            del self._answers[call_id]
            if answer.cancelled():
                self._withdraw(call_id)

    async def stream(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str = "",
        *,
        as_bytes: bool = False,
    ) -> AsyncIterator[Any]:
        inbox = Inbox(as_bytes=as_bytes)
        due_s = min(self._loop.time() + deadline_s, serving_due_s.get())
        head = CallHeader(b"", skill, 0, session=session, stream=True, as_bytes=as_bytes)
        call_id = self._ask(skill, head, _json(arguments), due_s)
        self._inboxes[call_id] = inbox
        try:
            while True:
                item = inbox.next()
                if item is None:
                    async with asyncio.timeout_at(due_s + _DAEMON_LATE_S):
                        item = await inbox.take()
                if item is None:
                    break
                granted = inbox.grant()
                if granted is not None:
                    self._send(_grant(call_id, *granted, raw=as_bytes))
                yield item if inbox.raw else value_of(skill, item, as_bytes=as_bytes)
            result, is_raw = inbox.end.result()
            if result or is_raw:  # of a skill that does not stream: its one result
                yield result if is_raw else value_of(skill, result, as_bytes=as_bytes)
        except TimeoutError as error:
            raise DeadlinePassed("timeout", f"{skill}: the daemon did not answer in time") from error
        finally:
            del self._inboxes[call_id]
            if not inbox.end.done():
                self._withdraw(call_id)

    def answered(self, header: ResultHeader, payload: bytes) -> None:
        inbox = self._inboxes.get(header.call_id)
        answer = self._answers.get(header.call_id) if inbox is None else inbox.end
        if answer is not None and not answer.done():
            if header.code:
                answer.set_exception(failure_of(header.code, header.message, header.retry_after_ms))
                answer.exception()  # seen: a reader that left early never looks
            else:
                answer.set_result((payload, header.raw))
        if inbox is not None:
            inbox.wake()

    def _late(self, call_id: bytes, skill: str) -> None:
        answer = self._answers.get(call_id)
        if answer is not None and not answer.done():
            answer.set_exception(DeadlinePassed("timeout", f"{skill}: the daemon did not answer in time"))
            self._withdraw(call_id)

    def item(self, header: ChunkHeader, payload: bytes) -> None:
        inbox = self._inboxes.get(header.call_id)
        if inbox is None or inbox.end.done() or inbox.add_all(header, payload):
            return
        inbox.end.set_exception(CallFailed("stream-broken", f"item {header.number} was not to come"))
        inbox.end.exception()
        inbox.wake()
        self._withdraw(header.call_id)

    def lost(self) -> None:
        """The daemon is gone, and with it every answer."""
        waiting = [*self._answers.values(), *(inbox.end for inbox in self._inboxes.values())]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(Unavailable("unavailable", "the daemon went away during the call"))
                answer.exception()
        for inbox in self._inboxes.values():
            inbox.wake()

    def _ask(self, skill: str, head: Head, payload: bytes, due_s: float) -> bytes:
        """The id of the call that is under way now."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise CallFailed("invalid", f"{skill}: the arguments are over {PAYLOAD_BYTES_MAX} bytes")
        if len(self._answers) + len(self._inboxes) >= ASKING_MAX:
            raise Unavailable("overloaded", f"{skill}: this agent waits for {ASKING_MAX} calls already")
        left_ms = int((due_s - self._loop.time()) * 1000)
        if left_ms <= 0:
            raise DeadlinePassed("timeout", f"{skill}: the deadline had passed before the call")
        self._count += 1
        call_id = self._life + self._count.to_bytes(8)
        grants: tuple[Frame, ...] = ()
        if isinstance(head, plain.Way):
            encoded = plain.call(call_id, head, plain.number(left_ms))
        else:
            encoded = encoded_call(msgspec.structs.replace(head, call_id=call_id, deadline_ms=left_ms))
            if len(encoded) > HEADER_BYTES_MAX:
                words = f"{skill[:40]}: its name, session and key are over {HEADER_BYTES_MAX} bytes"
                raise CallFailed("invalid", words)
            if head.stream:  # a maker that counts bytes keeps to them from its first item on
                grants = (_grant(call_id, INITIAL_GRANT, WINDOW_BYTES, raw=head.as_bytes),)
        if not self._send(Frame(Kind.CALL, header=encoded, payload=payload), *grants):
            raise Unavailable("unavailable", f"{skill}: there is no daemon now, or this agent is stopping")
        return call_id

    def _head(self, skill: str, session: str, key: str, *, batch: bool, raw: bool, as_bytes: bool) -> Head:
        asked = CallHeader(b"", skill, 0, idempotency_key=key, session=session, batch=batch, raw=raw, as_bytes=as_bytes)
        if session or key or len(skill) > WAY_CHARS_MAX:
            return asked
        if len(self._ways) >= WAYS_MAX:
            self._ways.clear()
        way = self._ways[skill, batch, raw, as_bytes] = plain.split(asked)
        return way

    def _withdraw(self, call_id: bytes) -> None:
        self._send(Frame(Kind.CANCEL, header=_encode(CancelHeader(call_id, "cancelled by the caller"))))


def _grant(call_id: bytes, total: int, total_bytes: int, *, raw: bool) -> Frame:
    return Frame(Kind.GRANT, header=_encode(GrantHeader(call_id, total, total_bytes, raw)))


def value_of(skill: str, data: bytes, *, as_bytes: bool) -> Any:  # noqa: ANN401 - JSON
    """Of JSON: bytes came as base64 where somebody on the way does not know of them; what is none is refused."""
    if not as_bytes:
        return msgspec.json.decode(data)
    try:
        return _base64.decode(data)
    except JUNK as error:
        raise CallFailed("not-bytes", f"{skill} was read as bytes, and gave something else: {error}") from error
