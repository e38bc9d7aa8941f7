"""The OpenAPI 3.1 document, made from the table of operations and the structs themselves."""

import functools
import typing

import msgspec

from cloud_gateway.api.answers import CommandAnswer
from cloud_gateway.api.examples import EXAMPLES, REQUEST
from cloud_gateway.api.health import Health
from cloud_gateway.api.operations import COMMANDS, OPERATIONS, WATCH, Operation
from cloud_gateway.api.parameters import Parameter
from cloud_gateway.api.problems import PROBLEM_TYPE, TITLES, Problem
from cloud_gateway.api.requests import Request
from cloud_gateway.api.respond import JSON_TYPE
from cloud_gateway.api.streams import PARAMETERS as WATCH_PARAMETERS
from cloud_gateway.model.rows import CURRENT, KEYS, JsonObject
from meshnode import __version__

_REF = "#/components/schemas/{name}"
_TOLD: JsonObject = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["hello", "changed", "beat", "reset"]},
        "data": {"type": "string", "contentMediaType": JSON_TYPE},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
    "required": ["event", "data"],
}
_ALWAYS = (400, 401, 403, 421, 429, 500, 503)
_OF_BODY = (408, 409, 413, 415)


@functools.cache
def encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> JsonObject:
    shapes = [*(operation.answer for operation in OPERATIONS), CommandAnswer, Request, Problem, Health]
    told, schemas = msgspec.json.schema_components(shapes, ref_template=_REF)
    _identify(schemas)
    answers = dict(zip((operation.path_shown for operation in OPERATIONS), told, strict=False))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "meshnode gateway",
            "version": __version__,
            "summary": "The fleet as one gateway sees it: a delayed mirror, which passes requests on",
        },
        "security": [{"token": []}],
        "paths": _paths(answers, told),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {str(status): _problem(status) for status in TITLES},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _identify(schemas: JsonObject) -> None:
    """With ``fields`` a row has those, and what identifies it: nothing else is promised."""
    for kind, row in CURRENT.items():
        schemas[row.__name__]["required"] = list(KEYS[kind])
    schemas["AgentCount"]["required"] = ["agent"]


def _paths(answers: typing.Mapping[str, JsonObject], told: typing.Sequence[JsonObject]) -> JsonObject:
    command, request, health = told[-4], told[-3], told[-1]
    paths: JsonObject = {op.path_shown: {"get": _reading(op, answers[op.path_shown])} for op in OPERATIONS}
    paths[COMMANDS]["post"] = _asking(command, request)
    paths[WATCH] = {"get": _watch()}
    states = {"200": _ok(health, "/healthz"), "503": _ok(health, "/healthz", "The store does not answer")}
    paths["/healthz"] = {"get": _plain("getHealth", "Is it well", states)}
    text = {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    paths["/metrics"] = {"get": _plain("getMetrics", "What it counts of itself", {"200": text})}
    return paths


def _reading(operation: Operation, answer: JsonObject) -> JsonObject:
    in_path = any(parameter.place == "path" for parameter in operation.parameters)
    statuses = (*_ALWAYS, *((404,) if in_path or operation.path == "/journal" else ()),
                *((409, 502, 504) if operation.of_mesh else ()))  # fmt: skip
    responses = {"200": _ok(answer, operation.path), **_problems(statuses)}
    if operation.shared:
        responses["200"]["headers"] = {"ETag": {"schema": {"type": "string"}}}
        responses["304"] = {"description": "As the reader has it (If-None-Match)"}
    described: JsonObject = {
        "operationId": "get" + _words(operation.path),
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    return described


def _asking(answer: JsonObject, request: JsonObject) -> JsonObject:
    key = {
        "name": "Idempotency-Key", "in": "header", "required": False,
        "description": "the same key with the same request is the same command, however often it is sent",
        "schema": {"type": "string", "maxLength": 200}, "example": "scale-words-1",
    }  # fmt: skip
    return {
        "operationId": "postCommands",
        "summary": "Ask the mesh for something: kept here, passed on when the mesh can be reached",
        "parameters": [key],
        "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": request, "example": REQUEST}}},
        "responses": {
            "202": {**_ok(answer, "/commands/{command_id}", "Kept: queued"),
                    "headers": {"Location": {"schema": {"type": "string"}}}},
            **_problems((*_ALWAYS, *_OF_BODY)),
        },
    }  # fmt: skip


def _watch() -> JsonObject:
    last = {
        "name": "Last-Event-ID", "in": "header", "required": False,
        "description": "id of the last event that was read: what came behind it is sent, or reset",
        "schema": {"type": "string", "maxLength": 60},
    }  # fmt: skip
    stream = {
        "description": "Server-sent events: hello, then changed, beat and reset; see the handbook",
        "content": {"text/event-stream": {"itemSchema": _TOLD}},
    }
    return {
        "operationId": "getWatch",
        "summary": "What changes, as it changes",
        "parameters": [*(_parameter(parameter) for parameter in WATCH_PARAMETERS), last],
        "responses": {"200": stream, **_problems(_ALWAYS)},
    }


def _plain(operation_id: str, summary: str, responses: JsonObject) -> JsonObject:
    kept = {**_problems(_ALWAYS), **responses}
    return {"operationId": operation_id, "summary": summary, "responses": kept}


def _parameter(parameter: Parameter) -> JsonObject:
    told: JsonObject = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.summary,
        "schema": parameter.schema(),
    }
    if parameter.many or parameter.commas:
        told["style"], told["explode"] = "form", parameter.many
    if parameter.example is not None:
        told["example"] = parameter.example
    return told


def _ok(schema: JsonObject, path: str, description: str = "Done") -> JsonObject:
    content: JsonObject = {"schema": schema}
    if path in EXAMPLES:
        content["example"] = msgspec.to_builtins(EXAMPLES[path])
    return {"description": description, "content": {JSON_TYPE: content}}


def _problems(statuses: tuple[int, ...]) -> JsonObject:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _problem(status: int) -> JsonObject:
    schema = {"$ref": _REF.format(name=Problem.__name__)}
    return {"description": TITLES[status], "content": {PROBLEM_TYPE: {"schema": schema}}}


def _words(path: str) -> str:
    """``/nodes/{name}/load`` -> ``NodesNameLoad``."""
    words = path.replace("{", "").replace("}", "").replace(":path", "").replace("_", "/").split("/")
    return "".join(word.capitalize() for word in words)
