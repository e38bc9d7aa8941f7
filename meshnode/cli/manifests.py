"""YAML files from untrusted hands -> manifests, with the line of every field.

Built from the parser's events: no tag ever constructs an object, and plain words mean what YAML 1.2 says (``no`` is
text). Anchors and aliases are refused, so a small file cannot grow; size, depth and number of nodes are bounded, and
reading stops at the first excess.
"""

import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from meshnode.model.commands import JsonObject
from meshnode.model.declared import parse_declared
from meshnode.model.errors import Invalid
from meshnode.model.fields import FieldInvalid, quoted, show_path

FILE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 32
NODES_MAX = 20_000
STDIN = "-"
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_INT = re.compile(r"[-+]?[0-9]{1,32}", re.ASCII)
_BASED = re.compile(r"0o[0-7]{1,32}|0x[0-9a-fA-F]{1,32}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]{1,32}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One manifest and where each of its fields stands in the file."""

    file: str
    line: int
    manifest: JsonObject
    contents: list[bytes] = field(default_factory=list[bytes])  # of the files it names, to be stored before it
    lines: dict[_Path, int] = field(default_factory=dict[_Path, int])

    def locate(self, path: Sequence[str | int]) -> int:
        """The line of a field, or of the nearest field around one that is not there."""
        steps = tuple(path)
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, self.line)

    def placed(self, error: Invalid) -> Invalid:
        """The same refusal with file and line in front. ``details["path"]`` leads to the field, also from afar."""
        path = error.details.get("path")
        steps = tuple(s for s in path if isinstance(s, str | int)) if isinstance(path, list | tuple) else ()  # pyright: ignore[reportUnknownVariableType] - details come as plain JSON
        line = self.locate(steps)
        details: dict[str, object] = {**error.details, "file": self.file, "line": line}
        return Invalid(f"{self.file}:{line}: {error.message}", next_step=error.next_step, details=details)


def checked_manifests(file: str, prepare: Callable[[Source], None] = lambda _: None) -> list[Source]:
    """Every manifest of a file, each of them valid, no name twice. One bad field refuses the whole file.

    ``prepare`` may complete a manifest before it is checked.

    Raises:
        Invalid: ``FILE:LINE: FIELD: what is wrong``.
    """
    sources = load_manifests(file)
    seen: dict[tuple[str, str, str], Source] = {}
    for source in sources:
        prepare(source)
        try:
            name = _name_checked(source.manifest)
        except FieldInvalid as error:
            raise source.placed(error) from error
        if name in seen:
            what = f"{'/'.join(name)} is in this file already, at line {seen[name].locate(('metadata', 'name'))}"
            raise source.placed(FieldInvalid(("metadata", "name"), what, next_step="remove one, or rename it"))
        seen[name] = source
    return sources


def _name_checked(manifest: JsonObject) -> tuple[str, str, str]:
    """(kind, namespace, name) of a manifest that is valid as a whole. Raises ``FieldInvalid``."""
    declared = parse_declared(manifest)
    return (str(manifest["kind"]), declared.namespace, declared.name)


def load_manifests(file: str) -> list[Source]:
    """The documents of a YAML file ("-": standard input), as they are written. Empty documents are left out.

    Raises:
        Invalid: it is not there, not YAML, or more than a manifest needs.
    """
    text = _text(file, _read(file))
    try:
        sources = list(_Reader(file, text).sources())
    except yaml.YAMLError as error:
        raise _syntax(file, error) from error
    if not sources:
        raise Invalid(f"{file}:1: the file holds no manifest", next_step="write apiVersion, kind, metadata and spec")
    return sources


def _read(file: str) -> bytes:
    data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1) if file == STDIN else _read_path(Path(file))
    if len(data) > FILE_BYTES_MAX:
        raise _too_big(file, f"more than {FILE_BYTES_MAX}")
    return data


def _read_path(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise Invalid(f"{path} is a directory", next_step="name the file in it: -f DIR/FILE.yaml")
        if found.st_size > FILE_BYTES_MAX:
            raise _too_big(str(path), str(found.st_size))
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise Invalid(f"{path}: there is no such file", next_step="check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Invalid(f"{quoted(str(path))} cannot be read: {reason}", next_step="check path and rights") from error


def _too_big(file: str, size: str) -> Invalid:
    return Invalid(
        f"{file} has {size} bytes, a manifest at most {FILE_BYTES_MAX}", next_step="split it into several files"
    )


def _text(file: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"{file}:{line}: not UTF-8 text", next_step="save the file as UTF-8") from error
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Invalid(
            f"{file}:{line}: the character {found[0]!r} is not allowed", next_step="remove it, or is this no text file?"
        )
    return text


def _syntax(file: str, error: yaml.YAMLError) -> Invalid:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Invalid(f"{file}:1: not valid YAML: {quoted(str(error))}", next_step="mend the file")
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    context = f"{error.context}: " if error.context else ""
    return Invalid(
        f"{file}:{line}: not valid YAML: {context}{error.problem}", next_step="mend the line, or the one before"
    )


def _events(text: str) -> Iterator[yaml.Event]:
    """libyaml where the wheel has it: the parser in Python takes seconds for what is allowed here."""
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return iter(yaml.parse(text, Loader=loader))


class _Reader:
    """Turns events into plain values and remembers lines."""

    def __init__(self, file: str, text: str) -> None:
        self._file, self._events = file, _events(text)
        self._nodes = 0
        self._lines: dict[_Path, int] = {}

    def sources(self) -> Iterator[Source]:
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._lines = {}
            first = next(self._events)
            value = self._value(first, (), 1)
            line = _line(first)
            if value is None:
                continue
            if not isinstance(value, dict):
                raise self._refuse(first, (), "a manifest is a mapping", "write apiVersion, kind, metadata and spec")
            yield Source(file=self._file, line=line, manifest=value, lines=self._lines)

    def _value(self, event: yaml.Event, path: _Path, depth: int) -> "JsonObject | list[object] | _Scalar":
        self._check(event, path, depth)
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(path, depth)
            case yaml.SequenceStartEvent():
                return self._sequence(path, depth)
            case yaml.ScalarEvent():
                return self._scalar(event, path)
            case _:
                raise AssertionError(f"the parser gave {event} where a node belongs")

    def _check(self, event: yaml.Event, path: _Path, depth: int) -> None:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent):
            raise self._refuse(event, path, "an alias (*) is not allowed", "write the value out")
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            raise self._refuse(event, path, "an anchor (&) is not allowed", "write the value out where it is needed")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS:
            raise self._refuse(event, path, f"the tag {quoted(tag)} is not allowed", "remove it: plain values only")
        if depth > DEPTH_MAX:
            raise self._refuse(event, path[:4], f"nested deeper than {DEPTH_MAX} levels", "no manifest needs that")
        if self._nodes > NODES_MAX:
            raise self._refuse(event, path, f"more than {NODES_MAX} values in one file", "split it into several files")

    def _mapping(self, path: _Path, depth: int) -> JsonObject:
        found: JsonObject = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._check(event, path, depth)
            if not isinstance(event, yaml.ScalarEvent) or not isinstance(key := self._scalar(event, path), str):
                raise self._refuse(event, path, "a key must be text", "put it in quotes")
            here = (*path, key)
            if key in found:
                what = f"the key is there already, at line {self._lines[here]}"
                raise self._refuse(event, here, what, "remove one of the two")
            self._lines[here] = _line(event)
            found[key] = self._value(next(self._events), here, depth + 1)
        return found

    def _sequence(self, path: _Path, depth: int) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, len(found))
            self._lines[here] = _line(event)
            found.append(self._value(event, here, depth + 1))
        return found

    def _scalar(self, event: yaml.ScalarEvent, path: _Path) -> "_Scalar":
        kind = (event.tag or "").rpartition(":")[2]
        if kind == "str" or (not kind and not event.implicit[0]):
            return event.value
        value = _resolved(event.value)
        if kind and kind != _name_of(value):
            raise self._refuse(event, path, f"{quoted(event.value)} is no {kind}", "remove the tag, or mend the value")
        return value

    def _refuse(self, event: yaml.Event, path: _Path, what: str, next_step: str) -> Invalid:
        place = f"{show_path(path)}: " if path else ""
        line = _line(event)
        details: dict[str, object] = {"path": list(path), "file": self._file, "line": line}
        return Invalid(f"{self._file}:{line}: {place}{what}", next_step=next_step, details=details)


_Scalar = str | int | float | bool | None


def _resolved(text: str) -> _Scalar:
    """A plain word by the core schema of YAML 1.2; without its infinities, which JSON does not have."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _name_of(value: _Scalar) -> str:
    return "null" if value is None else type(value).__name__


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
