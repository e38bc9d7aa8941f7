"""A node dies by SIGKILL: how soon it is avoided, and how soon it is back with nobody to talk to."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from bench.mesh import HOME, NAMES, Mesh
from bench.rows import Meter, Row, spread
from bench.waiting import until

AVOID_S, API_S, AGENT_S = 1.0, 2.0, 3.0
NEIGHBOURS = NAMES[1:]
CUT_OFF = [(1, other) for other in (2, 3, 4)]


def kill_and_boot(mesh: Mesh, *, rounds: int) -> list[Row]:
    """Kill alpha, see it avoided, start it cut off, see it answer; again."""
    meter = Meter()
    avoided: list[float] = []
    api: list[float] = []
    agent: list[float] = []
    for _ in range(rounds):
        avoided.append(_kill(mesh))
        at_api, at_agent = _boot_alone(mesh)
        api.append(at_api)
        agent.append(at_agent)
    middle_api, middle_agent = statistics.median(api), statistics.median(agent)
    holds = middle_api <= API_S and middle_agent <= AGENT_S
    documents = mesh.clients[HOME].status().documents
    return [
        meter.row(
            "kill-routing", statistics.median(avoided), "s", AVOID_S, n=rounds,
            why=f"until the last of 3 neighbours neither lists it ready nor would call it: {spread(avoided)}",
        ),
        meter.row(
            "cold-boot", middle_api, "s", API_S, n=rounds, ok=holds,
            why=f"cut off, {documents} documents: API answers {spread(api)} (goal {API_S:g} s); "
            f"its agent answers {spread(agent)} (goal {AGENT_S:g} s)",
        ),
    ]  # fmt: skip


def _kill(mesh: Mesh) -> float:
    with ThreadPoolExecutor(len(NEIGHBOURS)) as watchers:
        killed = time.monotonic()
        mesh.fleet.kill(HOME)
        seen = [watchers.submit(until, "it is still routed to", _avoids(mesh, name)) for name in NEIGHBOURS]
        return max(future.result() for future in seen) - killed


def _avoids(mesh: Mesh, name: str):  # noqa: ANN202
    return lambda: not mesh.would_call(name) and mesh.clients[name].node(HOME).state != "ready"


def _boot_alone(mesh: Mesh) -> tuple[float, float]:
    """Seconds from the start of the process to the first answer of its API, and of its agent."""
    mesh.fleet.network.cut(CUT_OFF)
    began = time.monotonic()
    mesh.fleet.up(HOME)
    api = until("the API stays silent", lambda: mesh.clients[HOME].status().boot > 1)
    agent = until("the agent stays silent", mesh.answers)
    if mesh.clients[HOME].status().peers_connected:
        raise AssertionError("it was not cut off: nothing would be proved")
    mesh.fleet.network.heal()
    mesh.whole()
    return api - began, agent - began
