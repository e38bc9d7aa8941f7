"""Constraints on nodes, as people write them: ``gpu_mem>=2Gi,site=plant-7,cpus>=4,arch=aarch64``.

All parts must hold. ``=`` and ``!=`` compare texts, or numbers where both sides are some; the others compare numbers in
Kubernetes notation. A node that does not have an attribute does not fit.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache

import msgspec

from meshnode.model.errors import Invalid
from meshnode.model.quantity import BadQuantity, parse_quantity

PARTS_MAX = 16
_TEXT_CHARS_MAX = 1024
_SHOWN_CHARS = 60  # of a value; so many are compared
_NUMBERS_KEPT_MAX = 4096  # texts that were read lately
_NUMBER_MAX = 2**63 - 1  # as a quantity
_PART = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_./-]{0,62})\s*(>=|<=|!=|==|=|>|<)\s*([^<>=!,]*[^<>=!,\s])\s*")
_WHOLE = re.compile(r"([0-9]{1,18})((?:[KMGT]i)?)")
_BITS = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_ORDERED = {">=": "less than", "<=": "more than", ">": "not more than", "<": "not less than"}

Attribute = str | float | int


class Constraint(msgspec.Struct, frozen=True):
    """One part: ``operator`` is "=", "!=", ">=", "<=", ">" or "<"."""

    name: str
    operator: str
    wanted: str


def parse_where(text: str) -> tuple[Constraint, ...]:
    """Read a list of constraints; "" has none. Raises ``Invalid``: which part, and what to do."""
    if len(text) > _TEXT_CHARS_MAX:
        raise Invalid(f"constraints of {len(text)} characters", next_step=f"the most is {_TEXT_CHARS_MAX}")
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > PARTS_MAX:
        raise Invalid(f"{len(parts)} constraints", next_step=f"the most is {PARTS_MAX}")
    return tuple(_parsed(part) for part in parts)


def unfit(constraints: tuple[Constraint, ...], attributes: Mapping[str, Attribute]) -> str:
    """Why a node with these attributes does not fit, "" if it does."""
    for constraint in constraints:
        if constraint.name not in attributes:
            return f"{constraint.name} is not known of it"
        if reason := _broken(constraint, attributes[constraint.name]):
            return reason
    return ""


def misses(constraint: Constraint) -> Callable[[Attribute], bool]:
    """A quick first look: values for which it is true do not fit; the others are for ``unfit`` to judge."""
    wanted = constraint.wanted
    if constraint.operator != "=" or _number(wanted) is not None:
        return lambda _: False
    return lambda value: type(value) is str and value != wanted and len(value) <= _SHOWN_CHARS


def _parsed(part: str) -> Constraint:
    match = _PART.fullmatch(part)
    if match is None:
        raise Invalid(
            f"{part.strip()[:60]!r} is no constraint",
            next_step='write NAME=VALUE or NAME>=NUMBER, with commas between, like "gpu_mem>=2Gi,site=plant-7"',
        )
    name, operator, wanted = match[1], match[2], match[3]
    if operator in _ORDERED and _number(wanted) is None:
        try:
            parse_quantity(wanted)
        except BadQuantity as error:
            raise Invalid(f"{part.strip()[:60]!r}: {error.message}", next_step=error.next_step) from error
    return Constraint(name, "=" if operator == "==" else operator, wanted)


def _broken(constraint: Constraint, has: Attribute) -> str:
    name, operator, wanted = constraint.name, constraint.operator, constraint.wanted
    mine, theirs = _number(has), _number(wanted)
    if operator in ("=", "!="):
        same = mine == theirs if mine is not None and theirs is not None else _text(has) == wanted
        if same == (operator == "="):
            return ""
        return f"{name} is {_text(has)}, not {wanted}" if operator == "=" else f"{name} is {wanted}"
    if mine is None or theirs is None:
        return f"{name} is {_text(has)}, which is no number"
    if _holds(operator, mine, theirs):
        return ""
    return f"{name} is {_text(has)}, {_ORDERED[operator]} {wanted}"


def _holds(operator: str, mine: Fraction | int, theirs: Fraction | int) -> bool:
    match operator:
        case ">=":
            return mine >= theirs
        case "<=":
            return mine <= theirs
        case ">":
            return mine > theirs
        case _:
            return mine < theirs


def _number(value: Attribute) -> Fraction | int | None:
    if type(value) is int:  # most are: as it stands, within the range of a quantity
        return value if 0 <= value <= _NUMBER_MAX else None
    return _read(value)


@lru_cache(_NUMBERS_KEPT_MAX, typed=True)
def _read(value: Attribute) -> Fraction | int | None:
    """Whole numbers as ints: comparing fractions is slow, and they are rare."""
    whole = _WHOLE.fullmatch(value) if type(value) is str else None
    if whole is not None:  # as ``parse_quantity`` reads them, without its fractions
        number = int(whole[1]) << _BITS[whole[2]]
        return number if number <= _NUMBER_MAX else None
    try:
        exact = parse_quantity(value)
    except (BadQuantity, ValueError, OverflowError):  # a float may be infinite, or no number at all
        return None
    return int(exact) if exact.denominator == 1 else exact


def _text(value: Attribute) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)[:_SHOWN_CHARS]
