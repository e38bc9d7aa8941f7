"""NATS: requests of 128 bytes to a micro service, plaintext, three servers in a cluster; the service is on the second.

Says ``{"ready": true, "cold_s": ...}``, then serves rounds as ``ray_calls.py`` does: "same" is a client of the second
server, "cross" one of the first.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nats

WARM = 500
IN_FLIGHT = 64
TRIES_MAX, AGAIN_S = 250, 0.02  # a server that starts takes a moment
NUMBERS = (1, 2, 3)
CLIENT_PORT, ROUTE_PORT = 4300, 4400


def server(number: int) -> subprocess.Popen[bytes]:
    routes = ",".join(f"nats://127.0.0.1:{ROUTE_PORT + other}" for other in NUMBERS if other != number)
    return subprocess.Popen(
        ["nats-server", "-a", "127.0.0.1", "-p", str(CLIENT_PORT + number), "--cluster_name", "c",
         "--cluster", f"nats://127.0.0.1:{ROUTE_PORT + number}", "--routes", routes],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def service(number: int) -> subprocess.Popen[bytes]:
    """Started again while its server does not take it yet."""
    file = Path(__file__).with_name("nats_service.py")
    for _ in range(TRIES_MAX):
        started = subprocess.Popen(
            [sys.executable, str(file), f"nats://127.0.0.1:{CLIENT_PORT + number}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert started.stdout is not None
        if started.stdout.readline():
            return started
        started.wait()
        time.sleep(AGAIN_S)
    sys.exit(f"the service of server {number} was not taken in {TRIES_MAX} tries")


async def window(client: nats.NATS, payload: bytes, window_s: float) -> float:
    count, began = 0, time.perf_counter()

    async def one() -> None:
        nonlocal count
        while time.perf_counter() - began < window_s:
            await client.request("svc.echo", payload)
            count += 1

    await asyncio.gather(*[one() for _ in range(IN_FLIGHT)])
    return count / (time.perf_counter() - began)


async def sequence(client: nats.NATS, payload: bytes, warm: int, samples: int) -> list[float]:
    for _ in range(warm):
        await client.request("svc.echo", payload)
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        await client.request("svc.echo", payload)
        took.append(round((time.perf_counter() - began) * 1e6, 1))
    return took


async def main(began: float) -> None:
    payload = os.urandom(128)
    clients = {"cross": await nats.connect(f"nats://127.0.0.1:{CLIENT_PORT + 1}")}
    while True:
        try:
            await clients["cross"].request("svc.echo", payload, timeout=1)
            break
        except nats.errors.Error:
            await asyncio.sleep(0.005)
    print(json.dumps({"ready": True, "cold_s": time.perf_counter() - began}), flush=True)
    clients["same"] = await nats.connect(f"nats://127.0.0.1:{CLIENT_PORT + 2}")
    warm = dict.fromkeys(clients, WARM)
    while line := await asyncio.to_thread(sys.stdin.readline):
        where, samples, window_s = line.split()
        took = await sequence(clients[where], payload, warm[where], int(samples))
        warm[where] = 50
        calls_s = await window(clients[where], payload, float(window_s)) if float(window_s) else 0.0
        print(json.dumps({"us": took, "calls_s": calls_s}), flush=True)


def run() -> None:
    began = time.perf_counter()
    started = [server(number) for number in NUMBERS]
    try:
        started.append(service(2))
        asyncio.run(main(began))
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


if __name__ == "__main__":
    run()
