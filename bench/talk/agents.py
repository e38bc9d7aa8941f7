"""From agent to agent through one daemon and through two: alone and 64 at once; streams, objects; beside what hangs."""

import contextlib
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.nodes import Nodes
from bench.rows import Meter, Row, quantile
from bench.talk.calls import others
from bench.talk.effort import Effort
from bench.talk.rivals import ASYNCIO, NATS, RAY, Rivals, rivals
from bench.talk.rounds import Results, take
from bench.waiting import until
from meshnode.model.errors import LocalError
from tests.demo.fleet import Broken

PLAN = (("alpha", "home"), ("beta", "home"), ("gamma", "home"), ("delta", "home"))
ZMQ = dict.fromkeys(("gamma", "delta"), ("--bus", "zmq"))
# A path: from the caller of a node to the echo of a node.
PATHS = {
    "unix": ("alpha", "beta"), "zmq": ("gamma", "delta"), "one daemon, unix": ("alpha", "alpha"),
    "one daemon, zmq": ("gamma", "gamma"),
}  # fmt: skip
IN_FLIGHT, WARM, WITHIN_S = 64, 50, 60.0
ITEM_BYTES, OBJECT_BYTES = 16 * 1024, 1_000_000  # an answer of a whole MiB has no room for what goes around it
HUNG, HANG_S = 64, 60.0
SEED = 11
UNIX_MS, ZMQ_MS, P99_MS, REMOTE_RATE, LOCAL_RATE = 0.33, 0.5, 1.0, 25_000, 80_000
SHARE, HANG_RATIO = 0.8, 1.2


@dataclass(slots=True)
class Series:
    """Rounds of one path."""

    p50_us: list[float] = field(default_factory=list[float])
    p99_us: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])

    def told(self) -> str:
        each = " ".join(f"{value:.0f}" for value in self.p50_us)
        return f"p50 {statistics.median(self.p50_us):.0f} us (rounds {each}), p99 {statistics.median(self.p99_us):.0f}"


def agents(effort: Effort) -> Iterator[Row]:
    """The rows of calls between agents."""
    with Nodes(PLAN, options=ZMQ) as mesh:
        mesh.form()
        for name in mesh.names:
            mesh.run(name, f"echo-{name}", "echo.py", on=name)
            mesh.run(name, f"caller-{name}", "echo.py", on=name)
        mesh.run("alpha", "sleeper-alpha", "echo.py", on="alpha")
        with rivals(effort) as others_here:
            yield from _calls(mesh, effort, others_here)
        yield from _bulk(mesh, effort)
        yield _hang(mesh, effort)


def _calls(mesh: Nodes, effort: Effort, beside: Rivals) -> Iterator[Row]:
    meter, series = Meter(), {name: Series() for name in PATHS}
    for number in range(effort.rounds + 1):
        for name, (caller, callee) in PATHS.items():
            target = f"echo-{callee}.echo"
            took = _ask(mesh, caller, "sequence", target=target, warm=WARM, samples=effort.samples)
            rate = _ask(mesh, caller, "window", target=target, in_flight=IN_FLIGHT, window_s=effort.window_s)
            if number:  # the first round warms
                series[name].p50_us.append(quantile(took, 0.5))
                series[name].p99_us.append(quantile(took, 0.99))
                series[name].per_s.append(rate)
        beside.round(effort)
        if not number:
            beside.forget()
    n = effort.rounds
    for id_, path, goal in (("a2a-1", "unix", UNIX_MS), ("a2a-1-zmq", "zmq", ZMQ_MS)):
        of = series[path]
        why = f"128 B, two daemons, mutual TLS, agents by {path}: {of.told()}; {beside.told()}"
        yield meter.row(id_, statistics.median(of.p50_us) / 1000, "ms", goal, n=n, why=why, anchor=beside.ms(RAY))
    of = series["unix"]
    yield meter.row("a2a-1-p99", statistics.median(of.p99_us) / 1000, "ms", P99_MS, n=n, why="agents by unix socket")
    why = f"{IN_FLIGHT} in flight, by unix; rounds {_each(of.per_s)}; by ZeroMQ {_each(series['zmq'].per_s)}"
    yield meter.row(
        "a2a-64", statistics.median(of.per_s), "calls/s", REMOTE_RATE, n=n, more=True, anchor=beside.rate(NATS),
        why=f"{why}; {beside.told()}",
    )  # fmt: skip
    local, plain = series["one daemon, zmq"], series["one daemon, unix"]
    yield meter.row(
        "local-64", statistics.median(local.per_s), "calls/s", LOCAL_RATE, n=n, more=True, anchor=beside.rate(ASYNCIO),
        why=f"agent to agent through one daemon, {IN_FLIGHT} in flight, by ZeroMQ; rounds {_each(local.per_s)}; by "
        f"unix {_each(plain.per_s)}, {plain.told()}",
    )  # fmt: skip


def _bulk(mesh: Nodes, effort: Effort) -> Iterator[Row]:
    """Between agents on two nodes; the others between two processes without agents."""
    meter = Meter()
    ours: dict[str, list[float]] = {"stream": [], "object": []}
    as_bytes: dict[str, list[float]] = {"stream": [], "object": []}
    for _ in range(effort.rounds):
        flow = _ask(mesh, "alpha", "drain", target="echo-beta.flow", size=ITEM_BYTES, for_s=effort.stream_s)
        ours["stream"].append(flow)
        blobs = _ask(mesh, "alpha", "fetch", target="echo-beta.blob", size=OBJECT_BYTES, for_s=effort.stream_s)
        ours["object"].append(blobs)
        for name, skill, target, size in (
            ("stream", "drain", "raw_flow", ITEM_BYTES), ("object", "fetch", "raw_blob", OBJECT_BYTES)
        ):  # fmt: skip
            raw = {"size": size, "for_s": effort.stream_s, "as_bytes": True}
            as_bytes[name].append(_ask(mesh, "alpha", skill, target=f"echo-beta.{target}", **raw))
    orders = {
        name: {"what": "stream", "bytes": size, "for_s": effort.stream_s}
        for name, size in (("stream", ITEM_BYTES), ("object", OBJECT_BYTES))
    }
    with others() as theirs:
        results = take(theirs, orders, effort.rounds, SEED)
    for name, what in (("stream", f"items of {ITEM_BYTES} B"), ("object", f"answers of {OBJECT_BYTES} B, one by one")):
        limit = results.median("C", name, "mb_s")
        yield meter.row(
            name, statistics.median(ours[name]), "MB/s", None if limit is None else round(SHARE * limit, 1),
            n=effort.rounds, more=True, anchor=results.anchor("C", "C over TLS, blocking", name, "mb_s"),
            why=f"{what}, agent to agent through two daemons, JSON; rounds {_each(ours[name])}; as bytes "
            f"{statistics.median(as_bytes[name]):,.0f} MB/s, rounds {_each(as_bytes[name])}; {_theirs(results, name)}",
        )  # fmt: skip


def _theirs(results: Results, order: str) -> str:
    told = {name: results.median(name, order, "mb_s") for name in ("zenoh", "NATS", "gRPC")}
    return ", ".join(f"{name} {value:,.0f} MB/s" if value else f"{name} -" for name, value in told.items())


def _hang(mesh: Nodes, effort: Effort) -> Row:
    """Calls of one agent while another's callee hangs and its reader sleeps."""
    meter = Meter()

    def p99_us() -> float:
        took = _ask(mesh, "alpha", "sequence", target="echo-alpha.echo", warm=WARM, samples=effort.samples)
        return quantile(took, 0.99)

    before = [p99_us() for _ in range(effort.rounds)]
    with ThreadPoolExecutor(1) as pool:
        given = {"sleeper": "sleeper-alpha.rest", "flow": "sleeper-alpha.flow", "count": HUNG, "for_s": HANG_S}
        hung = pool.submit(_ask, mesh, "beta", "hang", **given)
        until("not all of the calls are under way", lambda: _ask(mesh, "beta", "hanging") == HUNG)
        beside = [p99_us() for _ in range(effort.rounds)]
        if hung.done():
            raise Broken("what should hang while the others are measured has ended")
        with contextlib.suppress(LocalError):  # its deadline
            hung.result()
    ratio = statistics.median(beside) / statistics.median(before)
    why = (
        f"p99 of calls through alpha while {HUNG} calls hang there and a reader sleeps, over p99 without: us "
        f"{_each(beside)} over {_each(before)}"
    )
    return meter.row("hang", ratio, "x", HANG_RATIO, n=effort.rounds, why=why)


def _ask(mesh: Nodes, caller: str, skill: str, **arguments: object):  # noqa: ANN202 - the skill's own
    return mesh.call(caller, f"caller-{caller}.{skill}", within_s=WITHIN_S, **arguments).result


def _each(values: list[float]) -> str:
    return " ".join(f"{value:.0f}" for value in values)
