"""The bus in words of HTTP: what an agent without the SDK says as JSON, and what it hears as server-sent events.

Both are translated from and to the frames of the bus, one for one: no rule is made here.
"""

from typing import Annotated, Any

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    RegisterHeader,
    ResultHeader,
    SkillDescription,
    encoded_call,
    encoded_result,
)
from meshnode.wire.events import EventHeader, SubscribeHeader
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import Change, Op, StateHeader

SKILLS_MAX = 256
CODE = r"^[a-z][a-z0-9-]{0,63}$"
OWN = "agent."  # begins every code that an agent itself gives
JsonObject = dict[str, Any]

Text = Annotated[str, msgspec.Meta(max_length=256)]
CallId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class SkillSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One skill. Schemas are JSON Schema."""

    name: Text
    description: str = ""
    input_schema: JsonObject = {}
    output_schema: JsonObject = {}
    tags: list[str] = []
    streams: bool = False
    idempotent: bool = False


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``instance`` and ``ticket``: MESHNODE_INSTANCE and MESHNODE_TICKET, as the daemon gave them."""

    instance: Text
    ticket: Text
    skills: Annotated[list[SkillSaid], msgspec.Meta(max_length=SKILLS_MAX)] = []
    topics: list[str] = []


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of a call; ``set`` and ``delete``: what it changed of the agent's state, kept before the caller hears
    of it."""

    call_id: CallId
    result: Any = None
    set: JsonObject = {}
    delete: list[str] = []


class Fail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The call failed. ``code`` is the agent's own, shown as "agent.CODE"."""

    call_id: CallId
    message: str = ""
    code: Annotated[str, msgspec.Meta(pattern=CODE)] = "failed"


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The next item of a stream; answered once the reader has room for it."""

    call_id: CallId
    item: Any = None


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of another agent's skill."""

    skill: Text
    arguments: JsonObject = {}
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    key: Text = ""
    session: Text = ""
    batch: bool = False


class Tell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event for whoever listens to ``topic``."""

    topic: str
    data: Any = None


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All topics the agent listens to from now on."""

    topics: list[str]


class Put(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the agent's state by itself; answered once it is kept."""

    set: JsonObject = {}
    delete: list[str] = []


_json = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


# -- what it says ------------------------------------------------------------------------------------------------------


def register_frame(said: Registration, agent: str, pid: int) -> Frame:
    header = RegisterHeader(agent, said.instance, said.ticket, pid, "http")
    skills = [
        SkillDescription(
            each.name, each.description, _json(each.input_schema).decode(), _json(each.output_schema).decode(),
            each.tags, each.streams, each.idempotent,
        )
        for each in said.skills
    ]  # fmt: skip
    return Frame(Kind.REGISTER, header=_pack(header), payload=_json(skills))


def result_frame(call_id: bytes, result: object) -> Frame:
    return Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id)), payload=_json(result))


def failure_frame(call_id: bytes, code: str, message: str) -> Frame:
    return Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id, code, message[:1000])))


def item_frame(call_id: bytes, number: int, item: object) -> Frame:
    return Frame(Kind.CHUNK, header=_pack(ChunkHeader(call_id, number)), payload=_json(item))


def ask_frame(call_id: bytes, said: Ask) -> Frame:
    header = CallHeader(
        call_id, said.skill, max(1, int(said.deadline_s * 1000)), idempotency_key=said.key, session=said.session,
        batch=said.batch,
    )  # fmt: skip
    return Frame(Kind.CALL, header=encoded_call(header), payload=_json(said.arguments))


def cancel_frame(call_id: bytes) -> Frame:
    return Frame(Kind.CANCEL, header=_pack(CancelHeader(call_id, "whoever asked is gone")))


def tell_frame(said: Tell) -> Frame:
    return Frame(Kind.EVENT, header=_pack(EventHeader(said.topic)), payload=_json(said.data))


def listen_frame(topics: tuple[str, ...]) -> Frame:
    return Frame(Kind.SUBSCRIBE, header=_pack(SubscribeHeader(topics)))


def state_frame(call_id: bytes, seq: int, merge_no: int, changes: list[Change]) -> Frame:
    return Frame(Kind.STATE, header=_pack(StateHeader(call_id, seq, merge_no)), payload=_pack(changes))


def changes_of(values: JsonObject, deleted: list[str]) -> list[Change]:
    return [
        *(Change(key, Op.SET, _json(value)) for key, value in values.items()),
        *(Change(key, Op.DELETE) for key in deleted),
    ]


# -- what it hears -----------------------------------------------------------------------------------------------------


def event(name: str, data: object) -> bytes:
    """JSON has no raw line breaks, so one data line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _json(data))


def call_event(header: CallHeader, payload: bytes) -> bytes:
    """Raises ``RemoteError``: the arguments are no JSON."""
    return event(
        "call",
        {
            "call_id": header.call_id.hex(), "skill": header.skill, "arguments": json_of(payload),
            "deadline_ms": header.deadline_ms, "caller": header.caller, "key": header.idempotency_key,
            "session": header.session, "slot": header.slot, "stream": header.stream,
        },
    )  # fmt: skip


def topic_event(header: EventHeader, payload: bytes) -> bytes:
    """Raises ``RemoteError``: it is no JSON."""
    return event("event", {"topic": header.topic, "publisher": header.publisher, "data": json_of(payload)})


def json_of(payload: bytes) -> Any:  # noqa: ANN401 - JSON
    """Raises ``RemoteError``."""
    return decoded(msgspec.json.decode, payload or b"null", "http-json")
