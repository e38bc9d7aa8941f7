"""Contestants in turns: in each round every one of them takes each order once, so that a disturbance meets all."""

import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.rows import Anchor
from bench.talk.candidate import Candidate, Figures
from tests.demo.fleet import Broken

WITHIN_S = 30.0


@dataclass(slots=True)
class Results:
    """Medians over rounds, by contestant. Who broke is out of the rest, with the reason."""

    taken: dict[tuple[str, str], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, str] = field(default_factory=dict[str, str])

    def median(self, who: str, order: str, what: str) -> float | None:
        told = [each.told[what] for each in self.taken[who, order]]
        return statistics.median(told) if told else None

    def cpu_100k_s(self, who: str, order: str) -> float | None:
        taken = self.taken[who, order]
        return statistics.median(each.cpu_100k_s for each in taken) if taken else None

    def rounds(self, who: str, order: str, what: str, digits: int = 0) -> str:
        return " ".join(f"{each.told[what]:.{digits}f}" for each in self.taken[who, order])

    def anchor(self, who: str, shown: str, order: str, what: str, scale: float = 1.0) -> Anchor:
        value = self.median(who, order, what)
        return Anchor(name=shown, value=None if value is None else value * scale, why=self.broken.get(who, ""))


def take(candidates: Iterable[Candidate], orders: dict[str, dict[str, Any]], rounds: int, seed: int) -> Results:
    """``orders``: by name; a contestant that does not know one has no figures of it."""
    results, luck = Results(), random.Random(seed)
    contestants = list(candidates)
    for _ in range(rounds):
        for name, order in orders.items():
            luck.shuffle(contestants)
            for candidate in contestants:
                _once(results, candidate, name, order)
    return results


def _once(results: Results, candidate: Candidate, name: str, order: dict[str, Any]) -> None:
    if candidate.name in results.broken or order["what"] not in candidate.knows:
        return
    try:
        results.taken[candidate.name, name].append(candidate.order(order, WITHIN_S + order["for_s"]))
    except (Broken, OSError) as error:
        results.broken[candidate.name] = f"not measured: {error}"


def known(results: Results, names: Sequence[str], order: str, what: str) -> str:
    """What the others reached, in words."""
    told = [(name, results.median(name, order, what)) for name in names]
    return ", ".join(f"{name} {value:,.0f}" if value else f"{name} -" for name, value in told)
