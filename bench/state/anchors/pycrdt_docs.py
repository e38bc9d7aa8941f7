"""pycrdt on the same records, one document each with eight fields in a map, in memory.

It has no signatures, no disk and no schema, so its figures are a floor for the engine, not for the room.

    pycrdt_docs.py DOCUMENTS CHANGES YEAR

Says one line of JSON.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pycrdt import Doc, Map

FIELDS = ("replicas", "agent", "region", "reason", "enabled", "load", "labels", "version")


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


def made(number: int) -> Doc:
    doc = Doc()
    doc["record"] = Map({field: f"{field} {number}" for field in FIELDS})
    return doc


def main(documents: int, changes: int, year: int) -> dict[str, Any]:
    before = rss_mib()
    docs = [made(number) for number in range(documents)]
    mib = rss_mib() - before
    took: list[float] = []
    records = [doc.get("record", type=Map) for doc in docs[:100]]
    for number in range(4_000):
        began = time.perf_counter_ns()
        records[number % len(records)].to_py()
        took.append((time.perf_counter_ns() - began) / 1000)
    target, began = Doc(), time.perf_counter()
    source = Doc()
    source["record"] = record = Map({})
    updates: list[bytes] = []
    state = source.get_state()
    for number in range(changes):
        with source.transaction():
            for field in FIELDS:
                record[field] = number
        updates.append(source.get_update(state))
        state = source.get_state()
    began = time.perf_counter()
    for update in updates:
        target.apply_update(update)
    applied = changes / (time.perf_counter() - began)
    told: dict[str, Any] = {"mib": mib, "read_us": statistics.median(took), "applied": applied, "year_bytes": None}
    if year:
        for number in range(year):
            record["load"] = number
        told["year_bytes"] = len(source.get_update())
    return told


if __name__ == "__main__":
    print(json.dumps(main(*(int(word) for word in sys.argv[1:4]))))
