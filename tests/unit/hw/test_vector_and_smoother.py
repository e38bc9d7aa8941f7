"""The 13 bytes agree with the reader of the mesh; a quiet machine tells nothing, a change is told once."""

import dataclasses
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.load import VECTOR_BYTES, Bands, LoadSample, LoadVector, Smoother
from meshnode.model import loads

PERCENT = st.none() | st.floats(0, 100)


@given(
    cpu=PERCENT, memory=PERCENT, card=PERCENT, load=st.floats(0, 655), celsius=st.none() | st.floats(-127, 127),
    rate=st.floats(0, 65_535), flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)  # fmt: skip
def test_the_mesh_reads_what_was_packed(
    cpu: float | None,
    memory: float | None,
    card: float | None,
    load: float,
    celsius: float | None,
    rate: float,
    flags: tuple[bool, bool, bool],
) -> None:
    pressure, throttled, battery = flags
    vector = LoadVector(
        cpu_percent=cpu, memory_percent=memory, accelerator_percent=card, load_average=load, hottest_celsius=celsius,
        received_kib_s=rate, sent_kib_s=rate, memory_pressure=pressure, throttled=throttled, on_battery=battery,
    )  # fmt: skip
    view = loads.load_view(vector.pack())
    named = {"cpu_percent": cpu, "memory_percent": memory, "accelerator_percent": card, "hottest_celsius": celsius}
    for name, value in named.items():
        assert (name in view) == (value is not None)
        assert value is None or abs(view[name] - value) <= 0.5
    assert "disk_percent" not in view
    assert abs(view["load_average"] - load) <= 0.005 + 1e-9  # a half is rounded to even, and no hundredth is exact
    assert abs(view["received_kib_s"] - rate) <= 0.5
    assert (view["memory_pressure"], view["throttled"], view["on_battery"]) == flags


def test_both_sides_mean_the_same_layout() -> None:
    assert VECTOR_BYTES == loads.VECTOR_BYTES == len(LoadVector().pack()) == 13


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_breaks_the_packing(value: float) -> None:
    fields = [
        field.name for field in dataclasses.fields(LoadVector) if field.name.endswith(("percent", "celsius", "s"))
    ]
    view = loads.load_view(LoadVector(load_average=value, **dict.fromkeys(fields, value)).pack())
    assert 0 <= view["load_average"] <= 655.35
    if math.isnan(value):
        assert "cpu_percent" not in view
        assert "hottest_celsius" not in view


def sample(at_s: float, cpus: float = 4.0, **load: float | bool | None) -> LoadSample:
    return LoadSample(at_s=at_s, cpus=cpus, load=LoadVector(**load))


def told(smoother: Smoother, samples: list[LoadSample]) -> list[LoadVector]:
    return [vector for one in samples if (vector := smoother.step(one)) is not None]


def test_the_first_sample_is_told() -> None:
    assert Smoother().step(sample(0, cpu_percent=3, memory_percent=40)) == LoadVector(cpu_percent=3, memory_percent=40)


def test_an_hour_of_small_noise_tells_nothing_more() -> None:
    luck = Random(7)
    quiet = [
        sample(
            2.0 * n, cpu_percent=4 + luck.uniform(-4, 4), memory_percent=40 + luck.uniform(-1, 1), disk_percent=30,
            load_average=0.4 + luck.uniform(-0.3, 0.3), hottest_celsius=45 + luck.uniform(-2, 2),
            received_kib_s=luck.uniform(0, 40), sent_kib_s=luck.uniform(0, 40),
        )
        for n in range(1800)
    ]  # fmt: skip
    assert len(told(Smoother(), quiet)) == 1


def test_a_short_spike_is_not_told_and_a_lasting_one_is() -> None:
    spike = [sample(2.0 * n, cpu_percent=20 if n == 10 else 2) for n in range(30)]
    assert len(told(Smoother(), spike)) == 1
    lasting = [sample(2.0 * n, cpu_percent=80 if n >= 10 else 2) for n in range(30)]
    vectors = told(Smoother(), lasting)
    assert 2 <= len(vectors) <= 8
    assert abs(vectors[-1].cpu_percent - 80) < 10


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(0, 1000))
def test_what_was_told_is_never_below_the_mean_by_its_band_and_above_it_for_two_minutes_at_most(
    values: list[float], seed: int
) -> None:
    smoother, bands, luck = Smoother(), Bands(), Random(seed)
    mean = at_s = last = None
    told_s = 0.0
    for value in values:
        step_s = luck.uniform(0.5, 40)
        share = 1.0 if mean is None else 1 - math.exp(-step_s / bands.mean_over_s)
        mean = value if mean is None else mean + share * (value - mean)
        at_s = 0.0 if at_s is None else at_s + step_s
        vector = smoother.step(sample(at_s, memory_percent=value))
        last, told_s = (vector.memory_percent, at_s) if vector else (last, told_s)
        band = max(bands.memory_points, bands.free_part * (100 - max(mean, last)))
        assert mean - last < band + 1e-6
        assert last - mean < band + 1e-6 or at_s < told_s + bands.falls_s


def test_a_flag_is_told_at_once() -> None:
    smoother = Smoother()
    smoother.step(sample(0, cpu_percent=5))
    assert smoother.step(sample(2, cpu_percent=5, throttled=True)).throttled
    assert smoother.step(sample(4, cpu_percent=5, throttled=True)) is None
    assert not smoother.step(sample(6, cpu_percent=5)).throttled


def test_a_value_that_becomes_known_is_told() -> None:
    smoother = Smoother()
    smoother.step(sample(0))
    assert smoother.step(sample(2, cpu_percent=1)).cpu_percent == 1


def test_a_sensor_that_fails_now_and_then_stays_quiet_and_one_that_is_gone_is_told_as_unknown() -> None:
    flaky = [sample(2.0 * n, hottest_celsius=None if n % 3 else 50) for n in range(40)]
    assert len(told(Smoother(), flaky)) == 1
    gone = [sample(2.0 * n, hottest_celsius=None if n > 3 else 50) for n in range(40)]
    vectors = told(Smoother(), gone)
    assert [vector.hottest_celsius for vector in vectors] == [50, None]


@pytest.mark.parametrize(
    ("before", "after", "news"), [(0, 200, False), (0, 300, True), (5000, 8000, False), (5000, 11_000, True)]
)
def test_traffic_is_news_by_floor_and_factor(before: float, after: float, news: bool) -> None:
    smoother = Smoother()
    smoother.step(sample(0, received_kib_s=before))
    assert (smoother.step(sample(1000, received_kib_s=after)) is not None) == news


def test_the_band_of_the_load_average_grows_with_the_processors() -> None:
    small, large = Smoother(), Smoother()
    for smoother, cpus in ((small, 1.0), (large, 64.0)):
        smoother.step(sample(0, cpus, load_average=1))
    assert small.step(sample(1000, 1.0, load_average=3)) is not None
    assert large.step(sample(1000, 64.0, load_average=3)) is None


def test_a_clock_that_stands_still_or_goes_back_breaks_nothing() -> None:
    smoother = Smoother()
    smoother.step(sample(10, cpu_percent=0))
    assert smoother.step(sample(10, cpu_percent=100)) is None
    assert smoother.step(sample(3, cpu_percent=100)) is None


def test_bands_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="mean_over_s"):
        Bands(mean_over_s=0)


def test_an_average_is_told_two_minutes_after_the_last_word_whether_it_falls_or_rises() -> None:
    smoother, told = Smoother(), list[tuple[int, float]]()
    for at_s in range(0, 600, 2):
        vector = smoother.step(sample(at_s, 2.0, load_average=30 * math.exp(-at_s / 60)))
        if vector is not None:
            assert vector.load_average is not None
            told.append((at_s, vector.load_average))
    assert [at_s for at_s, _ in told] == [0, 120, 240, 360]
    assert told[-1][1] < 1, "what is told in the end is so"
    for at_s in range(600, 800, 2):
        if (vector := smoother.step(sample(at_s, 2.0, load_average=10 if at_s < 610 else 40))) is not None:
            told.append((at_s, vector.load_average))
    assert [at_s for at_s, _ in told[4:]] == [600, 720], "a machine that is busy again says so, and once"


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [(8, 20, False), (20, 8, False), (8, 35, True), (60, 72, True), (85, 97, True), (97, 70, True)],
)
@pytest.mark.parametrize("metric", ["cpu_percent", "memory_percent", "hottest_celsius"])
def test_of_what_is_mostly_free_more_must_change_than_of_what_is_nearly_full(
    metric: str, before: float, after: float, news: bool
) -> None:
    smoother = Smoother()
    smoother.step(sample(0, **{metric: before}))
    assert (smoother.step(sample(1000, **{metric: after})) is not None) == news


@pytest.mark.parametrize("metric", ["cpu_percent", "memory_percent", "hottest_celsius", "accelerator_percent"])
def test_a_load_that_goes_up_and_down_all_the_time_is_told_six_times_in_two_minutes_at_most(metric: str) -> None:
    """Daemons of a machine on which tests began and ended told all others so more than four times a minute each."""
    smoother, words = Smoother(), 0
    for at_s in range(0, 3600, 2):
        words += smoother.step(sample(at_s, **{metric: 95.0 if at_s % 40 < 20 else 10.0})) is not None
    assert 3600 / 120 <= words <= 6 * 3600 / 120


def test_a_machine_that_was_busy_for_a_while_is_known_to_be_idle_again_before_a_minute_is_over() -> None:
    smoother, told = Smoother(), list[tuple[int, float]]()
    for at_s in range(0, 300, 2):
        vector = smoother.step(sample(at_s, cpu_percent=100 if 100 <= at_s < 120 else 5, memory_percent=50))
        if vector is not None:
            assert vector.cpu_percent is not None
            told.append((at_s, vector.cpu_percent))
    assert told[-1][0] < 150
    assert told[-1][1] < 5 + Bands().cpu_points


def test_a_minute_of_a_machine_with_fifty_idle_daemons_tells_two_words_at_most() -> None:
    """What they take is some 16 % and never the same; each of them told all the others of it four times."""
    for seed in range(10):
        luck, smoother, average = Random(seed), Smoother(), 15.0
        words = list[float]()
        for number in range(60):
            busy, running = (100, 20) if number < 3 else (16, max(0.0, luck.gauss(1.2, 1.0)))
            average += (running - average) * (1 - math.exp(-2 / 60))
            at_s, cpu = 2.0 * number, min(100.0, max(0.0, luck.gauss(busy, 9)))
            if smoother.step(sample(at_s, 2.0, cpu_percent=cpu, load_average=average)) is not None:
                words.append(at_s)
        assert len([at_s for at_s in words if 26 <= at_s < 86]) <= 2, (seed, words)


@pytest.mark.parametrize("metric", ["cpu_percent", "accelerator_percent", "received_kib_s", "sent_kib_s"])
def test_what_comes_to_rest_after_a_peak_is_told_once_and_what_rises_at_once(metric: str) -> None:
    """Twenty nodes of one machine that was busy told it seven times each, in twelve seconds."""
    high, low = (8_000.0, 80.0) if metric.endswith("kib_s") else (100.0, 15.0)
    smoother, fallen = Smoother(), list[tuple[int, float]]()
    for at_s in range(0, 120, 2):
        vector = smoother.step(sample(at_s, **{metric: high if at_s < 30 else low}))
        if vector is not None and at_s >= 30:
            fallen.append((at_s, getattr(vector, metric)))
    assert 1 <= len(fallen) <= 2
    assert fallen[-1][1] - low < 256 if metric.endswith("kib_s") else fallen[-1][1] - low < 10
    risen = [at_s for at_s in range(120, 140, 2) if smoother.step(sample(at_s, **{metric: high})) is not None]
    assert risen[0] <= 122, "that it is busy again is told at once"
