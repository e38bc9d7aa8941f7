"""A cut: both sides go on reading and writing, or they do not."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row
from bench.state.anchors import etcd
from bench.state.effort import Effort
from bench.state.rooms import KIND, NAMESPACE
from bench.state.writers import manifest
from bench.waiting import until
from meshnode.model.errors import LocalError

GAP_MS = 50.0
FOUR = [("alpha", "eu"), ("beta", "eu"), ("gamma", "us"), ("delta", "us")]
LEFT, RIGHT = ("alpha", "beta"), ("gamma", "delta")
BEFORE_S, ETCD_CUT_S, GRACE_S, HEAL_S = 1.0, 20.0, 60.0, 60.0
PAUSE_S = 0.005
ACROSS = [(1, 3), (1, 4), (2, 3), (2, 4)]
Tried = tuple[float, float, bool]  # begun, ended, done


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of etcd did in its cut."""

    done: int
    of: int
    gap_s: float


class Worker(threading.Thread):
    """Writes to a node and reads from it, in turn, without a second try."""

    def __init__(self, mesh: Nodes, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._client, self._at, self._ending = mesh.clients[name], name, threading.Event()
        self.tried: list[Tried] = []
        self.why: dict[str, int] = {}

    def run(self) -> None:
        number = 0
        while not self._ending.is_set():
            number += 1
            began = time.monotonic()
            try:
                if number % 2:
                    self._client.apply(manifest(f"cut-{self._at}-{number % 20}", number))
                else:
                    self._client.document(KIND, NAMESPACE, f"cut-{self._at}-{(number - 1) % 20}")
            except LocalError as error:
                self.why[error.message[:80]] = self.why.get(error.message[:80], 0) + 1
                self.tried.append((began, time.monotonic(), False))
            else:
                self.tried.append((began, time.monotonic(), True))
            self._ending.wait(PAUSE_S)

    def end(self) -> None:
        self._ending.set()
        self.join()


async def cutting(effort: Effort) -> AsyncIterator[Row]:
    yield await asyncio.to_thread(_cut, effort)


def _cut(effort: Effort) -> Row:
    meter = Meter()
    with Nodes(FOUR, cuttable=True) as mesh:
        mesh.form()
        assert mesh.network is not None
        gc.collect()
        gc.freeze()  # a collection of all that the bench itself holds takes 15 to 20 ms, and would be in a gap
        workers = [Worker(mesh, side[0]) for side in (LEFT, RIGHT)]
        for worker in workers:
            worker.start()
        time.sleep(BEFORE_S)
        began = time.monotonic()
        mesh.network.cut(ACROSS)
        time.sleep(effort.cut_s)
        ended = time.monotonic()
        mesh.network.heal()
        for worker in workers:
            worker.end()
        healed_s = until("the halves do not agree", lambda: _same(mesh), HEAL_S) - ended
    during = [[each for each in worker.tried if began <= each[0] < ended] for worker in workers]
    good, tried = sum(ok for each in during for *_, ok in each), sum(map(len, during))
    gap_ms = max(map(longest_gap_ms, during))
    reasons = "; ".join(f"{why} ({count})" for worker in workers for why, count in worker.why.items())
    why = (
        f"through the local API: longest time on either side between two answers that were done, {effort.cut_s:g} s "
        f"cut; {good} of {tried} reads and writes done ({100 * good / max(1, tried):.2f} %), equal roots "
        f"{healed_s:.1f} s after it ended{'; ' + reasons if reasons else ''}"
    )
    return meter.row(
        "cut", gap_ms, "ms", GAP_MS, n=tried, why=why, ok=gap_ms <= GAP_MS and good == tried, anchor=_etcd(effort)
    )


def _same(mesh: Nodes) -> bool:
    told = {(view.documents, view.documents_root) for view in (mesh.clients[name].status() for name in mesh.names)}
    return len(told) == 1


def longest_gap_ms(tried: Sequence[Tried]) -> float:
    """Between the ends of two answers that were done, one after the other."""
    ends = [ended for _, ended, ok in tried if ok]
    return max((after - before) * 1000 for before, after in pairwise(ends)) if len(ends) > 1 else 1e9


def _etcd(effort: Effort) -> Anchor:
    if not effort.full:
        return etcd.missing("left to the full run")
    try:
        with etcd.apart() as (cluster, cut, mend), ThreadPoolExecutor(2) as hands:
            seconds = BEFORE_S * 4 + ETCD_CUT_S
            both = [
                hands.submit(_loop, cluster, member, seconds) for member in (1, 2)
            ]  # 1 is alone on its side, 2 has a majority
            time.sleep(BEFORE_S * 2)
            began = time.monotonic()
            cut()
            time.sleep(ETCD_CUT_S)
            ended = time.monotonic()
            mend()
            minority, majority = (_side(each.result(), began, ended) for each in both)
    except etcd.Missing as error:
        return etcd.missing(str(error))
    why = (
        f"in {ETCD_CUT_S:g} s its minority did {minority.done} of {minority.of} puts, its majority {majority.done} of "
        f"{majority.of} with a gap of {majority.gap_s:.1f} s; {etcd.LINEARIZABLE}"
    )
    return Anchor(name=etcd.NAME, value=round(minority.gap_s * 1000, 1), why=why)


def _loop(cluster: etcd.Cluster, member: int, seconds: float) -> list[Tried]:
    told = etcd.script(
        "etcd_client.py", "loop", cluster.address(member), str(seconds), timeout_s=seconds + GRACE_S,
        inside=cluster.inside(member),
    )  # fmt: skip
    return [(began, ended, good) for began, ended, good in told["put"]]


def _side(tried: Sequence[Tried], began: float, ended: float) -> Side:
    during = [each for each in tried if began <= each[0] < ended]
    ends = [began, *(end for _, end, ok in during if ok), ended]
    gap_s = max(after - before for before, after in pairwise(ends))
    return Side(sum(ok for *_, ok in during), len(during), gap_s)
