"""The fuzz driver finds what is there to be found, and says so by its exit status."""

from pathlib import Path

import pytest

from meshnode.model.errors import RemoteError
from tests.fuzz import driver, fuzz_gossip_letters, fuzz_gossip_room, fuzz_links, fuzz_peers, tally


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


def test_what_was_tried_is_counted_over_all_runs(tmp_path: Path) -> None:
    counts = tmp_path / "results" / "fuzz.json"
    for inputs in (10, 20):
        tally.add(counts, "target", inputs, 0.002, 5.0, findings=0)
    tally.add(counts, "other", 1, 0.0, 1.0, findings=1)
    assert {name: (c.inputs, c.runs, c.findings) for name, c in tally.read(counts).items()} == {
        "other": (1, 1, 1), "target": (30, 2, 0),
    }  # fmt: skip


def test_the_corpora_of_gossip_links_and_peers_are_harmless() -> None:
    assert driver.replay(fuzz_gossip_letters.one_input, fuzz_gossip_letters.CORPUS) >= 12
    assert driver.replay(fuzz_gossip_room.one_input, fuzz_gossip_room.CORPUS, fuzz_gossip_room.Guests) >= 6
    assert driver.replay(fuzz_links.one_input, fuzz_links.CORPUS, fuzz_links.Visits) >= 6
    assert driver.replay(fuzz_peers.one_input, fuzz_peers.CORPUS) >= 22


def test_the_committed_counts_tell_of_no_finding_and_of_no_input_that_took_long() -> None:
    counts = tally.read(driver.ROOT / "bench" / "results" / "fuzz.json")
    assert {"gossip_letters", "gossip_room", "links", "peers"} <= counts.keys()
    assert [name for name, count in counts.items() if count.findings or count.slowest_ms > driver.SLOW_S * 1000] == []
