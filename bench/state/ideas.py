"""What a profile said to try next, for figures that have been over their goal: told with the miss."""

from dataclasses import replace

from bench.ideas import with_next_step as told_miss
from bench.rows import Row

WRITE = (
    "of a put in a turn of 64, drafting is 56 % (its change 29, JSON 11), placing 23, frames and signatures 7: an "
    "encoder that keeps keys, columns and actors of a document's last change, or it and usual.py in C"
)
API = "HTTP is under a tenth; TLS for the peers and the put are the most: one encryption a link and turn, no task a put"
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
    "docs-10k-lazy": (
        "1.6 KB a document in the room and 0.2 in the journal's books: envelopes as slices of one block"
    ),
    "disk-lazy": (
        "a page for each commit, and more for a new generation of the one document: its root as lazy as what it sums "
        "up, and packs that fit into half a page always"
    ),
}  # fmt: skip


def with_next_step(row: Row) -> Row:
    told = told_miss(row)
    idea = NEXT.get(row.id, "")
    return replace(told, why=f"{told.why}; next: {idea}") if told.why != row.why and idea else told
