"""A document as people see it (nested JSON) <-> as it is stored (flat fields of canonical JSON text).

An object at the root is split one level deep: ``spec: {replicas: 3}`` is the field ``spec.replicas`` (and may be given
as that), so that edits of different keys of a spec merge and only edits of the same key meet. An empty object leaves no
trace: it reads as absent.
"""

import json
import json.encoder
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import TypeAlias

import msgspec

from meshnode.crdt.change import KEY_BYTES_MAX, VALUE_BYTES_MAX, ParsedChange
from meshnode.kernel.decoding import JUNK
from meshnode.model.errors import Invalid, RemoteError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

DEPTH_MAX = 32
FIELDS_MAX = 512
_NAMES_MAX = 4096  # that are remembered
_SHEETS_MAX, _SHEET_KEYS_MAX = 512, 64  # sets of fields that are, and fields of one
_SMALL = 1 << 63
_SHORT_TEXT = VALUE_BYTES_MAX // 8  # of characters that are six bytes at most, quoted
# Every change sets STAMP to the hybrid time of its envelope; a deletion sets DELETED too, a later write clears it.
STAMP = "updated_hlc"
DELETED = "deleted_at"
RESERVED = (STAMP, DELETED)
COUNTED = "count:"  # how the name of every counter's part begins
_FLAT = (str, int, bool, float, type(None))  # what nothing can lie in
_quoted = json.encoder.encode_basestring  # what ``dumps`` would do, without making an encoder
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def flat(fields: Mapping[str, JsonValue]) -> dict[str, str]:
    """Stored form. Raises ``Invalid``, naming the field and the rule it breaks."""
    stored: dict[str, str] = {}
    for name, value in fields.items():
        if name in RESERVED:
            raise Invalid(f"field {name!r}: this name is reserved", next_step="rename the field")
        if isinstance(value, dict) and "." not in name:
            for key, each in value.items():
                inner = _inner_name(name, key)
                stored[inner] = _text(inner, each)
        else:
            stored[_checked_name(name)] = _text(name, value)
    if len(stored) > FIELDS_MAX:
        raise Invalid(f"{len(stored)} fields, the limit is {FIELDS_MAX}", next_step="split the document")
    return stored


def group(fields: Mapping[str, JsonValue], root: str) -> dict[str, JsonValue]:
    """One object of the root, put together again."""
    return {name.removeprefix(f"{root}."): value for name, value in fields.items() if name.startswith(f"{root}.")}


def canonical(value: JsonValue) -> str:
    """The one text of a value: keys sorted, no spaces, no NaN. Raises ``ValueError``."""
    if type(value) is str:
        return _quoted(value)
    if type(value) is int:
        return int.__repr__(value)
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float and isfinite(value):
        return float.__repr__(value)
    return _encoder.encode(value)


def is_canonical(text: str) -> bool:
    """Whether a peer's text is what ``canonical`` would have written, and no deeper than allowed."""
    try:
        value: JsonValue = json.loads(text)
        return not _deeper_than(value, DEPTH_MAX) and canonical(value) == text
    except JUNK:
        return False


class Sheet(msgspec.Struct, frozen=True, gc=False):
    """What is to be known of a set of fields, whatever their values: nearly all changes of a mesh set the same ones.

    ``stamp``, ``deleted``: the places of the reserved ones, -1: not there; ``foul``: one that is no name of a field;
    ``counts``: some are parts of counters; ``given``: those that somebody gave, sorted.
    """

    stamp: int
    deleted: int
    foul: str | None
    counts: bool
    given: tuple[str, ...]


def sheet_of(keys: tuple[str, ...]) -> Sheet:
    return _sheet_once(keys) if len(keys) <= _SHEET_KEYS_MAX else _sheet(keys)


def _sheet(keys: tuple[str, ...]) -> Sheet:
    places = {key: place for place, key in enumerate(keys)}
    foul = next((key for key in keys if not is_field_name(key)), None)
    counts = any(key.startswith(COUNTED) for key in keys)
    given = tuple(sorted([key for key in keys if key not in RESERVED]))
    return Sheet(places.get(STAMP, -1), places.get(DELETED, -1), foul, counts, given)


_sheet_once = lru_cache(_SHEETS_MAX)(_sheet)


def stamp_of(change: ParsedChange) -> int:
    """When a change was made, as it says itself; a deletion says the same twice. Raises ``RemoteError``."""
    sheet, values = sheet_of(change.keys), change.values
    stamp = values[sheet.stamp] if sheet.stamp >= 0 else None
    deleted = values[sheet.deleted] if sheet.deleted >= 0 else None
    if stamp is None or not stamp.isascii() or not stamp.isdigit() or deleted not in (None, stamp):
        raise RemoteError("stamp", "a change says when it was made, and a deletion says the same")
    return int(stamp)


@lru_cache(_NAMES_MAX)
def _checked_name(name: str) -> str:
    """Itself. Remembered are good ones only, so long ones are not."""
    if not is_field_name(name):
        raise Invalid(
            f"field {name[:60]!r}: names have 1 to {KEY_BYTES_MAX} bytes and no control characters",
            next_step="rename the field",
        )
    return name


@lru_cache(_NAMES_MAX)
def _inner_name(name: str, key: str) -> str:
    return _checked_name(f"{name}.{key}")


def is_field_name(name: str) -> bool:
    try:
        return 0 < len(name.encode()) <= KEY_BYTES_MAX and name.isprintable()
    except UnicodeEncodeError:
        return False


def _text(name: str, value: JsonValue) -> str:
    if type(value) is str and len(value) <= _SHORT_TEXT and value.isascii():
        return _quoted(value)
    if type(value) is int and -_SMALL < value < _SMALL:
        return int.__repr__(value)
    try:
        if type(value) not in _FLAT and _deeper_than(value, DEPTH_MAX):
            raise Invalid(f"field {name!r}: nested deeper than {DEPTH_MAX} levels", next_step="flatten it")
        text = canonical(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError) as error:  # not JSON; NaN; a lone surrogate
        raise Invalid(f"field {name!r}: {error}", next_step="use plain JSON values") from error
    if size > VALUE_BYTES_MAX:
        raise Invalid(f"field {name!r}: {size} bytes, the limit is {VALUE_BYTES_MAX}", next_step="make it smaller")
    return text


def _deeper_than(value: JsonValue, levels: int) -> bool:
    match value:
        case dict():
            children = list(value.values())
        case list():
            children = value
        case _:
            return False
    return levels == 0 or any(_deeper_than(each, levels - 1) for each in children)
