"""What the OpenAPI document says of the bus: agents without the SDK register, hear, and say (``api/bus.py``)."""

from typing import Any

import msgspec

from meshnode.api.bus import VERBS
from meshnode.wire import http

JsonObject = dict[str, Any]

SUMMARIES = {
    "answer": "The result of a call that the agent works on, with what it changed of its state",
    "fail": "A call that the agent works on has failed",
    "item": "The next item of a stream; answered once its reader has room",
    "call": "Call a skill of another agent; answered by its deadline",
    "publish": "Publish an event",
    "subscribe": "Say which topics the agent listens to from now on",
    "state": "Change the agent's state by itself; answered once that is kept",
    "leave": "End the agent's connection",
}
_ANSWERS: dict[str, JsonObject] = {
    "call": {"type": "object", "properties": {"result": {}}, "required": ["result"]},
    "state": {"type": "object", "properties": {"version": {"type": "integer"}}, "required": ["version"]},
}
_NOTHING: JsonObject = {"type": "object"}
_HEARD = (
    "Server-sent events until the agent leaves: 'registered' (token, node, first_slot, slots) or 'refused' (code, "
    "message) first; then 'call', 'cancel' (call_id), 'event', 'restored', 'merged' (keys) and 'stop'"
)
_TOKEN: JsonObject = {
    "name": "token", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "of this agent, from 'registered'",
}  # fmt: skip


def structs() -> list[type[msgspec.Struct]]:
    """Whose schemas the paths refer to."""
    return [http.Registration, *dict.fromkeys(kind for kind, _ in VERBS.values())]


def paths(ref: str, refused: JsonObject) -> JsonObject:
    """``ref``: how a schema is referred to; ``refused``: the answer of what failed."""

    def operation(name: str, summary: str, description: str, content: JsonObject) -> JsonObject:
        return {
            "operationId": name,
            "summary": summary,
            "responses": {"200": {"description": description, "content": content}, "default": refused},
        }

    def body(kind: type[msgspec.Struct]) -> JsonObject:
        needed = any(field.required for field in msgspec.structs.fields(kind))
        schema = {"$ref": ref.format(name=kind.__name__)}
        return {"required": needed, "content": {"application/json": {"schema": schema}}}

    heard = {"text/event-stream": {"itemSchema": _NOTHING}}
    register = operation("postBus", "Register an agent; the answer is what it hears", _HEARD, heard)
    made: JsonObject = {"/v1/bus": {"post": register | {"requestBody": body(http.Registration)}}}
    for verb, (kind, _) in VERBS.items():
        said = {"application/json": {"schema": _ANSWERS.get(verb, _NOTHING)}}
        described = operation(f"postBus{verb.capitalize()}", SUMMARIES[verb], "Done", said)
        described |= {"parameters": [_TOKEN], "requestBody": body(kind)}
        made[f"/v1/bus/{{token}}/{verb}"] = {"post": described}
    shown = {"application/json": {"schema": _NOTHING}}
    made["/v1/bus/{token}/state"]["get"] = operation(
        "getBusState", "All keys of the agent's state, with their values", "Done", shown
    ) | {"parameters": [_TOKEN]}
    return made
