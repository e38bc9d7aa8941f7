"""The OpenAPI 3.1 document of the local API, made from the table of operations and the structs themselves."""

from typing import Any

import msgspec

from meshnode import __version__
from meshnode.api import openapi_bus
from meshnode.api.errors import ErrorBody
from meshnode.api.lines import LINES_TYPE
from meshnode.api.operations import OPERATIONS, Operation
from meshnode.model.commands import CallSkill
from meshnode.model.document_views import DocumentEvent
from meshnode.model.view_parts import TopicEventView
from meshnode.model.views import EventView, StreamItem

JsonObject = dict[str, Any]
_REF = "#/components/schemas/{name}"


def document() -> JsonObject:
    commands = {operation.command for operation in OPERATIONS}
    answers = {operation.answer for operation in OPERATIONS}
    named = sorted(
        (*commands, *answers, *openapi_bus.structs(), ErrorBody, EventView, DocumentEvent, StreamItem, TopicEventView),
        key=lambda struct: struct.__name__,
    )
    _, schemas = msgspec.json.schema_components(named, ref_template=_REF)
    for command in commands:
        _without_tag(schemas[command.__name__])
    return {
        "openapi": "3.1.0",
        "info": {"title": "meshnode", "version": __version__, "summary": "The local API of one node"},
        "paths": _paths(schemas),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _without_tag(schema: JsonObject) -> None:
    """The tag tells commands apart inside the node; a request says it by its path."""
    schema["properties"].pop("ask", None)
    schema["required"] = [name for name in schema.get("required", []) if name != "ask"]


def _paths(schemas: JsonObject) -> JsonObject:
    paths: JsonObject = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path_shown, {})[operation.method.lower()] = _operation(operation, schemas)
    paths["/v1/events"] = {"get": _events()}
    paths["/v1/watch"] = {"get": _watch()}
    paths["/v1/subscribe"] = {"get": _subscribe()}
    return paths | openapi_bus.paths(_REF, _refused())


def _operation(operation: Operation, schemas: JsonObject) -> JsonObject:
    command = operation.command.__name__
    parameters = _parameters(operation, schemas[command])
    described: JsonObject = {
        "operationId": f"{operation.method.lower()}{operation.answer.__name__}By{command}",
        "summary": operation.summary,
        "responses": _responses(operation.answer.__name__),
    }
    if operation.has_body:
        schema = _body(operation, schemas[command])
        described["requestBody"] = {
            "required": bool(schema.get("required", schemas[command]["required"])),
            "content": {"application/json": {"schema": schema}},
        }
    if parameters:
        described["parameters"] = parameters
    if operation.command is CallSkill:
        described["responses"]["200"]["content"][LINES_TYPE] = {"itemSchema": _stream_line()}
    return described


def _body(operation: Operation, schema: JsonObject) -> JsonObject:
    """The whole command, or what the path leaves of it."""
    if not operation.in_path:
        return {"$ref": _REF.format(name=operation.command.__name__)}
    left = {name: kind for name, kind in schema["properties"].items() if name not in operation.in_path}
    required = [name for name in schema["required"] if name not in operation.in_path]
    return {"type": "object", "properties": left, "required": required}


def _parameters(operation: Operation, schema: JsonObject) -> list[JsonObject]:
    properties: JsonObject = schema["properties"]
    return [
        {
            "name": name,
            "in": "path" if name in operation.in_path else "query",
            "required": name in operation.in_path or name in schema["required"],
            "schema": kind,
        }
        for name, kind in properties.items()
        if name in operation.in_path or not operation.has_body
    ]


def _stream_line() -> JsonObject:
    """With ``stream``: items as they come, then one line that says how it ended."""
    tagged = {"item": "StreamItem", "end": "CallView", "failure": "Failure"}
    return {
        "oneOf": [
            {"type": "object", "properties": {tag: {"$ref": _REF.format(name=name)}}, "required": [tag]}
            for tag, name in tagged.items()
        ]
    }


def _responses(answer: str) -> JsonObject:
    return {
        "200": {"description": "Done", "content": {"application/json": {"schema": {"$ref": _REF.format(name=answer)}}}},
        "default": _refused(),
    }


def _refused() -> JsonObject:
    schema = {"$ref": _REF.format(name=ErrorBody.__name__)}
    return {"description": "Refused or failed", "content": {"application/json": {"schema": schema}}}


def _events() -> JsonObject:
    responses = _responses(EventView.__name__)
    schema = {"$ref": _REF.format(name=EventView.__name__)}
    responses["200"] = {
        "description": "Server-sent events named 'note', each an EventView; ids resume by Last-Event-ID",
        "content": {"text/event-stream": {"itemSchema": schema}},
    }
    after = {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0, "default": 0}}
    follow = {"name": "follow", "in": "query", "schema": {"type": "boolean", "default": True}}
    return {
        "operationId": "getEvents",
        "summary": "What happened, and what happens",
        "parameters": [after, follow],
        "responses": responses,
    }


def _watch() -> JsonObject:
    responses = _responses(DocumentEvent.__name__)
    responses["200"] = {
        "description": "Server-sent events named by their type, each a DocumentEvent; ids are cursors to resume by",
        "content": {"text/event-stream": {"itemSchema": {"$ref": _REF.format(name=DocumentEvent.__name__)}}},
    }
    text = {"type": "string", "default": ""}
    given = [{"name": name, "in": "query", "schema": text} for name in ("kind", "namespace", "name", "after")]
    follow = {"name": "follow", "in": "query", "schema": {"type": "boolean", "default": True}}
    return {
        "operationId": "getWatch",
        "summary": "Documents as they are, then every change, once",
        "parameters": [*given, follow],
        "responses": responses,
    }


def _subscribe() -> JsonObject:
    responses = _responses(TopicEventView.__name__)
    responses["200"] = {
        "description": "Server-sent events named 'event', each a TopicEventView; ids count, and cannot be resumed",
        "content": {"text/event-stream": {"itemSchema": {"$ref": _REF.format(name=TopicEventView.__name__)}}},
    }
    topics = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {
        "operationId": "getSubscribe",
        "summary": "Events of topics as they come: topic/a/b, or topic/a/* for all below topic/a",
        "parameters": [{"name": "topic", "in": "query", "required": True, "schema": topics}],
        "responses": responses,
    }
