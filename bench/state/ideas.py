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
        "a signature a change, 120 us: sign what one node wrote to many documents in a moment once; each document is "
        "woken twice, to be given and to be written: fewer documents a letter, so that both happen while it is awake"
    ),
    "heal-hot": "a signature a change",
    "disk-lazy": "more than one sync in 10 s: something else is written meanwhile (contacts, events)",
}  # fmt: skip


def with_next_step(row: Row) -> Row:
    told = told_miss(row)
    idea = NEXT.get(row.id, "")
    return replace(told, why=f"{told.why}; next: {idea}") if told.why != row.why and idea else told
