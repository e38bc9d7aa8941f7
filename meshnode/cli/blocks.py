"""What ``describe`` is made of: aligned pairs, and nested parts below their title."""

from meshnode.cli.output import yaml_of
from meshnode.cli.words import one_line, printable

Pairs = list[tuple[str, str]]


def aligned(pairs: Pairs) -> list[str]:
    told = [(name, one_line(value)) for name, value in pairs if value]
    width = max(len(name) for name, _ in told) + 1
    return [f"{name + ':':<{width}} {value}" for name, value in told]


def block(title: str, value: object) -> list[str]:
    """A nested part as YAML, which escapes what could steer a terminal. Nothing when there is nothing."""
    if not value:
        return []
    if isinstance(value, str):
        return [f"{title}:", *(f"  {line}" for line in printable(value).splitlines())]
    return [f"{title}:", *(f"  {line}" for line in yaml_of(value).splitlines())]
