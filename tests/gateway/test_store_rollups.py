"""Rollups of load against plain arithmetic over all samples."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_gateway.model.queries import LoadQuery
from cloud_gateway.model.rows import LoadPoint
from cloud_gateway.store import rollup

HOUR_MS = rollup.HOUR_MS
points = st.builds(
    LoadPoint,
    node_id=st.just("a"),
    at_ms=st.integers(0, 4 * HOUR_MS),
    cpu=st.none() | st.integers(0, 100).map(float) | st.just(float("nan")),
    load=st.none() | st.floats(0, 50, width=16),
)


def rolled(samples: list[LoadPoint]) -> dict[int, bytes]:
    rows: dict[int, bytes] = {}
    for point in samples:
        at = rollup.slot(point.at_ms, rollup.MINUTE_MS)
        body = rollup.minute_with(rows.get(at), point)
        if body is not None:
            rows[at] = body
    return rows


@given(samples=st.lists(points, max_size=60), again=st.lists(st.integers(0, 59), max_size=20), step=st.integers(1, 90))
def test_a_sample_counts_once_however_often_and_late_it_comes(
    samples: list[LoadPoint], again: list[int], step: int
) -> None:
    sent = samples + [samples[at] for at in again if at < len(samples)]
    step_ms = step * rollup.MINUTE_MS
    told = rollup.spans(sorted(rolled(sent).items()), rollup.MINUTE_MS, step_ms)
    seconds: dict[int, LoadPoint] = {}
    for point in samples:
        seconds.setdefault(point.at_ms // 1000, point)
    spans: dict[int, list[float]] = {}
    for point in seconds.values():
        if point.cpu is not None and point.cpu == point.cpu:
            spans.setdefault(point.at_ms // step_ms * step_ms, []).append(point.cpu)
    assert {span.at_ms: (span.count, span.low, span.high) for span in told.get("cpu", [])} == {
        at: (len(values), min(values), max(values)) for at, values in spans.items()
    }
    for span in told.get("cpu", []):
        assert abs(span.mean - sum(spans[span.at_ms]) / span.count) < 0.01


@given(from_ms=st.integers(0, 10**13), width=st.integers(1, 10**12), step_ms=st.integers(0, 10**10))
def test_an_answer_is_bounded_and_never_finer_than_asked(from_ms: int, width: int, step_ms: int) -> None:
    now_ms = 5 * 10**12
    base, step = rollup.step_of(LoadQuery(node_id="a", from_ms=from_ms, to_ms=from_ms + width, step_ms=step_ms), now_ms)
    assert step >= step_ms
    assert step % base == 0
    assert width / step <= rollup.SPANS_MAX
    assert base == HOUR_MS or from_ms >= now_ms - rollup.MINUTES_KEPT_MS
