"""What an agent does besides its skills: when it is restored, merged, probed, or by itself."""

from collections.abc import Callable
from typing import Any

import msgspec

ALL_KEYS = "*"


class Restored(msgspec.Struct, frozen=True):
    """What was restored. ``version`` 0 and ``age_s`` None: there was no state.

    ``gap``: changes known to exist elsewhere that could not be reached; they are merged when they can.
    ``undecided``: keys that hold one of several concurrent values (see ``meshnode conflicts``).
    """

    version: int = 0
    age_s: float | None = None
    gap: int = 0
    source: str = ""
    undecided: tuple[str, ...] = ()


class Hooks:
    """The author's hooks. ``merges``: by key, "*" = every other key."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.first_slot = 0
        self.restore: Callable[..., Any] | None = None
        self.probe: Callable[[], Any] | None = None
        self.merges: dict[str, Callable[..., Any]] = {}
        self.background: list[Callable[..., Any]] = []

    def merge_of(self, key: str) -> Callable[..., Any] | None:
        return self.merges.get(key) or self.merges.get(ALL_KEYS)
