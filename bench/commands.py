"""How long a person waits for the command line: whole processes, from fork to exit."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.mesh import HOME, Mesh
from bench.rows import Meter, Row

STATUS_MS, HELP_MS = 300.0, 150.0
# The console script a person would run, of the environment this runs in.
MESHNODE = Path(sys.executable).with_name("meshnode")


def cli(mesh: Mesh, *, runs: int) -> Row:
    """``meshnode status`` of a daemon in the mesh, and ``meshnode --help``, in turn."""
    meter = Meter()
    ask = ("-C", str(mesh.fleet[HOME].directory), "status")
    _took_ms(*ask)  # the first one after a change writes bytecode
    status: list[float] = []
    help_: list[float] = []
    for _ in range(runs):
        status.append(_took_ms(*ask))
        help_.append(_took_ms("--help"))
    middle, middle_help = statistics.median(status), statistics.median(help_)
    why = (
        f"status: median {middle:.0f} ms, {min(status):.0f} to {max(status):.0f} (goal {STATUS_MS:g}); "
        f"--help: median {middle_help:.0f} ms, {min(help_):.0f} to {max(help_):.0f} (goal {HELP_MS:g})"
    )
    holds = middle <= STATUS_MS and middle_help <= HELP_MS
    return meter.row("cli", middle, "ms", STATUS_MS, n=runs, ok=holds, why=why)


def _took_ms(*arguments: str) -> float:
    began = time.monotonic()
    subprocess.run([str(MESHNODE), *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.monotonic() - began) * 1000
