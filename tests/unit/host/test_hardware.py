"""Facts and load are told when they are news, and a sick sensor does not end the node."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from hw.load import LoadSampler, Smoother
from meshnode.host import hardware as module
from meshnode.host.hardware import FACTS_BYTES_MAX, Hardware
from meshnode.model.loads import VECTOR_BYTES
from meshnode.node.inputs import HardwareProbed, LoadSampled

Told = list[HardwareProbed | LoadSampled]


def machine(root: Path, memory_kib: int = 8_000_000) -> Path:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/meminfo").write_text(f"MemTotal: {memory_kib} kB\nMemAvailable: {memory_kib // 2} kB\n")
    return root


def test_facts_are_told_once_and_again_when_they_changed(tmp_path: Path) -> None:
    told: Told = []
    watcher = Hardware(told.append, machine(tmp_path))
    asyncio.run(watcher._probe())
    asyncio.run(watcher._probe())
    (first,) = told
    assert isinstance(first, HardwareProbed)
    assert msgspec.json.decode(first.facts)["memory"]["total_bytes"] == 8_000_000 * 1024
    assert len(first.facts) <= FACTS_BYTES_MAX
    machine(tmp_path, 9_000_000)
    asyncio.run(watcher._probe())
    assert len(told) == 2 and told[1] != first


def test_load_is_told_as_the_vector_of_13_bytes_and_not_repeated_while_it_rests(tmp_path: Path) -> None:
    told: Told = []
    watcher = Hardware(told.append, machine(tmp_path))
    now = [0.0]
    sampler, smoother = LoadSampler(tmp_path, lambda: now[0]), Smoother()
    for _ in range(3):
        watcher._sample(sampler, smoother)
        now[0] += 2.0
    (first,) = told
    assert isinstance(first, LoadSampled) and len(first.vector) == VECTOR_BYTES


def test_a_probe_that_fails_is_logged_once_and_the_next_one_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: Told = []
    watcher = Hardware(told.append, machine(tmp_path))
    whole = module.probe

    def broken(_root: Path) -> None:
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(module, "probe", broken)
    asyncio.run(watcher._probe())
    asyncio.run(watcher._probe())
    assert told == [] and len(caplog.records) == 1
    monkeypatch.setattr(module, "probe", whole)
    asyncio.run(watcher._probe())
    assert len(told) == 1


def test_a_sample_that_fails_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Sick(LoadSampler):
        def sample(self) -> None:  # type: ignore[override]
            raise OSError("Input/output error")

    told: Told = []
    watcher = Hardware(told.append, machine(tmp_path))
    for _ in range(5):
        watcher._sample(Sick(tmp_path), Smoother())
    assert told == [] and len(caplog.records) == 1
