"""Calls from agent to agent: through one daemon by either endpoint, through two with mutual TLS; one at a time and 64.

In every round each path and each anchor has its turn, so that a disturbance of the machine meets all of them.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.anchors import beside, plain
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, quantile

UNIX_MS, ZMQ_MS, REMOTE_MS = 0.25, 0.45, 0.6
WARM = 300
IN_FLIGHT = 64
DEADLINE_S = 120.0
NATS = {
    "same": "NATS 2.9 micro service, plaintext, one server",
    "cross": "NATS 2.9 micro service, plaintext, two servers",
}
RAY = {"same": "Ray 2.60.0 actors, plaintext, one node", "cross": "Ray 2.60.0 actors, plaintext, two nodes"}
# A path: from the caller of a node to the echo of a node. Gamma connects its agents by ZeroMQ.
PATHS = {"unix": ("alpha", "alpha"), "zmq": ("gamma", "gamma"), "remote": ("alpha", "beta")}

Round = Callable[[int, float], tuple[list[float], float]]


@dataclass(slots=True)
class Series:
    """Rounds of one path. Median of the rounds' medians: a disturbed round does not count for more."""

    p50_us: list[float] = field(default_factory=list[float])
    p99_us: list[float] = field(default_factory=list[float])
    calls_s: list[float] = field(default_factory=list[float])
    missing: str = ""

    def add(self, samples: list[float], calls_s: float) -> None:
        self.p50_us.append(quantile(samples, 0.5))
        self.p99_us.append(quantile(samples, 0.99))
        self.calls_s.append(calls_s)

    @property
    def p50_ms(self) -> float | None:
        return statistics.median(self.p50_us) / 1000 if self.p50_us else None

    @property
    def rate(self) -> float | None:
        return statistics.median(self.calls_s) if self.calls_s else None

    def told(self) -> str:
        if not self.p50_us:
            return self.missing
        each = " ".join(f"{value / 1000:.3f}" for value in self.p50_us)
        return f"p50 {self.p50_ms:.3f} ms (rounds {each}), p99 {statistics.median(self.p99_us) / 1000:.2f} ms"


def calls(mesh: Nodes, *, rounds: int, samples: int, window_s: float, ray: bool) -> Iterator[Row]:
    """The rows of calls, with their anchors from the same rounds."""
    meter = Meter()
    for name in mesh.names:
        mesh.run(name, f"echo-{name}", "echo.py", on=name)
        mesh.run(name, f"caller-{name}", "echo.py", on=name)
    sources: dict[str, Round] = {path: _product(mesh, *ends) for path, ends in PATHS.items()}
    series = {name: Series() for name in (*PATHS, "plain", *NATS.values(), *RAY.values())}
    servers: list[beside.Server] = []
    echo = plain.Plain()
    sources["plain"] = lambda count, _: (echo.sequence(count), 0.0)
    try:
        for names, script, wanted in ((NATS, "nats_calls.py", True), (RAY, "ray_calls.py", ray)):
            sources |= _beside(names, script, servers, series, wanted=wanted)
        for source in sources.values():  # warm
            source(WARM, 0.0)
        for _ in range(rounds):
            for name, source in sources.items():
                series[name].add(*source(samples, window_s))
    finally:
        echo.close()
        for server in servers:
            server.close()
    yield from _rows(meter, series, rounds * samples)


def _product(mesh: Nodes, caller: str, callee: str) -> Round:
    def take(samples: int, window_s: float) -> tuple[list[float], float]:
        target = f"echo-{callee}.echo"
        took = mesh.call(
            caller, f"caller-{caller}.sequence", within_s=DEADLINE_S, target=target, warm=20, samples=samples
        )
        if not window_s:
            return took.result, 0.0
        rate = mesh.call(
            caller,
            f"caller-{caller}.window",
            within_s=DEADLINE_S,
            target=target,
            in_flight=IN_FLIGHT,
            window_s=window_s,
        )
        return took.result, rate.result

    return take


def _beside(
    names: dict[str, str], script: str, servers: list[beside.Server], series: dict[str, Series], *, wanted: bool
) -> dict[str, Round]:
    """The rounds of an anchor; none, with the reason in its series, where it cannot run."""
    missing = "left to the full run"
    try:
        server = beside.Server(script) if wanted else None
    except beside.Missing as error:
        server, missing = None, f"not measured: {error}"
    if server is None:
        for name in names.values():
            series[name].missing = missing
        return {}
    servers.append(server)

    def take(where: str) -> Round:
        return lambda samples, window_s: server.round(where, samples, window_s)

    return {name: take(where) for where, name in names.items()}


def _rows(meter: Meter, series: dict[str, Series], n: int) -> Iterator[Row]:
    unix, zmq, remote = (series[path] for path in PATHS)

    def anchor(name: str, shown: str = "") -> Anchor:
        return Anchor(name=shown or name, value=series[name].p50_ms, why=series[name].told())

    def rate(name: str) -> Anchor:
        return Anchor(name=name, value=series[name].rate, why=series[name].missing)

    def row(id_: str, of: Series, goal: float, beside_: Anchor, *, ok: bool | None = None, more: str = "") -> Row:
        why = f"agent to agent, 128 B, stateless, one at a time: {of.told()}{more}"
        return meter.row(id_, of.p50_ms, "ms", goal, n=n, why=why, anchor=beside_, ok=ok)

    both = (unix.p50_ms or 9) <= UNIX_MS and (zmq.p50_ms or 9) <= ZMQ_MS
    more = f"; unix endpoint, ok needs ZeroMQ within {ZMQ_MS:g} ms, too: {zmq.told()}"
    yield row("call-local", unix, UNIX_MS, anchor("plain", plain.NAME), ok=both, more=more)
    yield row("call-local-unix", unix, UNIX_MS, anchor(NATS["same"]))
    yield row("call-local-zmq", zmq, ZMQ_MS, anchor(RAY["same"]))
    yield row("call-remote", remote, REMOTE_MS, anchor(NATS["cross"]), more="; two daemons, mutual TLS")
    yield row("call-remote-ray", remote, REMOTE_MS, anchor(RAY["cross"]), more="; two daemons, mutual TLS")
    for id_, of, where in (("call-local-64", unix, "same"), ("call-remote-64", remote, "cross")):
        why = f"{IN_FLIGHT} in flight, median of windows, told for information; {RAY[where]}: " + (
            f"{series[RAY[where]].rate:.0f}" if series[RAY[where]].rate else series[RAY[where]].missing
        )
        yield meter.row(id_, of.rate, "calls/s", None, n=len(of.calls_s), why=why, anchor=rate(NATS[where]), more=True)
