"""Starts of agents: from wanting one to its first answer; and what the SDK costs to import."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.anchors import plain
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, spread

SPAWN_MS, IMPORT_MS = 25.0, 90.0


def spawn(mesh: Nodes, *, rounds: int) -> Iterator[Row]:
    """A new agent through the API, and a plain subprocess, in turn."""
    meter = Meter()
    node = mesh.names[0]
    whole: list[float] = []
    wanted: list[float] = []
    own: list[float] = []
    beside: list[float] = []
    for number in range(rounds + 1):
        name = f"spawn-{number}"
        began = time.monotonic()
        mesh.run(node, name, "echo.py", on=node)
        accepted = time.monotonic()
        born_s = mesh.call(node, f"{name}.began", pause_s=0.001).result
        answered = time.monotonic()
        if number:  # the first one compiles its file
            whole.append((answered - began) * 1000)
            wanted.append((accepted - began) * 1000)
            own.append((answered - born_s) * 1000)
            beside.append(_plain_ms())
        mesh.clients[node].stop(name)
    anchor = Anchor(name=plain.NAME, value=statistics.median(beside), why=spread(beside, 0))
    why = (
        f"from the order through the API to the first answer: {spread(whole, 0)}; of that until the order is accepted "
        f"and written: {statistics.median(wanted):.0f}; from the first line of the agent's file: "
        f"{statistics.median(own):.0f}"
    )
    yield meter.row("spawn", statistics.median(whole), "ms", SPAWN_MS, n=rounds, why=why, anchor=anchor)
    yield meter.row(
        "spawn-process", statistics.median(own), "ms", None, n=rounds, anchor=anchor,
        why=f"from the first line of the agent's file to its first answer, told for information: {spread(own, 0)}",
    )  # fmt: skip


def _plain_ms() -> float:
    began = time.monotonic()
    process = plain.Plain()
    took = (time.monotonic() - began) * 1000
    process.close()
    return took


def sdk_import(*, rounds: int) -> Row:
    """``from meshnode.sdk import Agent, Ctx`` in a new interpreter, over an empty one, in turn."""
    meter = Meter()
    _interpreter_ms("from meshnode.sdk import Agent, Ctx")
    bare: list[float] = []
    over: list[float] = []
    for _ in range(rounds):
        bare.append(_interpreter_ms("pass"))
        over.append(_interpreter_ms("from meshnode.sdk import Agent, Ctx") - bare[-1])
    anchor = Anchor(name="bare Python", value=statistics.median(bare))
    why = f"over bare Python: {spread(over, 0)}"
    return meter.row("sdk-import", statistics.median(over), "ms", IMPORT_MS, n=rounds, why=why, anchor=anchor)


def _interpreter_ms(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.monotonic() - began) * 1000
