"""A typed function as a skill: its name, its JSON Schemas, the checks of its arguments and results."""

import copy
import enum
import typing
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.model.errors import RemoteError
from meshnode.sdk.context import Ctx
from meshnode.sdk.schemas import ARGUMENTS, is_plain, read_docstring, schema_of
from meshnode.sdk.words import hint
from meshnode.wire import blobs
from meshnode.wire.calls import SkillDescription

_VARIADIC = 0x04 | 0x08  # code flags of *arguments and **arguments
_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200
# Encoded, these are what they are: nothing to check again.
_PLAIN = (str, int, bool)
_ANYTHING = (Any, object)

SkillFunction = Callable[..., Any]


class BadArguments(Exception):
    """The arguments do not fit the schema; the message names the field."""


class BadResult(Exception):
    """The function returned what its return type forbids, or what JSON cannot say; the message names the field."""


class Manner(enum.Enum):
    """How a function gives its result."""

    THREAD = "a plain function: runs in a thread"
    ASYNC = "a coroutine function: runs in the event loop"
    THREAD_ITEMS = "a generator: each item is made in a thread"
    ASYNC_ITEMS = "an async generator"


class Skill:
    """One skill. ``function`` is the author's, unchanged; ``ctx_name``: of its ``Ctx`` parameter, "" without one."""

    def __init__(
        self,
        name: str,
        function: SkillFunction,
        tags: Sequence[str] = (),
        *,
        idempotent: bool = False,
        concurrent: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        self.name, self.function = name, function
        self.concurrent, self.timeout_s = concurrent, timeout_s
        self.manner = _manner_of(_code_of(name, function))
        # Asked for at each call, so they are no properties.
        self.is_async = self.manner in (Manner.ASYNC, Manner.ASYNC_ITEMS)
        self.streams = self.manner in (Manner.THREAD_ITEMS, Manner.ASYNC_ITEMS)
        hints = _hints_of(name, function)
        self._result = _result_of(hints.pop("return", Any), items=self.streams)
        self.gives_bytes = self._result is bytes or self._result in _ANYTHING  # it, or each of its items, may be such
        self.ctx_name = _ctx_of(name, hints)
        self.takes_turns = bool(self.ctx_name) and not concurrent  # one call a slot at a time may change the state
        described, of_arguments = read_docstring(function.__doc__ or "")
        arguments = _arguments_of(name, function, hints, of_arguments, self.ctx_name)
        self._arguments, self._fields = arguments, arguments.__struct_fields__
        # Made when a call first needs them, as most of an agent's skills wait for long; but types that could be wrong
        # are tried now.
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._of_fields: dict[str, Any] = {}
        self._check: msgspec.json.Decoder[Any] | None = None
        if not all(is_plain(hint) for parameter, hint in hints.items() if parameter != self.ctx_name):
            self._decoder = _decoder_of(name, arguments)
        if not is_plain(self._result):
            self._check = _decoder_of(name, self._result)
        returns = list[self._result] if self.streams else self._result
        self.description = SkillDescription(
            name,
            described,
            schema_of(name, arguments),
            "{}" if returns is Any else schema_of(name, returns),
            list(tags),
            self.streams,
            idempotent,
        )

    def arguments(self, payload: bytes, *, raw: bool = False) -> dict[str, object]:
        """Check the JSON of a call, and what stands behind it as it is if it is ``raw``. Raises ``BadArguments``."""
        if raw:
            return self._with_bytes(payload)
        if self._decoder is None:
            self._decoder = _decoder_of(self.name, self._arguments)
        try:
            checked = self._decoder.decode(payload or b"{}")
        except JUNK as error:
            raise BadArguments(f"{self.name}: {error}{hint(str(error))}") from error
        return {field: getattr(checked, field) for field in self._fields}

    def _with_bytes(self, payload: bytes) -> dict[str, object]:
        """What came as it is stands in for empty bytes, of which the types know by now that they may be there."""
        try:
            text, as_they_are = blobs.unpacked(payload)
            checked = self.arguments(text)
            for name, blob in as_they_are.items():
                if type(checked.get(name)) is not bytes:
                    raise BadArguments(f"{self.name}: {name} came as bytes, and is to be JSON")
                checked[name] = msgspec.convert(blob, self._types()[name])  # they may be too many
        except (RemoteError, *JUNK) as error:
            raise BadArguments(f"{self.name}: {error}") from error
        return checked

    def _types(self) -> dict[str, Any]:
        if not self._of_fields:
            self._of_fields = {field.name: field.type for field in msgspec.structs.fields(self._arguments)}
        return self._of_fields

    def result(self, value: object) -> bytes:
        """The JSON of what the function returned, or yielded. Raises ``BadResult``."""
        try:
            data = msgspec.json.encode(value)
            if not (self._result in _ANYTHING or (type(value) is self._result and self._result in _PLAIN)):
                self._check = self._check or _decoder_of(self.name, self._result)
                self._check.decode(data)
        except (TypeError, *JUNK) as error:
            word = "yielded" if self.streams else "returned"
            raise BadResult(f"{self.name} {word} what its schema forbids: {error}") from error
        return data


def _code_of(name: str, function: SkillFunction) -> CodeType:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        raise TypeError(f"skill {name}: a skill is a function")
    if code.co_flags & _VARIADIC or code.co_posonlyargcount:
        raise TypeError(f"skill {name}: arguments are passed by name, so '*', '**' and '/' cannot be used")
    return code


def _manner_of(code: CodeType) -> Manner:
    if code.co_flags & _ASYNC_GENERATOR:
        return Manner.ASYNC_ITEMS
    if code.co_flags & _GENERATOR:
        return Manner.THREAD_ITEMS
    return Manner.ASYNC if code.co_flags & _COROUTINE else Manner.THREAD


def _hints_of(name: str, function: SkillFunction) -> dict[str, Any]:
    written: dict[str, Any] = getattr(function, "__annotations__", {})
    if all(type(hint) is type for hint in written.values()):
        return dict(written)  # nothing to resolve, and the most common case
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"skill {name}: {error}; types of a skill are defined at the top of the file") from error


def _result_of(hint: Any, *, items: bool) -> Any:  # noqa: ANN401 - a type or a form of typing
    """The type of a result, or of each item: of ``AsyncIterator[int]``, ``Generator[int, None, None]`` it is int."""
    if not items:
        return hint
    inner = typing.get_args(hint)
    return inner[0] if inner else Any


def _ctx_of(name: str, hints: dict[str, Any]) -> str:
    names = [parameter for parameter, hint in hints.items() if hint is Ctx]
    if len(names) > 1:
        raise TypeError(f"skill {name}: one parameter of type Ctx is enough")
    return names[0] if names else ""


def _arguments_of(
    name: str, function: SkillFunction, hints: dict[str, Any], described: dict[str, str], ctx_name: str
) -> type[msgspec.Struct]:
    """The parameters as a struct: what the schema is made of and what calls are checked against."""
    code = _code_of(name, function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    defaults = _defaults_of(function, code)
    for parameter in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        if parameter == ctx_name:
            continue
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
    return msgspec.defstruct(title, fields, kw_only=True, forbid_unknown_fields=True, module=ARGUMENTS)


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


def _decoder_of(name: str, of: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - a type or a form of typing
    try:
        return msgspec.json.Decoder(of)
    except TypeError as error:
        raise TypeError(f"skill {name}: {error}") from error
