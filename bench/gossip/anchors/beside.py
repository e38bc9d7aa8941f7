"""The anchors of this bench, made ready once and measured in the same run as meshnode, each in its own processes.

serf is Debian's package; zenoh lives in an environment of its own under bench/out. What cannot be had is named, and the
rows say so.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from functools import cache
from typing import TypeVar

import msgspec

from bench.gossip.anchors import clique, serf
from bench.gossip.effort import Effort
from bench.gossip.namespaces import Namespaces, namespaces
from tests.demo.fleet import ROOT

ENVIRONMENT = ROOT / "bench" / "out" / "zenoh"
PACKAGE = "eclipse-zenoh==1.10.2"
STAMP = ENVIRONMENT / "installed.stamp"
INSTALL_S, RUN_S = 300, 1_800
PULSES_S = (4.0, 15.0)
FiguresT = TypeVar("FiguresT", serf.Figures, clique.Figures)


def prepare() -> None:
    """Install what is not there. What fails is told again by whoever asks for it."""
    if shutil.which("serf") is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "serf"], capture_output=True, check=False)
    if not STAMP.exists() or STAMP.read_text() != PACKAGE:
        install = [str(ENVIRONMENT / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", PACKAGE]
        try:
            for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], install):
                subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=True)
            STAMP.write_text(PACKAGE)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no zenoh: {error}", file=sys.stderr)


async def beside_serf(effort: Effort) -> serf.Figures | str:
    """All figures of a cluster as large as the mesh; once a run. A text says why there are none."""
    return await asyncio.to_thread(_serf_mesh, effort)


async def beside_zenoh(effort: Effort) -> clique.Figures | str:
    return await asyncio.to_thread(_zenoh_clique, effort)


async def serf_joining(count: int) -> serf.Figures | str:
    """Only the mass join of so many."""
    return await asyncio.to_thread(_serf, serf.Plan(("", ""), count))


@cache
def _serf_mesh(effort: Effort) -> serf.Figures | str:
    full = effort.full
    return _serf(
        serf.Plan(
            ("", ""), effort.nodes, settle_s=10 if full else 3, idle_s=20 if full else effort.idle_s,
            events=effort.anchor_events, updates=10 if full else 5, kills=3 if full else 1, spin_s=effort.spin_s,
            pulse_s=effort.pulse_s, pulses_s=PULSES_S if full else (), cut_s=effort.cut_s,
        )
    )  # fmt: skip


@cache
def _zenoh_clique(effort: Effort) -> clique.Figures | str:
    full = effort.full
    plan = clique.Plan(
        effort.nodes, settle_s=8 if full else 1, idle_s=15 if full else 0, events=effort.anchor_events,
        kills=3 if full else 1, silences=1 if full else 0,
    )  # fmt: skip
    if not STAMP.exists():
        return f"{PACKAGE} could not be installed"
    with namespaces() as net:
        python = str(ENVIRONMENT / "bin" / "python")
        return _run(net, "bench.gossip.anchors.clique", clique.Figures, python, msgspec.json.encode(plan).decode())


def _serf(plan: serf.Plan) -> serf.Figures | str:
    if shutil.which("serf") is None:
        return "no serf on this machine (Debian: apt install serf)"
    with namespaces() as net:
        plan.names = net.names
        return _run(net, "bench.gossip.anchors.serf", serf.Figures, msgspec.json.encode(plan).decode())


def _run(net: Namespaces, module: str, figures: type[FiguresT], *given: str) -> FiguresT | str:
    command = net.inside(0, sys.executable, "-m", module, *given)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_S, env=environment, cwd=ROOT, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done after {RUN_S} s"
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=figures)
    except (IndexError, msgspec.DecodeError):
        return (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
