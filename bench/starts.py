"""Starts: a whole mesh until its first call, and a node with the cable out until its agent answers."""

import statistics
import time

from bench.anchors import beside
from bench.failover import AGENT, FULL_ONLY, SKILL, Books
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, spread
from bench.waiting import until
from meshnode.model.commands import CallSkill
from tests.demo.fleet import Broken

MESH_S, ALONE_S = 0.6, 3.0
RAY_COLD = "Ray 2.60.0, three nodes to the first call"
GIVE_UP_S = 30.0
ASK_EVERY_S = 0.005
CALLS = 20


def cold_mesh(mesh: Nodes, *, rounds: int, beside_rounds: int) -> Row:
    """Start all daemons at once; until the first answers a call that the last one's agent serves."""
    meter = Meter()
    first, last = mesh.names[0], mesh.names[-1]
    mesh.run(last, "cold", "echo.py", on=last)
    mesh.call(first, "cold.echo", payload="x")
    times: list[float] = []
    for _ in range(rounds):
        for name in mesh.names:
            mesh.kill(name)
        began = time.monotonic()
        pipes = [(name, mesh.launch(name)) for name in mesh.names]
        times.append(_first_call(mesh, first) - began)
        for name, pipe in pipes:
            mesh.await_ready(name, pipe)
        mesh.whole()
    anchor = _ray_cold(beside_rounds)
    why = f"3 daemons killed and started at once, agent on {last}, called through {first}: {spread(times)}"
    return meter.row("cold-mesh", statistics.median(times), "s", MESH_S, n=rounds, why=why, anchor=anchor)


def _first_call(mesh: Nodes, node: str) -> float:
    asked = CallSkill(skill="cold.echo", arguments={"payload": "x" * 128}, deadline_s=2.0)

    def answered() -> bool:
        mesh.clients[node].call(asked)
        return True

    return until(f"no first call through {node}", answered, GIVE_UP_S, ASK_EVERY_S)


def _ray_cold(rounds: int) -> Anchor:
    """Without the import of Ray, since our caller has imported its client, too."""
    if not rounds:
        return Anchor(name=RAY_COLD, why=FULL_ONLY)
    try:
        told = [beside.once("ray_cold.py", timeout_s=90) for _ in range(rounds)]
    except beside.Missing as error:
        return Anchor(name=RAY_COLD, why=f"not measured: {error}")
    times = [one["cluster_s"] + one["first_call_s"] for one in told]
    imports = [one["import_s"] for one in told]
    why = f"{spread(times)}, without its import ({spread(imports)})"
    return Anchor(name=RAY_COLD, value=statistics.median(times), why=why)


def cold_alone(mesh: Nodes, books: Books, *, rounds: int) -> Row:
    """Cut the agent's node off, kill it, start it still cut off: until its agent answers with the state it had."""
    assert mesh.network is not None
    meter = Meter()
    times: list[float] = []
    wrong: list[str] = []
    for _ in range(rounds):
        for _ in range(CALLS):
            home = books.call(mesh.names[0])
        before = books.acknowledged
        number = mesh[home].number
        mesh.network.cut([(number, node.number) for node in mesh.all if node.number != number])
        mesh.kill(home)
        began = time.monotonic()
        mesh.up(home)
        view = mesh.call(home, SKILL, key=f"alone-{before}", within_s=GIVE_UP_S)
        times.append(time.monotonic() - began)
        if view.node != home or mesh.clients[home].status().peers_connected:
            raise Broken(f"{home} was not cut off: nothing would be proved")
        if view.result != before + 1:
            wrong.append(f"{view.result} after {before}")
        books.acknowledged += 1  # what the lone node answered is acknowledged, wherever the agent runs from now on
        mesh.network.heal()
        mesh.whole()
        until("not exactly one instance runs", lambda: all(mesh.running(name, AGENT, 1) for name in mesh.names))
    told = f"WRONG: {'; '.join(wrong)}" if wrong else "the count went on where it was"
    why = f"from fork, cut off from everybody, until its agent answers: {spread(times)}; {told}"
    middle = statistics.median(times)
    return meter.row("cold-alone", middle, "s", ALONE_S, n=rounds, ok=middle <= ALONE_S and not wrong, why=why)
