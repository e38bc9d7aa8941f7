"""What others need for the same calls from agent to agent, taken in turn with ours: Ray, AutoGen, NATS, zmq.asyncio.

All of them in plaintext. Ray: from actor to actor on two nodes of a cluster of three. NATS: a request to a micro
service behind another of three servers. AutoGen: two workers and the host between them. zmq.asyncio: two processes, no
daemon between them, beside calls through one daemon. Who cannot be had is named with the reason, and the rows say it.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from bench.anchors import beside as anchors
from bench.rows import Anchor, quantile
from bench.talk import beside
from bench.talk.candidate import HERE
from bench.talk.candidate import Anchor as Process
from bench.talk.effort import Effort
from tests.demo.fleet import Broken

RAY, AUTOGEN, NATS, ASYNCIO = "Ray", "AutoGen", "NATS micro services", "zmq.asyncio"
AFAR = (RAY, AUTOGEN, NATS)  # those whose calls pass from node to node
AUTOGEN_PORT, ASYNCIO_PORT = 7450, 7444
BYTES, IN_FLIGHT, WITHIN_S = 128, 64, 30.0
Starts = Callable[[], anchors.Server]


@dataclass(slots=True)
class Taken:
    """Rounds of one of them."""

    p50_us: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])


class Rivals:
    """Those that are up, and what they reached so far."""

    def __init__(self) -> None:
        self.taken: dict[str, Taken] = {}
        self.absent: dict[str, str] = {}
        self._afar: dict[str, anchors.Server] = {}
        self._near: Process | None = None

    def start(self, name: str, starts: Starts) -> None:
        try:
            self._afar[name] = starts()
        except (anchors.Missing, OSError, ValueError) as error:
            self._lose(name, str(error))

    def start_near(self, at: Path) -> None:
        try:
            self._near = Process(ASYNCIO, "zmq_asyncio.py", ASYNCIO_PORT, at)
        except (Broken, OSError) as error:
            self._lose(ASYNCIO, str(error))

    def round(self, effort: Effort) -> None:
        """One turn of each. Who breaks is out of the rest."""
        for name, server in list(self._afar.items()):
            try:
                took, per_s = server.round("cross", effort.samples, effort.window_s)
            except (anchors.Missing, OSError, ValueError) as error:
                self._lose(name, str(error))
                self._afar.pop(name).close()
                continue
            self._keep(name, quantile(took, 0.5), per_s)
        if self._near is not None:
            self._round_near(self._near, effort)

    def _round_near(self, near: Process, effort: Effort) -> None:
        try:
            lone = near.order({"what": "sequence", "bytes": BYTES, "for_s": effort.lone_s}, WITHIN_S)
            order = {"what": "window", "bytes": BYTES, "at_once": IN_FLIGHT, "for_s": effort.window_s}
            self._keep(ASYNCIO, lone.told["p50_us"], near.order(order, WITHIN_S).told["per_s"])
        except (Broken, OSError) as error:
            self._lose(ASYNCIO, str(error))
            self._near = None

    def _keep(self, name: str, p50_us: float, per_s: float) -> None:
        taken = self.taken.setdefault(name, Taken())
        taken.p50_us.append(p50_us)
        taken.per_s.append(per_s)

    def _lose(self, name: str, why: str) -> None:
        self.absent[name] = f"not measured: {why}"
        self.taken.pop(name, None)
        print(f"no {name}: {why}", file=sys.stderr)

    def skip(self, names: tuple[str, ...], why: str) -> None:
        self.absent |= dict.fromkeys(names, why)

    def forget(self) -> None:
        """What was taken so far only warmed."""
        self.taken.clear()

    def ms(self, name: str) -> Anchor:
        """How long a lone call takes."""
        taken = self.taken.get(name)
        value = None if taken is None else statistics.median(taken.p50_us) / 1000
        return Anchor(name=name, value=value, why=self.absent.get(name, ""))

    def rate(self, name: str) -> Anchor:
        """Calls a second with 64 in flight."""
        taken = self.taken.get(name)
        value = None if taken is None else statistics.median(taken.per_s)
        return Anchor(name=name, value=value, why=self.absent.get(name, ""))

    def told(self) -> str:
        """All who call from node to node, in words."""
        words: list[str] = []
        for name in AFAR:
            lone, many = self.ms(name).value, self.rate(name).value
            if lone is None or many is None:
                words.append(f"{name} {self.absent.get(name, '-')}")
            else:
                words.append(f"{name} {lone:.2f} ms, {many:,.0f}/s")
        return "plaintext beside it: " + "; ".join(words)

    def close(self) -> None:
        for server in self._afar.values():
            server.close()
        if self._near is not None:
            self._near.close()


@contextlib.contextmanager
def rivals(effort: Effort) -> Generator[Rivals]:
    """All that can be had; the quick run leaves those with clusters out."""
    made = Rivals()
    with tempfile.TemporaryDirectory(prefix="meshnode-talk-") as at:
        try:
            made.start_near(Path(at))
            if effort.full:
                anchors.prepare()
                made.start(RAY, lambda: anchors.Server("ray_calls.py"))
                made.start(NATS, lambda: anchors.Server("nats_calls.py"))
                made.start(AUTOGEN, autogen)
            else:
                made.skip(AFAR, "left to the full run")
            yield made
        finally:
            made.close()


def autogen() -> anchors.Server:
    """In an environment of its own: it wants older packages than the others. Raises ``Missing``."""
    if not beside.AUTOGEN.prepare():
        raise anchors.Missing(f"its environment could not be made ({', '.join(beside.AUTOGEN.packages)})")
    script = HERE / "autogen_calls.py"
    return anchors.Server(script.name, [str(beside.AUTOGEN.python), str(script), str(AUTOGEN_PORT)])
