"""What a profile said to try next, for figures that have been over their goal: told with the miss."""

from dataclasses import replace

from bench.ideas import with_next_step as told_miss
from bench.rows import Row

WRITE = (
    "a put reads its own change twice, signs it, and has the engine apply it for proof: write changes without the "
    "engine, prove a batch at once, and grow the file of the journal ahead, so that a sync has no length to keep "
    "(157 -> 107 us)"
)
API = "HTTP/1.0 of uvicorn and a connection a request take most of it: keep connections, and a door without Starlette"
NEXT: dict[str, str] = {
    "write": WRITE, "write-p99": WRITE, "write-rate": WRITE, "write-memory": WRITE,
    "write-api": API, "write-api-p99": API, "write-api-rate": API, "cut": API,
    "gate": "most of it is reading changes in Python (columns.py) and proving each in the engine: one proof a batch",
    "gate-single": "the signature, then reading and proving as above",
    "heal": "a signature a change: sign what one node wrote to many documents in a moment once; prove a batch at once",
    "heal-hot": "the same over one document",
    "disk-lazy": "more than one sync in 10 s: something else is written meanwhile (contacts, events)",
}  # fmt: skip


def with_next_step(row: Row) -> Row:
    told = told_miss(row)
    idea = NEXT.get(row.id, "")
    return replace(told, why=f"{told.why}; next: {idea}") if told.why != row.why and idea else told
