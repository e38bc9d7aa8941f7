"""The fuzz driver finds what is there to be found, and says so by its exit status."""

from pathlib import Path

import pytest

from meshnode.model.errors import RemoteError
from tests.fuzz import driver


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
