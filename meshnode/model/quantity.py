"""Quantities in Kubernetes notation, read exactly: "2", "500m", "4Gi", "1e3", "70%".

Source: the Quantity type of the Kubernetes API (decimal and binary suffixes, decimal exponents). Not taken over: signs,
and rounding: what cannot be held exactly is refused.
"""

import re
from fractions import Fraction

from meshnode.model.errors import Invalid

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_QUANTITY = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<suffix>[A-Za-z]*|[eE][+-]?[0-9]{1,2})", re.ASCII)
_PERCENT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)%", re.ASCII)
_TEXT_CHARS_MAX = 32
_VALUE_MAX = 2**63 - 1


class BadQuantity(Invalid):
    """A text is no quantity, or none that fits its place."""

    code = "bad-quantity"


def parse_quantity(value: object) -> Fraction:
    """The exact value of "500m" (1/2), 2, 0.5 or "4Gi".

    Raises:
        BadQuantity: says which rule the text breaks.
    """
    text = _text(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise BadQuantity(
            f"{text!r} is no quantity", next_step='write a number and a suffix, like "2", "500m" or "4Gi"'
        )
    number, suffix = Fraction(_padded(match["number"])), match["suffix"]
    scaled = number * _factor(suffix, text)
    if scaled > _VALUE_MAX:
        raise BadQuantity(f"{text!r} is too large", next_step=f"the most is {_VALUE_MAX}")
    return scaled


def parse_milli(value: object) -> int:
    """Thousandths of a CPU or of an accelerator: "2" is 2000, "500m" is 500."""
    exact = parse_quantity(value) * 1000
    if exact.denominator != 1:
        raise BadQuantity(f"{_text(value)!r} is finer than a thousandth", next_step='the smallest amount is "1m"')
    return int(exact)


def parse_bytes(value: object) -> int:
    """Bytes: "4Gi" is 4294967296, "1k" is 1000."""
    exact = parse_quantity(value)
    if exact.denominator != 1:
        text = _text(value)
        hint = (
            f'"m" means thousandths; "{text[:-1]}Mi" are mebibytes' if text.endswith("m") else 'like "512Mi" or "4Gi"'
        )
        raise BadQuantity(f"{text!r} is no whole number of bytes", next_step=hint)
    return int(exact)


def parse_share(value: object) -> Fraction:
    """A share above 0 and at most 1: "70%" and 0.7 are 7/10."""
    if isinstance(value, str) and len(value) <= _TEXT_CHARS_MAX and (match := _PERCENT.fullmatch(value)):
        share = Fraction(match["number"]) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool) and value <= 1:
        share = parse_quantity(value)
    else:
        raise BadQuantity(f"{_shown(value)} is no percentage", next_step='write a number and %, like "70%"')
    if not 0 < share <= 1:
        raise BadQuantity(f"{_shown(value)} is out of range", next_step='more than "0%" and at most "100%"')
    return share


def show_milli(milli: int) -> str:
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def show_bytes(count: int) -> str:
    """The shortest binary notation that is exact."""
    for suffix, bits in reversed(_BINARY.items()):
        if count and count % (1 << bits) == 0:
            return f"{count >> bits}{suffix}"
    return str(count)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadQuantity(f"{_shown(value)} is no quantity", next_step='write it as text, like "2" or "4Gi"')
    if isinstance(value, int) and value > _VALUE_MAX:
        raise BadQuantity("the number is too large", next_step=f"the most is {_VALUE_MAX}")
    text = str(value)
    if len(text) > _TEXT_CHARS_MAX:
        raise BadQuantity(f"a text of {len(text)} characters is no quantity", next_step='write it short, like "4Gi"')
    if text.startswith("-"):
        raise BadQuantity(f"{text!r} is negative", next_step="a quantity is 0 or more")
    return text


def _factor(suffix: str, text: str) -> Fraction:
    if suffix in _BINARY:
        return Fraction(1 << _BINARY[suffix])
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix]
    if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdigit():
        return Fraction(10) ** int(suffix[1:])
    known = ", ".join(name for name in (*_BINARY, *_DECIMAL) if name)
    raise BadQuantity(f"{text!r} has the unknown suffix {suffix!r}", next_step=_likely(suffix) or f"known: {known}")


def _likely(suffix: str) -> str:
    letter = suffix[:1].upper()
    if suffix[1:].lower() in ("", "b", "i", "ib") and f"{letter}i" in _BINARY:
        return f'"{letter}i" counts in 1024s, "{letter if letter != "K" else "k"}" in 1000s'
    return ""


def _padded(number: str) -> str:
    """``Fraction`` wants digits on both sides of the point."""
    whole, _, part = number.partition(".")
    return f"{whole or '0'}.{part or '0'}"


def _shown(value: object) -> str:
    return repr(value)[:40] if isinstance(value, str | float | bool | None) else f"a {type(value).__name__}"
