"""The fuzz driver finds what is there to be found, and says so by its exit status."""

import importlib
from pathlib import Path

import pytest

from meshnode.model.errors import RemoteError
from tests.fuzz import (
    driver,
    fill,
    fuzz_files,
    fuzz_gossip_letters,
    fuzz_gossip_room,
    fuzz_links,
    fuzz_manifests,
    fuzz_peers,
    tally,
)


def test_a_crash_hidden_behind_one_byte_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "seed").write_bytes(b"fine")

    def fragile(data: bytes) -> None:
        if data[:1] == b"\xff":
            raise IndexError("planted")
        raise RemoteError("refused")

    assert driver.drive("planted", fragile, tmp_path / "corpus", seconds=20, seed=3) == 1
    (found,) = (tmp_path / "build" / "fuzz").iterdir()
    assert found.read_bytes()[:1] == b"\xff"
    assert "planted" in capfd.readouterr().err


def test_refusals_are_no_findings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def careful(data: bytes) -> None:
        raise RemoteError("odd" if len(data) % 2 else "even")

    assert driver.drive("careful", careful, tmp_path, seconds=0.1, seed=3) == 0
    assert "'even'" in capfd.readouterr().out


class Grudge:
    """Breaks at the third input that begins with 0xff, whatever came between."""

    def __init__(self) -> None:
        self._seen = 0

    def tell(self, data: bytes) -> None:
        self._seen += data[:1] == b"\xff"

    def end(self) -> None:
        assert self._seen < 3, "planted"


def alone(data: bytes) -> None:
    driver.played(Grudge, [data])


def test_what_only_several_inputs_break_is_found_and_reduced_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "seed").write_bytes(b"\xff")
    assert driver.drive("grudge", alone, tmp_path / "corpus", seconds=20, seed=3, opens=Grudge) == 1
    (found,) = (tmp_path / "build" / "fuzz").iterdir()
    kept = [path.read_bytes() for path in sorted(found.iterdir())]
    assert len(kept) == 3
    assert all(data[:1] == b"\xff" for data in kept)
    found.rename(tmp_path / "corpus" / "session")
    with pytest.raises(AssertionError, match="planted"):
        driver.replay(alone, tmp_path / "corpus", Grudge)
    assert "planted" in capfd.readouterr().err


def test_an_input_that_takes_too_long_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    monkeypatch.setattr(driver, "SLOW_S", 0.01)
    (tmp_path / "corpus").mkdir()

    def slow(data: bytes) -> None:
        if len(data) > 8:
            sum(range(2_000_000))

    assert driver.drive("slow", slow, tmp_path / "corpus", seconds=20, seed=3) == 1
    assert "ms for one input" in capfd.readouterr().err


def test_a_target_that_grows_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "ROOT", tmp_path)
    kept: list[bytes] = []

    def hoarder(data: bytes) -> None:
        kept.append(bytes(16_384))

    assert driver.drive("hoarder", hoarder, tmp_path, seconds=20, seed=3) == 1
    assert "MiB more than after" in capfd.readouterr().err


def test_lines_are_seen_once_in_the_product_alone() -> None:
    lines = driver.Lines()
    with lines:
        driver.outcome_of(fuzz_peers.one_input, b"\1junk")
    assert lines.fresh and len(lines) and not lines.of(Path(driver.__file__))
    with lines:
        driver.outcome_of(fuzz_peers.one_input, b"\1junk")
    assert not lines.fresh


def test_what_was_tried_is_counted_over_all_runs(tmp_path: Path) -> None:
    counts = tmp_path / "results" / "fuzz.json"
    for inputs in (10, 20):
        tally.add(counts, "target", tally.Run(inputs, 5.0, slowest_s=0.002, grown_mib=1.5), findings=0)
    tally.add(counts, "other", tally.Run(1, 1.0), findings=1)
    assert tally.read(counts)["target"].grown_mib == 1.5
    assert {name: (c.inputs, c.runs, c.findings) for name, c in tally.read(counts).items()} == {
        "other": (1, 1, 1), "target": (30, 2, 0),
    }  # fmt: skip


def test_the_corpora_of_gossip_links_and_peers_are_harmless() -> None:
    assert driver.replay(fuzz_gossip_letters.one_input, fuzz_gossip_letters.CORPUS) >= 12
    assert driver.replay(fuzz_gossip_room.one_input, fuzz_gossip_room.CORPUS, fuzz_gossip_room.Guests) >= 6
    assert driver.replay(fuzz_links.one_input, fuzz_links.CORPUS, fuzz_links.Visits) >= 6
    assert driver.replay(fuzz_peers.one_input, fuzz_peers.CORPUS) >= 22


def test_the_corpora_of_files_and_manifests_are_read_or_refused_by_name() -> None:
    assert driver.replay(fuzz_files.one_input, fuzz_files.CORPUS) >= 18
    assert driver.replay(fuzz_manifests.one_input, fuzz_manifests.CORPUS) >= 25


TARGETS = {name: importlib.import_module(f"tests.fuzz.fuzz_{name}") for name in fill.targets()}
LIVING = [name for name, target in TARGETS.items() if hasattr(target, "OPENS")]


@pytest.mark.parametrize("name", LIVING)
def test_a_target_that_lives_on_keeps_its_promises(name: str) -> None:
    target = TARGETS[name]
    mutator = driver.Mutator(driver.corpus_of(target.CORPUS), seed=7)
    for _ in range(2):
        driver.played(target.OPENS, [mutator.breed() for _ in range(driver.SESSION_INPUTS)])


def test_the_committed_counts_tell_of_no_finding_and_of_no_input_that_took_long() -> None:
    counts = tally.read(driver.ROOT / "bench" / "results" / "fuzz.json")
    assert sorted(counts) == fill.targets(), "give it one: python tests/fuzz/fuzz_NAME.py 60 1 bench/results/fuzz.json"
    assert [name for name, count in counts.items() if count.findings or count.slowest_ms > driver.SLOW_S * 1000] == []
    assert max(count.grown_mib for count in counts.values()) <= driver.GROWN_MIB_MAX
