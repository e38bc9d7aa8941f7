"""The store alone, without HTTP around it: the same questions, in a process of its own.

    python -m bench.gateway.alone STORE ROUNDS < QUESTIONS

Answers as ``bench.gateway.asker`` does. Only lists of current rows have a question of their own there.
"""

import asyncio
import json
import sys
import time
from typing import Any

from cloud_gateway.model.queries import Query, SkillQuery
from cloud_gateway.store import Store, open_store

KINDS = {"clusters": "wishes"}


async def ask(store: Store, path: str, values: dict[str, Any]) -> None:
    if path == "overview":
        await store.overview()
    elif path == "skills/search":
        await store.skills(SkillQuery(**values))
    else:
        where: dict[str, list[str]] = {
            name: value if isinstance(value, list) else [value]
            for name, value in values.items()
            if name not in ("sort", "q", "limit")
        }
        await store.listed(
            Query(kind=KINDS.get(path, path), where=where, q=values.get("q", ""), sort=values.get("sort", ""),
                  limit=int(values.get("limit", 50)))
        )  # fmt: skip


async def main() -> None:
    asked: list[tuple[str, dict[str, Any]]] = json.load(sys.stdin)
    store = await open_store(sys.argv[1])
    took: list[list[float]] = [[] for _ in asked]
    for turn in range(int(sys.argv[2]) + 1):
        for at, (path, values) in enumerate(asked):
            began_s = time.perf_counter()
            await ask(store, path, values)
            if turn:
                took[at].append(1000 * (time.perf_counter() - began_s))
    await store.close()
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
