"""A typed function as a skill: its name, its JSON Schemas, the check of its arguments."""

import copy
import typing
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import msgspec

from meshnode.sdk.errors import SkillError
from meshnode.wire.calls import SkillDescription

_VARIADIC = 0x04 | 0x08  # code flags of *arguments and **arguments
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200

SkillFunction = Callable[..., Any]


class BadArguments(Exception):
    """The arguments do not fit the schema; the message names the field."""


class Skill:
    """One skill. ``function`` is the author's, unchanged."""

    def __init__(self, name: str, function: SkillFunction, tags: Sequence[str] = ()) -> None:
        self.name = name
        self.function = function
        code = _code_of(name, function)
        self.is_async = bool(code.co_flags & _COROUTINE)
        hints = _hints_of(name, function)
        result = hints.pop("return", Any)
        described, of_arguments = _read_docstring(function.__doc__ or "")
        arguments = _arguments_of(name, function, hints, of_arguments)
        self._decoder = _decoder_of(name, arguments)
        self._fields = arguments.__struct_fields__
        self.description = SkillDescription(
            name,
            described,
            _schema_of(name, arguments),
            "{}" if result is Any else _schema_of(name, result),
            list(tags),
        )

    def arguments(self, payload: bytes) -> dict[str, object]:
        """Check the JSON of a call. Raises ``BadArguments``."""
        try:
            checked = self._decoder.decode(payload or b"{}")
        except msgspec.MsgspecError as error:
            raise BadArguments(f"{self.name}: {error}") from error
        return {field: getattr(checked, field) for field in self._fields}

    def result(self, value: object) -> bytes:
        """The JSON of what the function returned. Raises ``SkillError`` if it has none."""
        try:
            return msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise SkillError("bad-result", f"{self.name} returned what JSON cannot say: {error}") from error


def _code_of(name: str, function: SkillFunction) -> CodeType:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        raise TypeError(f"skill {name}: a skill is a function")
    if code.co_flags & _ASYNC_GENERATOR:
        raise TypeError(f"skill {name}: a skill returns one value; this function yields")
    if code.co_flags & _VARIADIC or code.co_posonlyargcount:
        raise TypeError(f"skill {name}: arguments are passed by name, so '*', '**' and '/' cannot be used")
    return code


def _hints_of(name: str, function: SkillFunction) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"skill {name}: {error}; types of a skill are defined at the top of the file") from error


def _arguments_of(
    name: str, function: SkillFunction, hints: dict[str, Any], described: dict[str, str]
) -> type[msgspec.Struct]:
    """The parameters as a struct: what the schema is made of and what calls are checked against."""
    code = _code_of(name, function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    defaults = _defaults_of(function, code)
    for parameter in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        if parameter not in hints:
            raise TypeError(f"skill {name}: give parameter {parameter!r} a type, such as '{parameter}: str'")
        hint = hints[parameter]
        if parameter in described:
            hint = typing.Annotated[hint, msgspec.Meta(description=described[parameter])]
        if parameter in defaults:
            fields.append((parameter, hint, _default(defaults[parameter])))
        else:
            fields.append((parameter, hint))
    title = name.replace(".", "_")
    return msgspec.defstruct(title, fields, kw_only=True, forbid_unknown_fields=True)


def _defaults_of(function: SkillFunction, code: CodeType) -> dict[str, Any]:
    positional = code.co_varnames[: code.co_argcount]
    given: tuple[Any, ...] = getattr(function, "__defaults__", None) or ()
    by_name: dict[str, Any] = getattr(function, "__kwdefaults__", None) or {}
    return {**dict(zip(positional[len(positional) - len(given) :], given, strict=True)), **by_name}


def _default(value: Any) -> Any:  # noqa: ANN401 - whatever the author wrote
    """Calls must not share a default that one of them may change."""
    if type(value) in (list, dict, set, bytearray):
        return msgspec.field(default_factory=lambda: copy.copy(value))
    return value


def _decoder_of(name: str, arguments: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    try:
        return msgspec.json.Decoder(arguments)
    except TypeError as error:
        raise TypeError(f"skill {name}: {error}") from error


def _schema_of(name: str, of: Any) -> str:  # noqa: ANN401 - a type or a form of typing
    try:
        schema = msgspec.json.schema(of, schema_hook=_schema_of_class)
    except TypeError as error:
        raise TypeError(f"skill {name}: {error}; use plain types, dataclasses or msgspec Structs") from error
    return msgspec.json.encode(_inlined(schema)).decode()


def _schema_of_class(of: type) -> dict[str, Any]:
    if of is object:
        return {"description": "any JSON value"}
    raise TypeError(f"type {of.__name__} has no JSON Schema")


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The top type in place rather than by reference: other tools want ``"type": "object"`` there."""
    reference = schema.get("$ref", "")
    definitions = dict(schema.get("$defs", {}))
    top = definitions.pop(reference.rpartition("/")[2], None)
    if top is None or f'"{reference}"' in msgspec.json.encode([top, definitions]).decode():
        return schema  # it refers to itself
    return {**top, "$defs": definitions} if definitions else top


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what an ``Args:`` section says of each parameter."""
    lines = [line.strip() for line in text.strip().splitlines()]
    first = lines.index("") if "" in lines else len(lines)
    described: dict[str, str] = {}
    last = ""
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else []:
        if not line:
            break
        parameter, colon, words = line.partition(":")
        if colon and parameter.isidentifier():
            last, described[parameter] = parameter, words.strip()
        elif last:
            described[last] += " " + line
    return " ".join(lines[:first]), described
