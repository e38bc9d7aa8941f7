"""What a profile said to try next, for figures that have been over their goal: told with the miss."""

from dataclasses import replace

from bench.ideas import with_next_step as told_miss
from bench.rows import Row

NEXT: dict[str, str] = {}


def with_next_step(row: Row) -> Row:
    told = told_miss(row)
    idea = NEXT.get(row.id, "")
    return replace(told, why=f"{told.why}; next: {idea}") if told.why != row.why and idea else told
