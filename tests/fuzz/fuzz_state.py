"""Fuzz target: what a local process can send to its daemon: registrations, calls, streams, changes of state, events.

The first byte chooses where the bytes enter:

    0 the stream of a welcomed agent, cut into pieces in several ways   1 the header of a registration
    2 its payload   3 one frame, whole: kind, u16 header length, header, payload   4 the changes of a STATE   5 a key
    6 messages with bounds, from the first word on: u16 length, bytes   7 a body of HTTP: which one, its JSON

Properties beside "no exception but RemoteError": how a stream is cut never changes what goes up, and never parts a
STATE from the RESULT of its call; changes that are accepted read the same when read again.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.host.bus_talk import Phase, Talk, read_registration
from meshnode.messaging import letters
from meshnode.model.errors import RemoteError
from meshnode.wire import events, http, state
from meshnode.wire.bus import FROM_AGENT
from meshnode.wire.calls import RegisterHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from tests.fuzz.fuzz_peers import cut_as_read

CORPUS = Path(__file__).parent / "corpus" / "state"
REGISTER = state.encode(RegisterHeader("fuzz", "fuzz/0", "ticket", 1))
READERS: dict[Kind, Callable[[Frame], object]] = {
    Kind.CALL: letters.read_call,
    Kind.RESULT: letters.read_result,
    Kind.CANCEL: letters.read_cancel,
    Kind.CHUNK: letters.read_chunk,
    Kind.GRANT: letters.read_grant,
    Kind.STATE: letters.read_state,
    Kind.MERGED: letters.read_merged,
    Kind.EMIT: letters.read_emit,
    Kind.EVENT: events.read_event,
    Kind.SUBSCRIBE: events.read_subscribe,
}
assert tuple(READERS) == FROM_AGENT
Said = (
    http.Registration | http.Answer | http.Fail | http.Item | http.Ask | http.Tell | http.Listen | http.Put
)  # fmt: skip
BODIES: tuple[type[Said], ...] = (
    http.Registration, http.Answer, http.Fail, http.Item, http.Ask, http.Tell, http.Listen, http.Put,
)  # fmt: skip


def one_input(data: bytes) -> None:
    where, rest = (data[0] % 8, data[1:]) if data else (0, b"")
    match where:
        case 0:
            _stream(rest)
        case 1:
            read_registration(Frame(Kind.REGISTER, header=rest, payload=b"[]"))
        case 2:
            read_registration(Frame(Kind.REGISTER, header=REGISTER, payload=rest))
        case 3:
            _frame(rest)
        case 4:
            _changes(rest)
        case 5:
            _key(rest.decode("utf-8", "replace"))
        case 6:
            _messages(rest)
        case _:
            _http(rest)


def _messages(data: bytes) -> None:
    """As over ZeroMQ, where nothing is cut: every message is whole frames, and the first one is the registration."""
    talk = Talk()
    while data:
        end = 2 + int.from_bytes(data[:2])
        message, data = data[2:end], data[end:]
        frames = talk.hear_message(memoryview(message))
        assert not talk.cut or talk.holds
        if talk.phase is Phase.NEW:
            talk.register(frames)
            talk.phase = Phase.WELCOME
        else:
            for frame in talk.take(frames)[0]:
                _believe(frame)


def _http(data: bytes) -> None:
    """What the body becomes is read as any frame of an agent."""
    body_type = BODIES[data[0] % len(BODIES)] if data else http.Ask
    try:
        said = msgspec.json.decode(data[1:], type=body_type)
    except (ValueError, RecursionError):  # as the API answers it
        raise RemoteError("http-body") from None
    for frame in _said(said):
        _believe(frame)


def _said(said: Said) -> Iterator[Frame]:
    call_id = bytes(16)
    match said:
        case http.Registration():
            read_registration(http.register_frame(said, "fuzz", 1))
        case http.Answer(_, result, values, deleted):
            yield http.state_frame(call_id, 1, 0, http.changes_of(values, deleted))
            yield http.result_frame(call_id, result)
        case http.Fail(_, message, code):
            yield http.failure_frame(call_id, http.OWN + code, message)
        case http.Item(_, item):
            yield http.item_frame(call_id, 0, item)
        case http.Ask():
            yield http.ask_frame(call_id, said)
        case http.Tell():
            yield http.tell_frame(said)
        case http.Listen(topics):
            yield http.listen_frame(tuple(topics))
        case http.Put(values, deleted):
            yield http.state_frame(b"", 1, 0, http.changes_of(values, deleted))


def _heard(frame: Frame) -> None:
    """What an agent over HTTP is told of a frame is one event, whatever stands in it."""
    match frame.kind:
        case Kind.CALL:
            told = http.call_event(letters.read_call(frame), frame.payload)
        case Kind.EVENT:
            told = http.topic_event(events.read_event(frame), frame.payload)
        case _:
            return
    assert told.count(b"\n") == 3 and told.endswith(b"\n\n"), "two events of one"


def _stream(data: bytes) -> None:
    whole, refusal = _told(data, len(data) or 1)
    for step in (1 + len(data) // 3, max(7, len(data) // 64)):
        pieces, trouble = _told(data, step)
        if refusal or trouble:
            # Too many STATE frames may be met before their RESULT has come, or before what parts them from it.
            assert (refusal and trouble) or "bus-held" in (refusal, trouble)
            continue
        assert _joined(pieces) == _joined(whole)
        _together(data, pieces)
    if refusal:
        raise RemoteError(refusal)
    for frame in _joined(whole):
        _believe(frame)


def _told(data: bytes, step: int) -> tuple[list[list[Frame]], str]:
    """What goes up of a stream, batch by batch, and the refusal it ends with."""
    talk, batches = Talk(), list[list[Frame]]()
    talk.register([Frame(Kind.REGISTER, header=REGISTER, payload=b"[]")])
    talk.phase = Phase.WELCOME
    try:
        for at in range(0, len(data), step):
            frames = talk.hear(memoryview(data)[at : at + step])
            told, pongs = talk.take(frames) if frames else ([], [])
            assert all(pong.kind is Kind.PONG for pong in pongs)
            batches.append(told)
        if talk.holds:
            batches.append(talk.take([Frame(Kind.PONG)])[0])
    except RemoteError as error:
        return batches, error.reason
    return batches, ""


def _together(data: bytes, batches: list[list[Frame]]) -> None:
    numbers = iter([number for number, batch in enumerate(batches) for _ in batch])
    before: tuple[Frame, int] | None = None
    for frame in FrameReader().feed(data):
        number = next(numbers) if frame.kind in FROM_AGENT else -1
        if before is not None and number >= 0 and frame.kind is not Kind.STATE:
            assert number == before[1]
        before = (frame, number) if frame.kind is Kind.STATE and _of_a_call(frame) else None


def _of_a_call(frame: Frame) -> bool:
    try:
        return bool(letters.read_state(frame).call_id)
    except RemoteError:
        return False


def _joined(batches: list[list[Frame]]) -> list[Frame]:
    return [frame for batch in batches for frame in batch]


def _frame(data: bytes) -> None:
    kind = FROM_AGENT[data[0] % len(FROM_AGENT)] if data else Kind.CALL
    end = 3 + int.from_bytes(data[1:3])
    _believe(Frame(kind, header=data[3:end], payload=data[end:]))


def _believe(frame: Frame) -> None:
    """Read it as the core does."""
    cut_as_read(frame)
    READERS[frame.kind](frame)
    _heard(frame)
    if frame.kind is Kind.EVENT:
        told = events.events_in(frame)
        assert b"".join(told) == frame.payload
        assert [body for each in events.packed([frame, frame]) for body in events.events_in(each)] == told * 2
    if frame.kind in (Kind.STATE, Kind.MERGED):
        _changes(frame.payload)


def _changes(data: bytes) -> None:
    changes = state.decode_changes(data)
    assert state.decode_changes(state.encode(changes)) == changes
    for change in changes:
        _key(change.key)


def _key(text: str) -> None:
    key = state.read_key(text)
    assert state.read_key(key.text()) == key
    assert key.shown().endswith(key.name)


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the first files of the corpus were made: ``NAME, bytes``."""
    call_id = bytes(range(16))
    changes = [
        state.Change("count", state.Op.ADD, amount=3),
        state.Change("\x1d7\x1d\x1ebench\x1elast", state.Op.SET, b'{"ok": true}'),
        state.Change("old", state.Op.DELETE),
    ]
    body = state.encode(changes)
    of_call = Frame(Kind.STATE, header=state.encode(state.StateHeader(call_id, 1, 2, "key")), payload=body)
    alone = Frame(Kind.STATE, header=state.encode(state.StateHeader(b"", 2)), payload=body)
    merged = Frame(Kind.MERGED, header=state.encode(state.MergedHeader(3, 4)), payload=body)
    emit = Frame(Kind.EMIT, header=state.encode(state.EmitHeader("quality.verdict")), payload=b'{"digit": 7}')
    call = letters.call_frame(letters.CallHeader(call_id, "words.count", 1000), b"{}")
    end = letters.result_frame(letters.ResultHeader(call_id, "", "", "words/0", 12, "local", 9), b"5")
    item, grant = letters.chunk_frame(call_id, 0, b'"one"'), letters.grant_frame(call_id, 64)
    cancel = letters.cancel_frame(call_id)
    ping, pong = Frame(Kind.PING, stream=1), Frame(Kind.PONG)
    event = events.event_frame("topic/a/b", "", b'{"digit": 7}')
    listen = Frame(Kind.SUBSCRIBE, header=state.encode(events.SubscribeHeader(("topic/a/*", "topic/b"))))
    each = (call, end, cancel, item, grant, of_call, alone, merged, emit, event, listen)
    yield "empty", b""
    yield "stream-all-kinds", b"\0" + b"".join(map(encode, each))
    yield "stream-state-and-result", b"\0" + b"".join(map(encode, (ping, of_call, end, pong, of_call, pong, alone)))
    yield "stream-states-of-one-call", b"\0" + b"".join(map(encode, (of_call, of_call, end)))
    raw = letters.chunk_frame(call_id, 0, b"\xff\0\xfe", metered=True, lengths=(1, 2), raw=True)
    takes = letters.grant_frame(call_id, 64, 1 << 21, raw=True)
    yield "stream-bytes", b"\0" + b"".join(map(encode, (call, takes, raw, end)))
    yield "stream-bytes-nobody-takes", b"\0" + encode(raw)
    yield "stream-states-without-end", b"\0" + encode(Frame(Kind.STATE, header=of_call.header)) * 66
    yield "stream-of-a-daemon", b"\0" + encode(Frame(Kind.RESTORE))
    yield "stream-cut", b"\0" + encode(end)[:-1]
    yield "register", b"\1" + REGISTER
    yield (
        "register-resume",
        b"\1" + state.encode(RegisterHeader("fuzz", "fuzz/0", "ticket", 1, "1", ["*"], resume=True, merge_no=4)),
    )
    yield "register-nested-deep", b"\1" + b"\x99" + REGISTER[1:] + b"\x91" * 15_000
    yield "skills", b'\2[{"name": "fuzz.one", "input_schema": "{}", "streams": true}]'
    yield "skills-not-text", b'\2[{"name": "\xff"}]'
    yield "skills-nested-deep", b'\2[{"name": "a", "x": ' + b"[" * 20_000
    for frame in each:
        name = f"frame-{frame.kind.name.lower()}{'-alone' if frame is alone else ''}"
        yield name, _body(frame)
    yield from _junk(call)
    yield from _more(call, end)
    yield "changes", b"\4" + body


def _junk(call: Frame) -> Iterator[tuple[str, bytes]]:
    call_id = bytes(range(16))
    deep = b"\xdc\0\x20" + call.header[1:] + b"\x91" * 12_000
    yield "frame-call-nested-deep", b"\3\0" + len(deep).to_bytes(2) + deep
    yield "frame-number-huge", b"\3\3\0\x1b\x92\xc4\x10" + call_id + b"\xcf" + b"\xff" * 8
    yield "frame-listen-to-much", _body(Frame(Kind.SUBSCRIBE, header=state.encode([["topic/a"] * 65])))
    yield "frame-listen-to-no-topic", _body(Frame(Kind.SUBSCRIBE, header=state.encode([["topic/a/../b"]])))
    yield "frame-event-nested-deep", _body(Frame(Kind.EVENT, header=b"\x91" * 12_000))
    yield "frame-emit-not-text", b"\3\7\0\4\x91\xa2ab\xff"
    yield "changes-amount-huge", b"\4\x91\x94\xa1k\2\xc4\0\xcf" + b"\xff" * 8
    yield "changes-op-unknown", b"\4\x91\x94\xa1k\7\xc4\0\0"
    yield "changes-key-empty", b"\4\x91\x94\xa0\0\xc4\0\0"
    yield "changes-key-long", b"\4" + state.encode([state.Change("k" * 513, state.Op.DELETE)])
    yield "changes-key-not-text", b"\4\x91\x94\xa1\xff\0\xc4\0\0"
    yield "changes-too-many", b"\4" + state.encode([state.Change("k", state.Op.DELETE)] * 4097)
    yield "changes-nested-deep", b"\4\x91\x95\xa1k\0\xc4\0\0" + b"\x91" * 20_000
    yield "key-slot-huge", b"\5\x1d" + b"9" * 480 + b"\x1dname"
    yield "key-slot-zeros", b"\5\x1d007\x1dname"
    yield "key-slot-of-another-script", "\5\x1d\u0667\x1dname".encode()
    yield "key-session-open", b"\5\x1esession"
    yield "key-slot-after-session", b"\5\x1es\x1e\x1d7\x1dname"


def _bounded(*messages: bytes) -> bytes:
    return b"\6" + b"".join(len(message).to_bytes(2) + message for message in messages)


def _more(call: Frame, end: Frame) -> Iterator[tuple[str, bytes]]:
    """Messages and bodies."""
    register = encode(Frame(Kind.REGISTER, header=REGISTER, payload=b"[]"))
    several = events.packed([events.event_frame("topic/a", "node/n", body) for body in (b"1", b"22", b"")])[0]
    yield "frame-event-several", _body(several)
    yield "frame-event-of-wrong-lengths", _body(Frame(Kind.EVENT, header=several.header, payload=b"1"))
    yield "messages", _bounded(register, encode(call) + encode(end), encode(Frame(Kind.PING)))
    yield "messages-half", _bounded(register, encode(call)[:-1])
    yield "messages-early", _bounded(register + encode(call))
    yield "messages-unregistered", _bounded(encode(call))
    yield "messages-empty", _bounded(register, b"")
    call_id = b"0" * 32
    bodies = (
        b'{"instance": "fuzz/0", "ticket": "t", "skills": [{"name": "fuzz.one", "tags": ["a"]}]}',
        b'{"call_id": "%s", "result": [1e15], "set": {"a": 1}, "delete": ["b"]}' % call_id,
        b'{"call_id": "%s", "message": "no", "code": "bad-luck"}' % call_id,
        b'{"call_id": "%s", "item": "\\u2028\\n"}' % call_id,
        b'{"skill": "a.b", "arguments": {"x": "\\n"}, "deadline_s": 0.5, "key": "k", "session": "s"}',
        b'{"topic": "topic/a", "data": "\\r\\n"}',
        b'{"topics": ["topic/a/*"]}',
        b'{"set": {"k": {}}, "delete": []}',
    )
    for number, body in enumerate(bodies):
        yield f"http-{BODIES[number].__name__.lower()}", bytes([7, number]) + body
    yield "http-nested-deep", b"\7\1" + b'{"result": ' + b"[" * 20_000


def _body(frame: Frame) -> bytes:
    """As ``_frame`` takes it."""
    which = bytes([FROM_AGENT.index(frame.kind)])
    return b"\3" + which + len(frame.header).to_bytes(2) + frame.header + frame.payload


if __name__ == "__main__":
    from tests.fuzz.driver import main, replay

    print(f"fuzz state: {replay(one_input, CORPUS)} inputs of the corpus read or refused by name")
    sys.exit(main("state", one_input, CORPUS))
