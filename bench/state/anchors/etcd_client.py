"""Clients of etcd, by gRPC, as light as Python allows: no stubs, no library of etcd's.

    etcd_client.py puts ADDRESS,ADDRESS,... SAMPLES RATE_S BYTES    one after the other, then 64 threads
    etcd_client.py loop ADDRESS SECONDS                             puts and serializable reads, each 50 ms, for a cut

Says one line of JSON.
"""

import json
import os
import sys
import threading
import time
from typing import Any

import grpc

WRITERS, WARM, PAUSE_S, PATIENCE_S = 64, 50, 0.05, 3.0


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def block(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + number(len(data)) + data


class Client:
    """``etcdserverpb.KV``: Put of a key, Range of a key from this member alone."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._put: Any = self._channel.unary_unary("/etcdserverpb.KV/Put")
        self._range: Any = self._channel.unary_unary("/etcdserverpb.KV/Range")

    def put(self, key: bytes, value: bytes) -> None:
        self._put(block(1, key) + block(2, value), timeout=PATIENCE_S)

    def read(self, key: bytes) -> None:
        self._range(block(1, key) + b"\x38\x01", timeout=PATIENCE_S)


def puts(addresses: list[str], samples: int, rate_s: float, size: int) -> dict[str, Any]:
    clients = [Client(address) for address in addresses]
    value = os.urandom(size)
    for at in range(WARM):
        clients[0].put(b"warm%d" % at, value)
    took: list[float] = []
    for at in range(samples):
        began = time.perf_counter()
        clients[at % len(clients)].put(b"k%d" % (at % 100), value)
        took.append((time.perf_counter() - began) * 1e6)
    return {"us": took, "rate": rate(clients, rate_s, value) if rate_s else 0}


def rate(clients: list[Client], rate_s: float, value: bytes) -> float:
    counted = [0] * WRITERS
    end = time.perf_counter() + rate_s

    def writer(at: int) -> None:
        while time.perf_counter() < end:
            clients[at % len(clients)].put(b"w%d" % at, value)
            counted[at] += 1

    threads = [threading.Thread(target=writer, args=(at,)) for at in range(WRITERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counted) / (time.perf_counter() - began)


def loop(address: str, seconds: float) -> dict[str, Any]:
    """What was tried: [begun, ended, ok] on CLOCK_MONOTONIC, by kind."""
    client, end = Client(address), time.monotonic() + seconds
    tried: dict[str, list[tuple[float, float, bool]]] = {"put": [], "read": []}

    def go_on(kind: str) -> None:
        act = (lambda: client.put(b"cut", b"1")) if kind == "put" else (lambda: client.read(b"cut"))
        while time.monotonic() < end:
            began, good = time.monotonic(), True
            try:
                act()
            except grpc.RpcError:
                good = False
            tried[kind].append((began, time.monotonic(), good))
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=go_on, args=(kind,)) for kind in tried]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tried


if __name__ == "__main__":
    if sys.argv[1] == "puts":
        told = puts(sys.argv[2].split(","), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
    else:
        told = loop(sys.argv[2], float(sys.argv[3]))
    print(json.dumps(told))
