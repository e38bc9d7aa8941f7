"""From a data directory to the socket of its daemon."""

import socket
from pathlib import Path

import pytest

from meshnode.client.locate import data_dir, socket_of, up_line
from meshnode.model.errors import Denied, LocalError, Offline


def served(run: Path) -> str:
    """A run directory with something that looks like a daemon's door."""
    run.mkdir(parents=True)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(run / "api.sock"))
    door.close()
    return str(run / "api.sock")


def test_the_choice_wins_then_the_environment_then_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MESHNODE_DIR", raising=False)
    assert data_dir() == tmp_path / ".meshnode"
    monkeypatch.setenv("MESHNODE_DIR", str(tmp_path / "b"))
    assert data_dir() == tmp_path / "b"
    monkeypatch.chdir(tmp_path)
    assert data_dir("c d") == tmp_path / "c d"
    assert data_dir("~/x") == tmp_path / "x"


def test_a_directory_deeper_than_a_socket_path_may_be_is_found(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-directory"] * 6)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 108
    door = served(tmp_path / "r")
    (deep / "run").symlink_to(tmp_path / "r")
    assert socket_of(deep) == door


def test_a_pointer_file_leads_there_as_well_as_a_link(tmp_path: Path) -> None:
    door = served(tmp_path / "r")
    (tmp_path / "run").write_text(f"{tmp_path / 'r'}\n")
    assert socket_of(tmp_path) == door


@pytest.mark.parametrize("state", ["missing", "file", "empty", "dangling", "bytes"])
def test_nothing_there_is_offline_with_the_command_that_helps(tmp_path: Path, state: str) -> None:
    directory = tmp_path / "my node"
    if state == "file":
        directory.write_text("")
    elif state != "missing":
        directory.mkdir()
    if state == "empty":
        (directory / "run").write_text("")
    elif state == "dangling":
        (directory / "run").symlink_to(tmp_path / "gone")
    elif state == "bytes":
        (directory / "run").write_bytes(b"\xff\xfe")
    with pytest.raises(Offline, match="no daemon runs in") as caught:
        socket_of(directory)
    assert caught.value.next_step == f"meshnode -C '{directory}' up"
    assert caught.value.exit_code == 6


def test_a_door_of_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reboot anybody may have taken the place under /tmp that a stale link leads to."""
    served(tmp_path / "r")
    (tmp_path / "run").symlink_to(tmp_path / "r")
    lstat = Path.lstat

    class Foreign:
        st_uid = 12_345

    def other(path: Path) -> object:
        return Foreign() if path.name == "api.sock" else lstat(path)

    monkeypatch.setattr(Path, "lstat", other)
    with pytest.raises(Denied) as caught:
        socket_of(tmp_path)
    assert isinstance(caught.value, LocalError)
    assert "another user" in caught.value.message


def test_the_command_in_a_next_step_survives_a_shell() -> None:
    assert up_line(Path("/a b/$c")) == "meshnode -C '/a b/$c' up"
