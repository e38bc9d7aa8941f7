"""Reading what a person wrote, field by field: every refusal knows the path that leads to it."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeGuard

import msgspec

from meshnode.model.errors import Invalid

Path = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
# Agent types are also keys of mappings, and people write those with underscores.
_TYPE = re.compile(r"[a-z0-9](?:[-_a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_./:]{0,126}[A-Za-z0-9])?", re.ASCII)


class FieldInvalid(Invalid):
    """One field breaks a rule. ``path`` leads to it; ``details["path"]`` is the same for other processes."""

    def __init__(self, path: Path, what: str, *, next_step: str = "") -> None:
        super().__init__(f"{show_path(path)}: {what}", next_step=next_step, details={"path": list(path)})
        self.path = path


def show_path(path: Sequence[str | int]) -> str:
    """``spec.agents[0].name``; keys that are no plain words are quoted, so that none can pose as another."""
    shown = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            shown += f".{step}" if shown else step
        else:
            shown += f"[{quoted(step)}]"
    return shown or "the document"


def quoted(value: object) -> str:
    """A value for a message: no control characters, no novels."""
    if _is_mapping(value):
        return "a mapping"
    if _is_list(value):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of hundreds of digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list)


class Field(msgspec.Struct, frozen=True):
    """A value and where it stands. Every method raises ``FieldInvalid``."""

    path: Path
    value: object

    def invalid(self, what: str, *, next_step: str) -> FieldInvalid:
        return FieldInvalid(self.path, what, next_step=next_step)

    def fields(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, "Field"]:
        """A mapping with these keys and no others."""
        entries = self.entries()
        known = [*required, *optional]
        for key, field in entries.items():
            if key not in known:
                raise field.invalid("unknown field", next_step=_suggestion(key, known))
        for key in required:
            if key not in entries:
                raise self.invalid(f"the field {key} is missing", next_step=f"add {key}")
        return entries

    def entries(self, *, count_max: int = 1024) -> dict[str, "Field"]:
        """A mapping with text keys."""
        if not _is_mapping(self.value):
            raise self.invalid(f"must be a mapping, not {_kind_of(self.value)}", next_step="write key: value lines")
        self._check_count(len(self.value), count_max)
        entries: dict[str, Field] = {}
        for key, value in self.value.items():
            if not isinstance(key, str):
                raise self.invalid(f"the key {quoted(key)} is not text", next_step="put it in quotes")
            entries[key] = Field((*self.path, key), value)
        return entries

    def items(self, *, count_max: int = 1024) -> list["Field"]:
        if not _is_list(self.value):
            raise self.invalid(f"must be a list, not {_kind_of(self.value)}", next_step="write one - line per entry")
        self._check_count(len(self.value), count_max)
        return [Field((*self.path, no), value) for no, value in enumerate(self.value)]

    def text(self, *, chars_max: int = 256) -> str:
        if not isinstance(self.value, str):
            raise self.invalid(f"must be text, not {_kind_of(self.value)}", next_step="put it in quotes")
        if not self.value.strip() or len(self.value) > chars_max or not self.value.isprintable():
            raise self.invalid(
                f"{quoted(self.value)} must be 1 to {chars_max} printable characters", next_step="shorten or retype it"
            )
        return self.value

    def choice(self, allowed: Sequence[str]) -> str:
        text = self.text()
        if text not in allowed:
            raise self.invalid(f"{quoted(text)} is not known here", next_step=f"write {' or '.join(allowed)}")
        return text

    def label(self) -> str:
        """A DNS-1123 label."""
        return self._matching(_LABEL, "1 to 63 small letters, digits and inner hyphens (DNS-1123)")

    def agent_type(self) -> str:
        return self._matching(_TYPE, "1 to 63 small letters, digits, and inner hyphens or underscores")

    def tag(self) -> str:
        return self._matching(_TAG, "1 to 128 letters, digits and inner - _ . / :")

    def number(self, *, most: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            what = f"must be a whole number, not {_kind_of(self.value)} {quoted(self.value)}"
            raise self.invalid(what, next_step="write digits, without quotes")
        if not 0 <= self.value <= most:
            raise self.invalid(f"is {quoted(self.value)}, out of range", next_step=f"write a number from 0 to {most}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.invalid(f"is {quoted(self.value)}", next_step="write true or false, without quotes")
        return self.value

    def _check_count(self, count: int, most: int) -> None:
        if count > most:
            raise self.invalid(f"has {count} entries, the most is {most}", next_step="split it into several documents")

    def _matching(self, pattern: re.Pattern[str], rule: str) -> str:
        text = self.text()
        if not pattern.fullmatch(text):
            raise self.invalid(f"{quoted(text)} is no valid name", next_step=f"use {rule}")
        return text


def refuse_repeats(fields: Sequence[Field], names: Sequence[str]) -> None:
    """``names[i]`` was read from ``fields[i]``; the second of two equal ones is refused."""
    first: dict[str, Field] = {}
    for field, name in zip(fields, names, strict=True):
        if name in first:
            raise field.invalid(f"{name} is there already, at {show_path(first[name].path)}", next_step="remove one")
        first[name] = field


def _suggestion(key: str, known: Sequence[str]) -> str:
    if key == "status":
        return "remove it: status is what the mesh reports, not what you ask for"
    close = get_close_matches(key[:64], known, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it; known here: {', '.join(known)}"


def _kind_of(value: object) -> str:
    for types, word in ((bool, "a truth value"), ((int, float), "a number"), (str, "text"), (dict, "a mapping")):
        if isinstance(value, types):
            return word
    return "nothing" if value is None else "a list"
