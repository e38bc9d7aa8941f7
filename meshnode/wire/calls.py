"""Headers of calls, on links and on the local agent socket alike. Payloads are JSON: arguments by name, or a value.

Bytes may be in them as they are where whoever reads them, and all on the way, know of it: items of a stream
(``GrantHeader.raw``), a result (``CallHeader.as_bytes``) and arguments (``CallHeader.raw``, see ``blobs``). What a node
of an earlier release writes anew says nothing of it, and then they are base64 in JSON.
"""

import msgspec

_encode = msgspec.msgpack.Encoder().encode


class CallHeader(msgspec.Struct, frozen=True, array_like=True):
    """One call. ``call_id``: 16 bytes, unique per caller; ``deadline_ms``: what is left when sent."""

    call_id: bytes
    skill: str
    deadline_ms: int
    agent: str = ""  # narrows to one agent, "" = any that offers the skill
    caller: str = ""  # "node/NAME" or "agent/NAME/NODE"
    idempotency_key: str = ""
    trace: str = ""  # W3C traceparent
    hlc: int = 0
    slot: int = -1  # of the agent; -1 = any
    session: str = ""  # calls of one session go to one slot
    stream: bool = False  # the caller takes CHUNK frames; grants come as GRANT
    idempotent: bool = False  # the skill says that running twice is running once
    batch: bool = False  # work that may wait: refused first where a node has much to do
    raw: bool = False  # arguments that are bytes stand behind the others as they are: ``blobs``
    as_bytes: bool = False  # a result that is bytes may come as it is


class ResultHeader(msgspec.Struct, frozen=True, array_like=True):
    """The end of a call. ``code`` "" = ok; else a stable name, with ``message`` for people."""

    call_id: bytes
    code: str = ""
    message: str = ""
    instance: str = ""
    ran_us: int = 0
    durability: str = ""  # reached by what the call changed: "lazy", "local", "replicated(k)"; "" = nothing changed
    version: int = 0  # of the state after the call; 0 = nothing changed
    replayed: bool = False  # the stored answer to an idempotency key; the skill did not run again
    retry_after_ms: int = 0  # with "overloaded": when there may be room again; 0 = not said
    raw: bool = False  # the payload is the result itself, which is bytes; only for a call that said it takes it so


class ChunkHeader(msgspec.Struct, frozen=True, array_like=True):
    """One item of a stream, numbered from 0; the payload is its JSON, or the item itself. The end is a RESULT.

    Where the reader counts bytes, which whoever does not know of ``lengths`` never does, several may come as one: so
    long is each, in the order of the payload, and ``number`` is that of the first.
    """

    call_id: bytes
    number: int
    metered: bool = False  # its maker knows of a credit in bytes, and has kept to it
    lengths: tuple[int, ...] = ()
    raw: bool = False  # the items are bytes as they are; only for a reader that said it takes them


class GrantHeader(msgspec.Struct, frozen=True, array_like=True):
    """The reader takes items numbered below ``total``, and of their payloads ``total_bytes``; the last may overdraw.

    A maker that knows items only keeps to those, so a reader grants more of them than it would hold of the largest
    only to one whose items are ``metered``.
    """

    call_id: bytes
    total: int
    total_bytes: int = 0  # 0 = not counted
    raw: bool = False  # items that are bytes may come as they are; whoever does not know of this sends base64 in JSON


class CancelHeader(msgspec.Struct, frozen=True, array_like=True):
    call_id: bytes
    reason: str = ""


class SkillDescription(msgspec.Struct, frozen=True):
    """A skill as its agent describes it. Schemas are JSON Schema, as JSON text."""

    name: str
    description: str = ""
    input_schema: str = "{}"
    output_schema: str = "{}"
    tags: list[str] = []
    streams: bool = False  # yields items; called without a stream the result is their list
    idempotent: bool = False


class RegisterHeader(msgspec.Struct, frozen=True, array_like=True):
    """First frame of an agent. ``ticket``: from MESHNODE_TICKET, given by the daemon; payload: JSON list of skills."""

    agent: str
    instance: str
    ticket: str
    pid: int
    sdk_version: str = ""
    hooks: list[str] = []  # keys with a merge function of the agent's own; "*" = one for all keys
    resume: bool = False  # this process was registered before and holds its state: the daemon was away
    merge_no: int = 0  # with resume: the last MERGE it has applied
    parts: bool = False  # it puts PARTs together, and may be sent long frames so


class RegisteredHeader(msgspec.Struct, frozen=True, array_like=True):
    """The daemon's answer. ``refusal`` "" = accepted."""

    node: str
    refusal: str = ""
    message: str = ""
    first_slot: int = 0
    slots: int = 1  # how many instances this process is
    parts: bool = False  # the daemon puts PARTs together; an agent that said so sends long frames so


def encoded_call(header: CallHeader) -> bytes:
    """Without the last fields where they say nothing, as all of earlier releases: so that calls of both are alike to
    those who cut them (``plain``)."""
    data = _encode(header)
    return data if header.raw or header.as_bytes else _without(data, 2)


def encoded_result(header: ResultHeader) -> bytes:
    """The same for a result."""
    data = _encode(header)
    return data if header.raw else _without(data, 1)


def _without(data: bytes, fields: int) -> bytes:
    """A short array without its last fields, of a byte each."""
    return bytes((data[0] - fields,)) + data[1:-fields]
