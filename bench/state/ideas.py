"""What a profile said to try next, for figures that have been over their goal: told with the miss."""

from dataclasses import replace

from bench.ideas import with_next_step as told_miss
from bench.rows import Row

WRITE = (
    "a put is flat Python now (its text, columns, registers: a tenth each) and one Ed25519 of 40 us: sign "
    "what one turn of the loop wrote to many documents once, and append without a thread between"
)
API = "HTTP/1.0 of uvicorn and a connection a request take most of it: keep connections, and a door without Starlette"
NEXT: dict[str, str] = {
    "write": WRITE, "write-p99": WRITE, "write-rate": WRITE, "write-memory": WRITE,
    "write-api": API, "write-api-p99": API, "write-api-rate": API, "cut": API,
    "gate": "reading changes in Python is most of it (usual.py), then their registers: a reader of columns in C",
    "gate-single": "the signature of each: 120 us of Ed25519",
    "heal": (
        "signatures are 2 % of it; the rest is Python, flat: reading a change, judging it, frames and hashes. Columns "
        "and keys of all changes of a letter read at once, or a reader of changes in C"
    ),
    "heal-hot": "a signature a change: several writes of one document in one turn can be one envelope",
    "disk-lazy": "more than one sync in 10 s: something else is written meanwhile (contacts, events)",
}  # fmt: skip


def with_next_step(row: Row) -> Row:
    told = told_miss(row)
    idea = NEXT.get(row.id, "")
    return replace(told, why=f"{told.why}; next: {idea}") if told.why != row.why and idea else told
