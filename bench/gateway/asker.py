"""A reader of the API in a process of its own: one connection that is kept, one question at a time.

    python -m bench.gateway.asker HOST:PORT ROUNDS < QUESTIONS

``QUESTIONS``: JSON, a list of [path, deep]. Answers with JSON: for each of them the milliseconds of every round.
"""

import json
import random
import socket
import sys
import time
from typing import Any

PER_S = 170.0  # the gateway lets one client read 200 times a second


class Door:
    """As much of HTTP as is needed, so that little of what is timed is the reader's own."""

    def __init__(self, host: str) -> None:
        self._host = host
        name, _, port = host.rpartition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._due_s = time.monotonic()

    def get(self, path: str) -> tuple[bytes, float]:
        """The body, and the seconds from the question to its last byte."""
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s = max(self._due_s, time.monotonic() - 0.5) + 1 / PER_S
        began_s = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        told = b""
        while b"\r\n\r\n" not in told:
            told += self._more()
        head, _, body = told.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        took_s = time.perf_counter() - began_s
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"{path}: {head.splitlines()[0].decode()}: {body[:300].decode(errors='replace')}")
        return body, took_s

    def _more(self) -> bytes:
        got = self._socket.recv(1 << 20)
        if not got:
            raise SystemExit("the gateway closed the connection")
        return got


def turned(door: Door, path: str, deep: int) -> str:
    """The address of the page that many pages on; the last one there is, where there are fewer."""
    here = path
    for _ in range(deep):
        after = json.loads(door.get(here)[0]).get("next")
        if not after:
            break
        here = f"{path}{'&' if '?' in path else '?'}after={after}"
    return here


def main() -> None:
    asked: list[Any] = json.load(sys.stdin)
    door = Door(sys.argv[1])
    paths = [turned(door, path, deep) for path, deep in asked]
    took: list[list[float]] = [[] for _ in paths]
    for path in paths:  # once, so that what only the first of all pays is not in it
        door.get(path)
    luck = random.Random(1)
    for _ in range(int(sys.argv[2])):
        for at in luck.sample(range(len(paths)), len(paths)):
            took[at].append(1000 * door.get(paths[at])[1])
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main()
