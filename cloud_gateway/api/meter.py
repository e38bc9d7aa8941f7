"""What the gateway counts of itself, and all of it in Prometheus' text format (0.0.4), written by hand."""

from collections.abc import Iterable, Mapping

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST"})
Labels = tuple[tuple[str, str], ...]


class Meter:
    """Counts of answers by route. Routes are those of the table, so nobody outside can make more of them."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, int], int] = {}
        self._times: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def answered(self, route: str, method: str, status: int, took_s: float) -> None:
        key = (route, method if method in _METHODS else "other", status)
        self._answers[key] = self._answers.get(key, 0) + 1
        if route.endswith("/watch"):
            return  # it lasts as long as somebody watches
        counts = self._times.setdefault(route, [0] * (len(BUCKETS_S) + 1))
        at = next((at for at, edge in enumerate(BUCKETS_S) if took_s <= edge), len(BUCKETS_S))
        counts[at] += 1
        self._sums_s[route] = self._sums_s.get(route, 0.0) + took_s

    def lines(self) -> Iterable[str]:
        yield from family(
            "meshnode_gateway_requests_total", "counter", "Answers, by route and status.",
            {(("route", route), ("method", method), ("status", str(status))): count
             for (route, method, status), count in sorted(self._answers.items())},
        )  # fmt: skip
        yield "# HELP meshnode_gateway_request_seconds Time from a request to the end of its answer."
        yield "# TYPE meshnode_gateway_request_seconds histogram"
        for route, counts in sorted(self._times.items()):
            yield from self._histogram(route, counts)

    def _histogram(self, route: str, counts: list[int]) -> Iterable[str]:
        name, total = "meshnode_gateway_request_seconds", 0
        for edge, count in zip((*(f"{edge:g}" for edge in BUCKETS_S), "+Inf"), counts, strict=True):
            total += count
            yield sample(f"{name}_bucket", (("route", route), ("le", edge)), total)
        yield sample(f"{name}_sum", (("route", route),), self._sums_s[route])
        yield sample(f"{name}_count", (("route", route),), total)


def family(name: str, kind: str, about: str, samples: Mapping[Labels, float]) -> Iterable[str]:
    """One metric with its samples."""
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples.items():
        yield sample(name, labels, value)


def sample(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    number = str(value) if isinstance(value, int) else f"{value:.9g}"
    return f"{name}{{{told}}} {number}" if told else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
