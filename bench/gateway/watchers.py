"""Readers of the live feed in a process of their own.

    python -m bench.gateway.watchers HOST:PORT READERS SECONDS KINDS...

``KINDS``: of rows, with commas; several sets are asked for by as many readers each. Prints "watching" once all are
connected, then JSON: ``heard``, for each event and reader [node, number, wall ms of the frame's commit, wall ms of its
arrival]; how many frames and bytes came, and how often a reader was told to ask anew.
"""

import asyncio
import json
import sys
import time
from typing import Any

LINE_BYTES_MAX = 64 * 1024 * 1024


Heard = tuple[str, int, float, float]


class Tally:
    """Over all readers."""

    def __init__(self, readers: int) -> None:
        self.heard: list[Heard] = []
        self.frames = self.resets = self.bytes = 0
        self.all_there = asyncio.Event()
        self._missing = readers
        self._known: dict[bytes, tuple[float, list[tuple[str, int]]]] = {}

    def enter(self) -> None:
        """One more is connected."""
        self._missing -= 1
        if not self._missing:
            self.all_there.set()

    def note(self, kind: bytes, data: bytes, now_ms: float) -> None:
        """One frame, as one reader got it."""
        if kind == b"reset":
            self.resets += 1
        if kind != b"changed":
            return
        self.frames += 1
        at_ms, events = self._read(data)
        self.heard += [(node, number, at_ms, now_ms) for node, number in events]

    def _read(self, data: bytes) -> tuple[float, list[tuple[str, int]]]:
        """Many readers get the same bytes: they are read once."""
        known = self._known.get(data)
        if known is None:
            if len(self._known) > 32:
                self._known.clear()
            told = json.loads(data)
            known = self._known[data] = (told["at_ms"], [(event["node"], event["number"]) for event in told["events"]])
        return known


async def watch(host: str, kinds: str, tally: Tally, until_s: float) -> None:
    name, _, port = host.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port), limit=LINE_BYTES_MAX)
    writer.write(f"GET /api/v1/watch?kinds={kinds} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    tally.enter()
    kind = b""
    try:
        async with asyncio.timeout_at(until_s):
            while line := await reader.readline():
                tally.bytes += len(line)
                if line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: "):
                    tally.note(kind, line[6:], time.time() * 1000)
    except TimeoutError:
        pass
    finally:
        writer.close()


async def main() -> None:
    host, readers, seconds, kinds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
    tally = Tally(readers)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        until_s = loop.time() + seconds + 60
        watching = [
            tasks.create_task(watch(host, kinds[at % len(kinds)], tally, until_s), name=f"watcher-{at}")
            for at in range(readers)
        ]
        await tally.all_there.wait()
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        await asyncio.sleep(seconds)
        for task in watching:
            task.cancel()
    told: dict[str, Any] = {
        "heard": tally.heard, "frames": tally.frames, "resets": tally.resets, "bytes": tally.bytes
    }  # fmt: skip
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
