"""What the load was told, line by line: written by the load, read by the verifier, by nobody else."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(slots=True)
class Attempt:
    """One call through one daemon. ``code`` "": it was answered. Times are on CLOCK_MONOTONIC."""

    through: str
    began: float
    ended: float
    code: str = ""
    message: str = ""
    node: str = ""
    instance: str = ""
    durability: str = ""
    replayed: bool = False
    total: int = -1

    @property
    def took_s(self) -> float:
        return self.ended - self.began


@dataclass(slots=True)
class Line:
    """One reading: acknowledged by its last attempt, or unknown. ``repeated``: the same key sent once more."""

    id: str
    n: int
    slot: int
    began: float
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    repeated: Attempt | None = None

    @property
    def acknowledged(self) -> bool:
        return not self.attempts[-1].code

    @property
    def ended(self) -> float:
        return self.attempts[-1].ended


def write_line(file: TextIO, line: Line) -> None:
    file.write(json.dumps(asdict(line)) + "\n")
    file.flush()


def read_ledger(path: str) -> list[Line]:
    """All whole lines, as they stand now."""
    text = Path(path).read_text(encoding="utf-8")
    lines: list[Line] = []
    for row in text[: text.rfind("\n") + 1].splitlines():
        line = Line(**json.loads(row))
        line.attempts = [Attempt(**attempt) for attempt in line.attempts]  # pyright: ignore[reportCallIssue]
        line.repeated = Attempt(**line.repeated) if line.repeated else None  # pyright: ignore[reportCallIssue]
        lines.append(line)
    return lines
