"""What nodes, meshes, regions and roles may be called, and names for nodes nobody named.

A mesh and a node name become part of a SPIFFE id, a certificate's host constraint and a file name, so the letters are
few: whatever is not listed here is refused, nothing is repaired.
"""

import re
from collections.abc import Mapping, Sequence

from meshnode.kernel.rng import Random
from meshnode.model.errors import Invalid

NAME_RULE = "1 to 63 characters of a-z, 0-9, '-' and '.', the first and the last a letter or a digit"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-.]{0,61}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,63}")
ROLES_MAX = 16
LABELS_MAX = 32

_ADJECTIVES = (
    "amber", "bold", "brisk", "calm", "clear", "crisp", "deft", "early", "fair", "fleet", "fresh", "gentle", "keen",
    "lively", "lucid", "mellow", "merry", "nimble", "plain", "quick", "quiet", "ready", "sharp", "sober", "solid",
    "steady", "sunny", "swift", "tidy", "warm", "wise", "young",
)  # fmt: skip
_NOUNS = (
    "alder", "badger", "beacon", "birch", "brook", "cedar", "comet", "crane", "falcon", "fern", "finch", "harbour",
    "hazel", "heron", "lantern", "larch", "linden", "lynx", "maple", "marten", "meadow", "otter", "pebble", "pine",
    "plover", "raven", "robin", "rowan", "spruce", "swallow", "thistle", "willow",
)  # fmt: skip


def valid_name(name: str) -> bool:
    """Whether ``name`` may name a node or a mesh (see ``NAME_RULE``)."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, what: str = "node") -> None:
    """Raises ``Invalid`` when a person gave a name that is none."""
    if not valid_name(name):
        raise Invalid(f"{name[:80]!r} cannot name a {what}", next_step=f"use {NAME_RULE}")


def valid_region(region: str) -> bool:
    """A region may be empty (unknown) or one word."""
    return not region or _WORD.fullmatch(region) is not None


def valid_roles(roles: Sequence[str]) -> bool:
    return len(roles) <= ROLES_MAX and all(_WORD.fullmatch(role) for role in roles)


def valid_labels(labels: Mapping[str, str]) -> bool:
    return len(labels) <= LABELS_MAX and all(
        _WORD.fullmatch(key) and (not value or _WORD.fullmatch(value)) for key, value in labels.items()
    )


def generated_name(rng: Random) -> str:
    """Adjective, noun, number: ``brisk-otter-4821``. There are nine million; the desk refuses a collision."""
    return f"{rng.choice(_ADJECTIVES)}-{rng.choice(_NOUNS)}-{rng.randrange(1000, 10000)}"


def node_uri(mesh: str, name: str) -> str:
    """The SPIFFE id of a node: the only name a leaf carries."""
    return f"spiffe://{mesh}/node/{name}"
