"""A mesh is cut in two while both sides write: do both answer, and what is left when it is whole again?"""

import statistics
import threading
import time
from collections.abc import Mapping, Sequence

from bench.failover import AGENT
from bench.nodes import Nodes
from bench.rows import Meter, Row, spread
from bench.waiting import until
from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError

HEAL_S = 5.0
ANSWER_S = 4.0  # the goal for a node that falls silent: no write may take longer, cut or not
SIDES = (("alpha", "beta"), ("gamma", "delta"))
ACROSS = [(a, b) for a in (1, 2) for b in (3, 4)]
PACE_S = 0.02
BEFORE_S = 1.0
APART_S = 1.0
SHARED = 5  # keys that both sides write


class Writer(threading.Thread):
    """Writes through one node, one call after the other, and keeps its own ledger. ``apart``: the mesh is cut; every
    second write goes to a key that the other side writes, too."""

    def __init__(self, mesh: Nodes, node: str, number: int) -> None:
        super().__init__(name=f"writer at {node}", daemon=True)
        self._client, self._side, self._round = mesh.clients[node], node, number
        self._ending = threading.Event()
        self.apart = threading.Event()
        self.ledger: dict[str, str] = {}  # what was acknowledged last, by key
        self.took_s: list[tuple[float, float]] = []  # when each write began, and how long it took with all its tries

    def run(self) -> None:
        number = 0
        while not self._ending.is_set():
            number += 1
            shared = self.apart.is_set() and number % 2
            key = f"shared-{self._round}-{number % SHARED}" if shared else f"{self._side}-{self._round}-{number}"
            self._write(key, f"{self._side} {number}")
            self._ending.wait(PACE_S)

    def _write(self, key: str, value: str) -> None:
        began = time.monotonic()
        command = CallSkill(
            skill=f"{AGENT}.put", arguments={"key": key, "value": value}, deadline_s=ANSWER_S,
            idempotency_key=f"{self._round} {value}",
        )  # fmt: skip
        while True:
            try:
                self._client.call(command)
                break
            except LocalError:
                time.sleep(0.01)
        self.ledger[key] = value
        self.took_s.append((began, time.monotonic() - began))

    def end(self) -> None:
        self._ending.set()
        self.join()

    def slowest_s(self, since: float) -> float:
        return max((took for began, took in self.took_s if began + took >= since), default=0.0)


def heal_merge(mesh: Nodes, *, rounds: int, cut_s: float, counted: int) -> Row:
    """``counted``: calls that the agent has counted before."""
    assert mesh.network is not None
    meter = Meter()
    heals: list[float] = []
    slow: list[float] = []
    wrong: list[str] = []
    writes = siblings = 0
    for number in range(rounds):
        writers = [Writer(mesh, side[0], number) for side in SIDES]
        for writer in writers:
            writer.start()
        time.sleep(BEFORE_S)
        began = time.monotonic()
        mesh.network.cut(ACROSS)
        _set_apart(writers, cut_s)
        both = _owners(mesh)
        healed = time.monotonic()
        mesh.network.heal()
        one = until("not exactly one instance runs", lambda: _settled(mesh))
        heals.append(one - healed)
        for writer in writers:
            writer.end()
            slow.append(writer.slowest_s(began))
        if both < 2:
            wrong.append("only one side ran the agent while cut: nothing would be proved")
        mesh.whole()
        counted += sum(len(writer.took_s) for writer in writers)
        writes += sum(len(writer.took_s) for writer in writers)
        beside = {row.field: row.values for row in mesh.clients[mesh.names[0]].conflicts()}
        keys = mesh.clients[mesh.names[0]].state(AGENT).keys
        wrong += missing_writes(keys, beside, [writer.ledger for writer in writers], counted)
        siblings = len(beside)  # those of earlier cuts are listed still
    most = max(slow)
    middle = statistics.median(heals)
    told = f"LOST: {'; '.join(wrong[:3])} (of {len(wrong)})" if wrong else "each is there, merged or a listed sibling"
    why = (
        f"{rounds} cuts of {cut_s:g} s, from the heal until every node knows exactly one instance: {spread(heals)}; "
        f"{writes} acknowledged writes on both sides: {told}; {siblings} keys with siblings; slowest write, the side "
        f"without the agent included: {most:.2f} s (goal {ANSWER_S:g})"
    )
    holds = max(heals) <= HEAL_S and not wrong and most <= ANSWER_S
    return meter.row("heal-merge", middle, "s", HEAL_S, n=rounds, ok=holds, why=why)


def _set_apart(writers: Sequence[Writer], cut_s: float) -> None:
    """Let both sides write the same keys, but for the end of the cut: all such writes are acknowledged by then."""
    for writer in writers:
        writer.apart.set()
    time.sleep(cut_s - APART_S)
    for writer in writers:
        writer.apart.clear()
    time.sleep(APART_S)


def _owners(mesh: Nodes) -> int:
    """How many nodes say themselves that they run the agent."""
    count = 0
    for name in mesh.names:
        count += any(view.node == name and view.state == "running" for view in mesh.agents(name, AGENT))
    return count


def _settled(mesh: Nodes) -> bool:
    homes = {name: [view.node for view in mesh.agents(name, AGENT) if view.state == "running"] for name in mesh.names}
    return all(len(found) == 1 for found in homes.values()) and len({found[0] for found in homes.values()}) == 1


def missing_writes(
    keys: Mapping[str, object],
    beside: Mapping[str, Sequence[object]],
    ledgers: Sequence[Mapping[str, str]],
    counted: int,
) -> list[str]:
    """Acknowledged writes that are neither in the state nor listed beside it, and a count that is not theirs."""
    lost: list[str] = []
    if keys.get("count") != counted:
        lost.append(f"the count is {keys.get('count')}, acknowledged are {counted}")
    lost += [
        f"{key}={value}"
        for ledger in ledgers
        for key, value in ledger.items()
        if keys.get(key) != value and value not in beside.get(key, [])
    ]
    return lost
