"""How safe a change is before the reply leaves: lazy, local, replicated(k)."""

import re

import msgspec

from meshnode.model.errors import Invalid

COPIES_MAX = 5
LAZY = "lazy"
DOCUMENT_LEVELS = ("", "local", LAZY)  # what ``apply`` may ask for; "" is local
_REPLICATED = re.compile(r"replicated\((\d+)\)")


class Durability(msgspec.Struct, frozen=True, array_like=True):
    """``copies``: on so many other nodes. ``strict``: never less, even alone: the call then fails at its deadline.

    The default, ``auto``, is replicated(1) while another node is reachable and local while none is.
    """

    lazy: bool = False
    copies: int = 1
    strict: bool = False

    def written(self) -> str:
        if self.lazy:
            return "lazy"
        if not self.strict:
            return "auto"
        return f"replicated({self.copies})" if self.copies else "local"


AUTO = Durability()


def parse_durability(text: str) -> Durability:
    """Read ``auto`` (or ""), ``lazy``, ``local`` or ``replicated(K)``. Raises ``Invalid``."""
    if text in ("", "auto"):
        return AUTO
    if text == LAZY:
        return Durability(lazy=True, copies=0)
    if text == "local":
        return Durability(copies=0, strict=True)
    found = _REPLICATED.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= COPIES_MAX:
        raise Invalid(
            f"durability {text[:40]!r} is none",
            next_step=f"use auto, lazy, local or replicated(K) with K from 1 to {COPIES_MAX}",
        )
    return Durability(copies=int(found[1]), strict=True)


def reached(*, lazy: bool, copies: int) -> str:
    """The level a change has reached, as replies name it."""
    if lazy:
        return "lazy"
    return f"replicated({copies})" if copies else "local"
