"""What the demo tells: steps with timings, claims with goals. A claim is only made about what the verifier saw."""

import sys
import time
from dataclasses import dataclass, field
from typing import NamedTuple

# A shared machine may be slower than the goal; five times the goal is a broken promise, and more where each processor
# has more than two others to serve as the story begins.
SLACK, SERVED = 5.0, 2.0
# With a planted fault the question is whether the right claim notices it, however slow everything is.
SLACK_BROKEN = 50.0


def slack_at(load: float, cores: int) -> float:
    """Times a goal that are a broken promise on a machine of this load."""
    return SLACK * max(1.0, load / cores / SERVED)


class Figure(NamedTuple):
    """One line of the table at the end. ``id``: as in the issue's "Must hold"."""

    id: str
    what: str
    value: str
    goal: str


class Wrong(Exception):
    """A claim is wrong: what comes after it would only repeat it."""


@dataclass(slots=True)
class Story:
    """Prints as it goes and remembers what was wrong."""

    began: float = field(default_factory=time.monotonic)
    wrong: list[str] = field(default_factory=list[str])
    figures: list[Figure] = field(default_factory=list[Figure])
    verified: int = 0
    stops: bool = True  # at the first wrong claim
    slack: float = SLACK

    def chapter(self, title: str) -> None:
        self._print(f"\n{self._clock()}  {title}")

    def tell(self, text: str) -> None:
        self._print(f"         {text}")

    def claim(self, text: str, *, holds: bool, seen: str = "") -> None:
        """Something the verifier saw, or did not."""
        self.verified += holds
        mark = "verified" if holds else "WRONG   "
        self._print(f"         {mark}  {text}" + (f"  [{seen}]" if seen else ""))
        if not holds:
            self.wrong.append(f"{text} [{seen}]")
            if self.stops:
                raise Wrong(text)

    def timed(self, text: str, seconds: float | None, goal_s: float, *, figure: str = "", seen: str = "") -> None:
        """A claim about a duration, with its goal beside it. ``figure``: its id in the table at the end."""
        if seconds is None:
            self.claim(f"{text} (goal {goal_s:g} s)", holds=False, seen=seen or "did not happen")
            return
        if figure:
            self.figure(figure, text, f"{seconds:.2f} s", f"{goal_s:g} s")
        note = f"{seconds:.2f} s, goal {goal_s:g} s" + ("" if seconds <= goal_s else ", over the goal")
        note += f"; {seen}" if seen else ""
        self.claim(text, holds=seconds <= self.slack * goal_s, seen=note)

    def figure(self, id_: str, what: str, value: str, goal: str = "") -> None:
        self.figures.append(Figure(id_, what, value, goal))

    def _table(self) -> None:
        self._print("\nFigures of this run, on this machine, with everything above going on at once:")
        for each in self.figures:
            goal = f"goal {each.goal}" if each.goal else ""
            self._print(f"  {each.id:<13}{each.value:>9}  {goal:<12}  {each.what}")

    def end(self) -> int:
        if self.figures and not self.wrong:
            self._table()
        self._print("")
        if self.wrong:
            self._print(f"{len(self.wrong)} claims are wrong:")
            for text in self.wrong:
                self._print(f"  - {text}")
            return 1
        self._print(f"All {self.verified} claims verified in {time.monotonic() - self.began:.0f} s.")
        return 0

    def _clock(self) -> str:
        return f"{time.monotonic() - self.began:6.1f}s"

    def _print(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
