"""Named counts: refusals, drops, frames. Bounded, so that a peer cannot invent names."""


class Counters:
    """Counts by name; beyond ``names_max`` names everything new is counted as ``other``."""

    def __init__(self, names_max: int = 256) -> None:
        self._counts: dict[str, int] = {}
        self._names_max = names_max

    def add(self, name: str, by: int = 1) -> None:
        if name not in self._counts and len(self._counts) >= self._names_max:
            name = "other"
        self._counts[name] = self._counts.get(name, 0) + by

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))
