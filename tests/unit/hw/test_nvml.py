"""NVML behind an object that answers like the library: every call may refuse alone, lie, or never return."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hw import accelerators
from hw.aside import Aside, within
from hw.load import LoadSampler
from hw.nvml import Card, Nvml, Use
from hw.report import probe

TREES = Path(__file__).parents[2] / "fixtures" / "hw"
GIB = 1 << 30


class Refused(Exception):
    """As pynvml raises for what a device does not support."""


class Library:
    """What ``pynvml`` would answer; a name in ``refuses`` raises, a missing one is not in this version."""

    NVMLError = Refused

    def __init__(self, cards: int = 1, refuses: tuple[str, ...] = ()) -> None:
        self.cards, self.refuses, self.inits = cards, refuses, 0
        self.percent, self.used, self.total, self.reasons = 40, 2 * GIB, 8 * GIB, 0
        self.mig, self.celsius = 0, 60

    def __getattribute__(self, name: str) -> object:
        if name.startswith("nvml") and name in object.__getattribute__(self, "refuses"):
            return self._refuse
        return object.__getattribute__(self, name)

    def _refuse(self, *_args: object) -> None:
        raise Refused

    def nvmlInit(self) -> None:  # noqa: N802 # the library's names
        self.inits += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return ("card", index)

    def nvmlDeviceGetName(self, handle: tuple[str, int]) -> bytes | str:  # noqa: N802
        return b"NVIDIA L4" if handle[1] == 0 else "NVIDIA T4"

    def nvmlDeviceGetUUID(self, handle: tuple[str, int]) -> str:  # noqa: N802
        return f"{'MIG' if handle[0] == 'mig' else 'GPU'}-{handle[1]}"

    def nvmlDeviceGetMemoryInfo(self, _handle: object) -> object:  # noqa: N802
        return SimpleNamespace(used=self.used, total=self.total)

    def nvmlDeviceGetCudaComputeCapability(self, _handle: object) -> list[int]:  # noqa: N802
        return [8, 9]

    def nvmlDeviceGetUtilizationRates(self, handle: tuple[str, int]) -> object:  # noqa: N802
        return SimpleNamespace(gpu=self.percent * (1 - handle[1]), memory=1)

    def nvmlDeviceGetTemperature(self, handle: tuple[str, int], _sensor: int) -> int:  # noqa: N802
        return self.celsius + handle[1]

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: object) -> int:  # noqa: N802
        return self.reasons

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "570.10"

    def nvmlDeviceGetMigMode(self, _handle: object) -> list[int]:  # noqa: N802
        return [self.mig, 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, _handle: object) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetMigDeviceHandleByIndex(self, _handle: object, place: int) -> object:  # noqa: N802
        if place == 1:
            raise Refused  # a place that holds no instance
        return ("mig", place)


def test_a_card_that_answers_everything() -> None:
    cards = Nvml(Library(2)).cards()
    assert cards[0] == Card(index=0, name="NVIDIA L4", uuid="GPU-0", memory_bytes=8 * GIB, capability="8.9")
    assert cards[1].name == "NVIDIA T4"


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetMemoryInfo", "memory_bytes"),
        ("nvmlDeviceGetCudaComputeCapability", "capability"),
    ],
)
def test_one_refusal_costs_one_fact(call: str, missing: str) -> None:
    whole, card = Nvml(Library()).cards()[0], Nvml(Library(refuses=(call,))).cards()[0]
    for name in ("name", "uuid", "memory_bytes", "capability"):
        assert getattr(card, name) == (None if name == missing else getattr(whole, name))


def test_a_function_that_the_library_lacks_is_a_refusal() -> None:
    bare = SimpleNamespace(
        NVMLError=Refused, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 1, nvmlDeviceGetHandleByIndex=lambda n: n
    )
    assert Nvml(bare).cards() == [Card(index=0)]
    assert Nvml(bare).use() == Use()
    assert Nvml(bare).driver() is None


def test_success_with_zeros_is_not_known() -> None:
    library = Library()
    library.used = library.total = 0
    assert Nvml(library).cards()[0].memory_bytes is None
    assert Nvml(library).use().memory_percent is None


def test_under_mig_the_instances_are_the_accelerators() -> None:
    library = Library()
    library.mig = 1
    assert [card.uuid for card in Nvml(library).cards()] == ["MIG-0", "MIG-2"]


def test_use_is_the_mean_of_the_cards_and_the_hottest_of_them() -> None:
    assert Nvml(Library(2)).use() == Use(percent=20.0, memory_percent=25.0, celsius=61.0, throttled=False)


@pytest.mark.parametrize(
    ("reasons", "throttled"), [(0x1, False), (0x4, False), (0x8, True), (0x20, True), (0x40 | 0x4, True)]
)
def test_slowed_by_heat_is_throttled_and_an_idle_or_capped_card_is_not(reasons: int, throttled: bool) -> None:
    library = Library()
    library.reasons = reasons
    assert Nvml(library).use().throttled == throttled


def test_a_driver_that_comes_late_is_found_and_init_is_called_once() -> None:
    library = Library(refuses=("nvmlInit",))
    nvml = Nvml(library)
    assert nvml.cards() == []
    library.refuses = ()
    assert len(nvml.cards()) == 1
    nvml.use()
    assert library.inits == 1


def test_the_report_prefers_nvml_and_has_no_warning() -> None:
    report = probe(TREES / "x86-server-cgroup2", Nvml(Library()))
    assert report.accelerators[0].memory_bytes == 8 * GIB
    assert report.accelerators[0].driver == "570.10"
    assert "accelerators:nvml" in report.sources
    assert report.warnings == ()


def test_where_nvml_finds_nothing_the_files_do() -> None:
    report = probe(TREES / "x86-server-cgroup2", Nvml(Library(refuses=("nvmlInit",))))
    assert report.accelerators[0].name == "NVIDIA L4"
    assert "accelerators:procfs" in report.sources


def test_on_a_jetson_the_files_are_believed_and_nvml_is_not_asked() -> None:
    library = Library()
    report = probe(TREES / "jetson-orin-nano-jp62", Nvml(library))
    assert report.accelerators[0].name == "Orin (integrated)"
    assert library.inits == 0


@pytest.fixture
def sick() -> Iterator[SimpleNamespace]:
    """A library whose init never returns, until the test is over."""
    released = threading.Event()
    yield SimpleNamespace(NVMLError=Refused, nvmlInit=released.wait)
    released.set()


def test_a_library_that_hangs_leaves_a_warning_and_the_rest_of_the_report(
    sick: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators, "NVML_LIMIT_S", 0.05)
    report = probe(TREES / "x86-server-cgroup2", Nvml(sick))
    assert "NVML did not answer" in report.warnings[0]
    assert report.accelerators[0].name == "NVIDIA L4"


def test_a_library_that_hangs_does_not_hold_up_a_sample(sick: SimpleNamespace) -> None:
    sampler = LoadSampler(TREES / "x86-server-cgroup2", nvml=Nvml(sick))
    threads = threading.active_count()
    loads = [sampler.sample().load for _ in range(20)]
    assert all(load.accelerator_percent is None for load in loads)
    assert threading.active_count() <= threads + 1


def test_use_measured_aside_arrives_with_a_later_sample_and_grows_too_old(tmp_path: Path) -> None:
    tree = Path(shutil.copytree(TREES / "jetson-thor-jp7", tmp_path / "thor"))
    answered, library = threading.Event(), Library()
    library.celsius = 95
    nvml = Nvml(library)
    use = nvml.use

    class Watched(Nvml):
        def use(self) -> Use:
            answered.set()
            return use()

    now_s = 0.0
    sampler = LoadSampler(tree, clock_s=lambda: now_s, nvml=Watched(library))
    assert sampler.sample().load.accelerator_percent is None
    assert answered.wait(10)
    loads = (sampler.sample().load for _ in range(1_000_000))
    load = next(one for one in loads if one.accelerator_percent is not None)
    assert (load.accelerator_percent, load.accelerator_memory_percent) == (40.0, 25.0)
    assert load.hottest_celsius == 95.0  # the card, not the cooler zones of the tree
    now_s = accelerators.USE_AGE_S_MAX + 1000
    assert sampler.sample().load.accelerator_percent is None


def test_a_question_within_its_limit_is_answered() -> None:
    assert within(10.0, lambda: 42, "test-within") == 42


def test_behind_a_question_that_hangs_nothing_piles_up() -> None:
    """The first asking is answered; the second hangs, the answer of the first grows too old, and no third begins."""
    asked, turns = threading.Semaphore(0), [threading.Event(), threading.Event()]
    asking: list[int] = []

    def question() -> int:
        asking.append(1)
        asked.release()
        turns[len(asking) - 1].wait()
        return len(asking)

    aside = Aside(question, "test-aside")
    assert [aside.latest(float(n), 5.0) for n in range(100)] == [None] * 100
    assert asked.acquire(timeout=10)
    turns[0].set()
    while not asked.acquire(blocking=False):
        assert aside.latest(0.0, 5.0) in (None, 1)
    assert aside.latest(5.0, 5.0) == 1
    assert [aside.latest(6.0 + n, 5.0) for n in range(100)] == [None] * 100
    assert aside._turns.qsize() == 0
    turns[1].set()
