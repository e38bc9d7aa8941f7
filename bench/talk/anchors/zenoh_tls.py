"""zenoh peers over mutual TLS, shared memory off: ``server PORT DIRECTORY`` answers a queryable, ``client`` asks it.

A call of zenoh's Python is answered on a thread of its own; ``window`` keeps calls in flight by a semaphore there.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zenoh
from orders import say

WARM = 3
LOOK_S, LOOKS_MAX = 0.01, 1_000


def opened(side: str, port: int, at: Path) -> zenoh.Session:
    endpoint = f"tls/localhost:{port}"
    leaf, key = str(at / f"{side}.pem"), str(at / f"{side}.key")
    tls = {
        "root_ca_certificate": str(at / "root.pem"),
        "listen_certificate": leaf, "listen_private_key": key,
        "connect_certificate": leaf, "connect_private_key": key,
        "enable_mtls": True, "verify_name_on_connect": True,
    }  # fmt: skip
    config = {
        "mode": "peer",
        "scouting": {"multicast": {"enabled": False}, "gossip": {"enabled": False}},
        "listen": {"endpoints": [endpoint] if side == "server" else []},
        "connect": {"endpoints": [] if side == "server" else [endpoint]},
        "transport": {"shared_memory": {"enabled": False}, "link": {"tls": tls}},
    }
    return zenoh.open(zenoh.Config.from_json5(json.dumps(config)))


def serve(port: int, at: Path) -> None:
    session, heard = opened("server", port, at), [0]

    def hear(_: zenoh.Sample) -> None:
        heard[0] += 1

    session.declare_queryable("bench/echo", lambda query: query.reply("bench/echo", query.payload), complete=True)
    session.declare_queryable("bench/end", lambda query: query.reply("bench/end", heard[0].to_bytes(8)), complete=True)
    session.declare_subscriber("bench/one-way", hear)
    say({"ready": True, "pid": os.getpid()})
    sys.stdin.read()
    os._exit(0)


class Client:
    """Asks the server."""

    def __init__(self, port: int, at: Path) -> None:
        self.session = opened("client", port, at)
        self.sent = 0
        self.publisher = self.session.declare_publisher(
            "bench/one-way", congestion_control=zenoh.CongestionControl.BLOCK, express=False
        )
        self.querier = self.session.declare_querier(
            "bench/echo", target=zenoh.QueryTarget.BEST_MATCHING, timeout=20.0,
            consolidation=zenoh.ConsolidationMode.NONE,
        )  # fmt: skip
        self._wait_for_the_server()

    def _wait_for_the_server(self) -> None:
        """What it declares travels to us."""
        for _ in range(LOOKS_MAX):
            if self.publisher.matching_status.matching and self.querier.matching_status.matching:
                return
            time.sleep(LOOK_S)
        sys.exit("the server's declarations have not come")

    def sequence(self, payload: bytes, for_s: float) -> dict[str, Any]:
        took: list[float] = []
        for _ in range(WARM):
            self.call(payload)
        until = time.perf_counter() + for_s
        while (began := time.perf_counter()) < until:
            self.call(payload)
            took.append(time.perf_counter() - began)
        took.sort()
        at = {share: round(took[int(len(took) * share)] * 1e6, 2) for share in (0.5, 0.99)}
        return {"count": len(took), "p50_us": at[0.5], "p99_us": at[0.99]}

    def call(self, payload: bytes) -> bytes:
        answers = [bytes(reply.ok.payload) for reply in self.querier.get(payload=payload)]
        assert len(answers[-1]) == len(payload)
        return answers[-1]

    def window(self, payload: bytes, at_once: int, for_s: float) -> dict[str, Any]:
        room, count, began = threading.Semaphore(at_once), 0, time.perf_counter()

        def answered(_: zenoh.Reply) -> None:
            room.release()

        while time.perf_counter() - began < for_s:
            room.acquire()
            self.querier.get(answered, payload=payload)
            count += 1
        for _ in range(at_once):
            room.acquire(timeout=10)
        return {"count": count, "per_s": count / (time.perf_counter() - began)}

    def stream(self, payload: bytes, for_s: float) -> dict[str, Any]:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < for_s:
            self.publisher.put(payload)
            count += 1
        self.sent += count
        while sum(int.from_bytes(bytes(reply.ok.payload)) for reply in self.session.get("bench/end")) < self.sent:
            time.sleep(0.002)
        return {"count": count, "mb_s": count * len(payload) / (time.perf_counter() - began) / 1e6}


def measured(port: int, at: Path) -> None:
    client = Client(port, at)
    say({"ready": True, "pid": os.getpid()})
    for line in sys.stdin:
        order = json.loads(line)
        payload = os.urandom(order["bytes"])
        match order["what"]:
            case "sequence":
                say(client.sequence(payload, order["for_s"]))
            case "window":
                say(client.window(payload, order["at_once"], order["for_s"]))
            case _:
                say(client.stream(payload, order["for_s"]))
    os._exit(0)


if __name__ == "__main__":
    (serve if sys.argv[1] == "server" else measured)(int(sys.argv[2]), Path(sys.argv[3]))
