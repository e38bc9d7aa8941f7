"""The page of an API, out of its OpenAPI document."""

from collections.abc import Iterable

import msgspec

from meshnode.model.commands import JsonObject
from tools.reference.paper import book, code, fence, flowing, head, sentence, table
from tools.reference.sample import shown

_JSON = "application/json"


def page(title: str, about: str, document: JsonObject) -> str:
    lines = head(title, about)
    paths: JsonObject = document["paths"]
    asked = [(method.upper(), path, paths[path][method]) for path in paths for method in paths[path]]
    lines += table(("request", "what it tells or does"), (_row(*one) for one in asked))
    lines += ["## Requests", ""]
    for one in asked:
        lines += _operation(*one)
    lines += ["## Shapes", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += _schema(name, schema)
    return book(lines)


def _row(method: str, path: str, operation: JsonObject) -> tuple[str, str]:
    return f"[{method} {code(path)}](#{anchor(f'{method} {path}')})", sentence(operation["summary"])


def anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _operation(method: str, path: str, operation: JsonObject) -> Iterable[str]:
    yield from [f"### {method} {code(path)}", "", sentence(operation["summary"]), ""]
    yield from table(("parameter", "type", "meaning"), map(_parameter, operation.get("parameters", [])))
    if "requestBody" in operation:
        body: JsonObject = operation["requestBody"]["content"][_JSON]
        yield from _shape("Body", body["schema"])
        yield from _example(body)
    for status, response in sorted(operation["responses"].items()):
        if status[0] != "2":
            continue
        for media, content in response.get("content", {}).items():
            shape = type_of(content.get("schema") or content.get("itemSchema") or {})
            yield from [f"{status}: {_of(media)}{shape}", ""]
            yield from _example(content)
    refused = [status for status in sorted(operation["responses"]) if status.isdigit() and status[0] > "2"]
    if refused:
        yield from [f"Otherwise: {', '.join(refused)}", ""]


def _of(media: str) -> str:
    return "" if media == _JSON else f"{code(media)}, "


def _parameter(parameter: JsonObject) -> tuple[str, str, str]:
    place = {"path": "in the path", "header": "a header"}.get(parameter["in"], "")
    notes = [note for note in (place, "needed" if parameter.get("required") and not place else "") if note]
    meaning = parameter.get("description", "")
    return code(parameter["name"]), _type(parameter["schema"]), "; ".join(note for note in (*notes, meaning) if note)


def _shape(title: str, schema: JsonObject) -> Iterable[str]:
    """A named one is told by its name; one without is told here."""
    if "properties" not in schema:
        yield from [f"{title}: {type_of(schema)}", ""]
        return
    yield from [f"{title}:", ""]
    yield from _fields(schema)


def _schema(name: str, schema: JsonObject) -> Iterable[str]:
    yield from [f"### {name}", ""]
    if schema.get("description"):
        yield from [flowing(schema["description"]), ""]
    if "properties" in schema:
        yield from _fields(schema)
    else:
        yield from [type_of(schema), ""]


def _fields(schema: JsonObject) -> Iterable[str]:
    required = schema.get("required", [])
    rows = (
        (code(name), _type(field), "always" if name in required else "") for name, field in schema["properties"].items()
    )
    return table(("field", "type", ""), rows)


def _type(schema: JsonObject) -> str:
    notes = [type_of(schema)]
    if schema.get("default") not in (None, "", [], {}):
        notes.append(f"default {code(msgspec.json.encode(schema['default']).decode())}")
    return ", ".join(notes)


def type_of(schema: JsonObject) -> str:
    """A schema in words; what has a name is a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if schema.get("type") == "array":
        return _list_of(schema)
    if schema.get("type") == "object":
        return _object(schema)
    word: str = schema.get("type", "any JSON")
    return word


def _list_of(schema: JsonObject) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(type_of(each) for each in schema['prefixItems'])}]"
    items = schema.get("items", {})
    return f"list of {type_of(items)}" if items else "list"


def _object(schema: JsonObject) -> str:
    if "properties" in schema:
        return f"object with {', '.join(map(code, schema['properties']))}"
    entries = schema.get("additionalProperties")
    return f"map to {type_of(entries)}" if entries else "object"


def _example(content: JsonObject) -> Iterable[str]:
    if "example" in content:
        yield from fence("json", shown(content["example"]).splitlines())
