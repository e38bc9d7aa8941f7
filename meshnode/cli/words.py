"""Numbers and strange text as words for people."""

import re
import time

from meshnode.model.errors import Invalid

# Below this a fact is as good as new; above, its age is shown.
FRESH_S = 1.0
_SPAN = re.compile(r"(\d+)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def age(seconds: float) -> str:
    """``now``, ``3s``, ``2m10s``, ``4h12m``: the two largest units."""
    if seconds < FRESH_S:
        return "now"
    return span(seconds)


def span(seconds: float) -> str:
    """A length of time in its two largest units, whole seconds, ``0s`` at least."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size}{unit}")
            left %= size
        elif parts:
            break
    return "".join(parts) or "0s"


def seconds(text: str) -> int:
    """``90``, ``15m``, ``1h``, ``7d`` as seconds.

    Raises:
        Invalid: none of these.
    """
    match = _SPAN.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise Invalid(f"{text}: must be a length of time", next_step="for example 90s, 15m, 1h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def since(at_ms: int) -> str:
    """How long ago a wall time was, by this machine's clock."""
    return age(time.time() - at_ms / 1000)


def clock(at_ms: int) -> str:
    """A wall time in this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}ms" if value < 10 else f"{value:.0f}ms"


def size(count: float) -> str:
    """Bytes in binary units, as Kubernetes writes them."""
    for unit in ("", "Ki", "Mi", "Gi"):
        if count < 1024:
            return _figures(count) + unit
        count /= 1024
    return f"{_figures(count)}Ti"


def _figures(count: float) -> str:
    return f"{count:.0f}" if count >= 10 else f"{count:.1f}".removesuffix(".0")


def printable(text: str) -> str:
    """Text of a peer or a file without what could steer the terminal. Line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")
