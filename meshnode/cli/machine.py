"""A machine in a few words: from the facts and the load a node tells about itself.

Both come over the network from any version of meshnode: what is not there, or is of another shape, is left out.
"""

from collections.abc import Mapping

from meshnode.cli.words import size, span

Facts = Mapping[str, object]


def hardware_words(hardware: Facts) -> str:
    """``Jetson Orin Nano 6cpu 8Gi Orin``: what the machine is called, what may be used of it, its accelerators."""
    cpus = number(part(hardware, "cpu"), "usable")
    memory = number(part(hardware, "memory"), "limit_bytes")
    words = [
        _model(hardware),
        f"{cpus:g}cpu" if cpus else "",
        size(memory) if memory else "",
        *(accelerator_name(one) for one in parts(hardware, "accelerators")),
    ]
    return " ".join(word for word in words if word)


def accelerator_name(accelerator: Facts) -> str:
    return text(accelerator, "name") or text(accelerator, "kind") or "accelerator"


def _model(hardware: Facts) -> str:
    return text(hardware, "model") or text(part(hardware, "machine"), "model") or text(hardware, "machine")


def load_words(load: Facts) -> str:
    """``38%``: the busiest of processor and accelerator; with a mark where the machine is in trouble."""
    percents = [number(load, name) for name in ("cpu_percent", "accelerator_percent")]
    known = [value for value in percents if value is not None]
    if not known:
        return "?"
    marks = "!" if load.get("throttled") is True or load.get("memory_pressure") is True else ""
    return f"{max(known):.0f}%{marks}"


def load_line(load: Facts) -> str:
    """One line for ``status`` and ``describe``."""
    named = (
        ("cpu", "cpu_percent"),
        ("memory", "memory_percent"),
        ("disk", "disk_percent"),
        ("accelerator", "accelerator_percent"),
        ("accelerator memory", "accelerator_memory_percent"),
    )
    parts = [f"{word} {value:.0f}%" for word, name in named if (value := number(load, name)) is not None]
    celsius = number(load, "hottest_celsius")
    if celsius is not None:
        parts.append(f"{celsius:.0f} C")
    parts.extend(flag.replace("_", " ") for flag in ("memory_pressure", "throttled", "on_battery") if load.get(flag))
    age_s = number(load, "age_s")
    if parts and age_s is not None and age_s >= 1:
        parts.append(f"({span(age_s)} ago)")
    return "  ".join(parts) or "not measured yet"


def number(facts: Facts, name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def text(facts: Facts, name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def part(facts: Facts, name: str) -> Facts:
    """A nested object; empty when it is not one."""
    return _as_facts(facts.get(name))


def parts(facts: Facts, name: str) -> list[Facts]:
    """A list of nested objects; empty when it is not one."""
    value = facts.get(name)
    return [_as_facts(one) for one in value] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # JSON of a peer


def _as_facts(value: object) -> Facts:
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] # JSON of a peer
