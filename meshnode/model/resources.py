"""What one instance of an agent asks of a node, in Kubernetes notation."""

from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

import msgspec

from meshnode.model.fields import Field, FieldInvalid
from meshnode.model.quantity import BadQuantity, parse_bytes, parse_milli, parse_share, show_bytes, show_milli

ValueT = TypeVar("ValueT")


class Resources(msgspec.Struct, frozen=True):
    """What one instance asks for; 0 means that it does not say."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0

    def times(self, count: int) -> "Resources":
        return Resources(self.cpu_milli * count, self.memory_bytes * count, self.gpu_milli * count)

    def plus(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpu_milli + other.cpu_milli,
            self.memory_bytes + other.memory_bytes,
            self.gpu_milli + other.gpu_milli,
        )

    def words(self) -> list[str]:
        """What is asked for, for people: ``["500m cpu", "4Gi memory"]``."""
        amounts = (
            (self.cpu_milli, f"{show_milli(self.cpu_milli)} cpu"),
            (self.memory_bytes, f"{show_bytes(self.memory_bytes)} memory"),
            (self.gpu_milli, f"{show_milli(self.gpu_milli)} gpu"),
        )
        return [text for amount, text in amounts if amount]


def resources_of(field: Field | None) -> Resources:
    """Reads ``{cpu, memory, gpu}``. Raises ``FieldInvalid``."""
    if field is None:
        return Resources()
    entry = field.fields((), ("cpu", "memory", "gpu"))
    return Resources(
        cpu_milli=optional(entry, "cpu", lambda f: quantity(f, parse_milli)) or 0,
        memory_bytes=optional(entry, "memory", lambda f: quantity(f, parse_bytes)) or 0,
        gpu_milli=optional(entry, "gpu", lambda f: quantity(f, parse_milli)) or 0,
    )


def share_of(field: Field) -> Fraction:
    return quantity(field, parse_share)


def quantity(field: Field, parse: Callable[[object], ValueT]) -> ValueT:
    try:
        return parse(field.value)
    except BadQuantity as error:
        raise FieldInvalid(field.path, error.message, next_step=error.next_step) from error


def optional(entry: dict[str, Field], key: str, read: Callable[[Field], ValueT]) -> ValueT | None:
    return read(entry[key]) if key in entry else None
