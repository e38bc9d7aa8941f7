"""The private run directory."""

from pathlib import Path

import pytest

from meshnode.host.rundir import discard_run_directory, run_directory

pytestmark = pytest.mark.real


def test_a_deep_data_directory_gets_a_short_private_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    run = run_directory(deep)
    try:
        assert len(str(run / "api.sock")) <= 107
        assert run.stat().st_mode & 0o777 == 0o700
        assert Path((deep / "run").read_text().strip()) == run
        assert run_directory(deep) == run, "and again the same"
    finally:
        discard_run_directory(deep)
    assert not run.exists() and not (deep / "run").exists()


def test_a_run_directory_that_is_a_link_or_open_to_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runtime, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    runtime.mkdir(mode=0o700)
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (runtime / "meshnode").symlink_to(elsewhere)
    for spoil in (lambda: None, lambda: _replace_by_open_directory(runtime / "meshnode")):
        spoil()
        run = run_directory(tmp_path)
        try:
            assert not run.is_relative_to(runtime), "the next candidate is taken"
        finally:
            discard_run_directory(tmp_path)
    assert not any(elsewhere.iterdir())


def _replace_by_open_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    path.chmod(0o755)
