"""Clients of one daemon, in a process of their own: puts through the local API, one after the other, then 64 at once.

    python -m bench.state.writers DIRECTORY SAMPLES RATE_S

Says one line of JSON, as the clients of the anchor do.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from bench.state.rooms import KIND, NAMESPACE
from meshnode.client.client import Client
from tests.demo.fleet import ROOT, Broken

WRITERS, WARM = 64, 50
PATIENCE_S = 120.0


class Told(msgspec.Struct, frozen=True):
    """``us``: of each put, one after the other; ``rate``: puts a second by all writers."""

    us: list[float]
    rate: float


def manifest(name: str, number: int) -> dict[str, object]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"line": f"l{abs(number) % 7}"}}
    spec = {"replicas": abs(number) % 1000, "generation": abs(number)}
    return {"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec}


def told_by(directory: Path, samples: int, rate_s: float) -> Told:
    """Run them and hear what they say. Raises ``Broken``."""
    command = [sys.executable, "-m", "bench.state.writers", str(directory), str(samples), str(rate_s)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise Broken(f"the writers ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Told)


def sequence(client: Client, samples: int) -> list[float]:
    for number in range(WARM):
        client.apply(manifest(f"k{number % 100}", -number))
    took: list[float] = []
    for number in range(samples):
        body = manifest(f"k{number % 100}", number)
        began = time.perf_counter()
        client.apply(body)
        took.append((time.perf_counter() - began) * 1e6)
    return took


def rate(directory: str, rate_s: float) -> float:
    counted = [0] * WRITERS
    end = time.perf_counter() + rate_s

    def writer(at: int) -> None:
        client = Client(directory)
        while time.perf_counter() < end:
            client.apply(manifest(f"w{at}", counted[at]))
            counted[at] += 1

    threads = [threading.Thread(target=writer, args=(at,)) for at in range(WRITERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counted) / (time.perf_counter() - began)


if __name__ == "__main__":
    where, how_many, how_long_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    one = sequence(Client(where), how_many)
    print(json.dumps({"us": one, "rate": rate(where, how_long_s) if how_long_s else 0.0}))
