"""Headers of calls, on links and on the local agent socket alike. Payloads are JSON: arguments by name, or a value."""

import msgspec


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


class ResultHeader(msgspec.Struct, frozen=True, array_like=True):
    """The end of a call. ``code`` "" = ok; else a stable name, with ``message`` for people."""

    call_id: bytes
    code: str = ""
    message: str = ""
    instance: str = ""
    ran_us: int = 0


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


class RegisterHeader(msgspec.Struct, frozen=True, array_like=True):
    """First frame of an agent. ``ticket``: from MESHNODE_TICKET, given by the daemon; payload: JSON list of skills."""

    agent: str
    instance: str
    ticket: str
    pid: int
    sdk_version: str = ""


class RegisteredHeader(msgspec.Struct, frozen=True, array_like=True):
    """The daemon's answer. ``refusal`` "" = accepted."""

    node: str
    refusal: str = ""
    message: str = ""
