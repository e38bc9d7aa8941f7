"""Disks that are full and journals that are damaged: the node says so, lives on, and keeps what it acknowledged."""

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.kernel.journal import HEADER_BYTES
from meshnode.model.errors import LocalError, Offline
from tests.patience import finished
from tests.real.daemon_kit import Daemon, Daemons, cli, client, contents, shell, until

pytestmark = pytest.mark.real

LOOPBACK = ("--bind", "127.0.0.1", "--no-mdns")


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def cluster(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": name}, "spec": {"replicas": 1}}


def names(directory: Path) -> list[str]:
    return sorted(document.name for document in client(directory).documents("AgentCluster"))


def stored(directory: Path, name: str) -> bool:
    return client(directory).apply(cluster(name)).durability == "local"


# -- full -------------------------------------------------------------------------------------------------------------


def full_disk(daemons: Daemons) -> tuple[tuple[str, ...], Path]:
    """The program of a daemon whose disk is full while a file exists, and that file."""
    sign = daemons.directory / "full"
    return ("-m", "tests.real.faulty_daemon", "full-disk", str(sign)), sign


def test_a_full_disk_refuses_writes_in_words_and_takes_them_again_when_there_is_room(daemons: Daemons) -> None:
    program, sign = full_disk(daemons)
    node = daemons.start("alpha", program=program)
    manifest = daemons.directory / "x.yaml"
    manifest.write_text("apiVersion: v1\nkind: AgentCluster\nmetadata: {name: later}\nspec: {replicas: 1}\n")
    assert stored(node.directory, "before")
    sign.touch()
    cli(node.directory, "apply", "-f", str(manifest)).refused(1, str(node.directory / "journal"), "No space left")
    cli(node.directory, "run", "examples/words.py").refused(1, "No space left", "words")
    joiner = daemons.directory / "beta"
    cli(joiner, "join", node.ask.invite("beta").token).refused(4, "No space left", "meshnode invite")
    assert not joiner.exists()
    problems = node.ask.status().problems
    assert any("nothing can be stored" in problem and "No space left" in problem for problem in problems), problems
    for verb in (("ls",), ("get", "clusters"), ("why", "alpha")):
        assert cli(node.directory, *verb).code == 0
    sign.unlink()
    until(lambda: cli(node.directory, "apply", "-f", str(manifest)).code == 0, "the write is taken")
    until(lambda: cli(node.directory, "run", "examples/words.py").code == 0, "the agent is taken")
    assert stored(node.directory, "after")
    node.kill()
    node = daemons.start("alpha")
    assert names(node.directory) == ["after", "before", "later"]
    until(lambda: [agent.name for agent in node.ask.agents()] == ["words"], "the agent is there")
    assert not any("stored" in problem for problem in node.ask.status().problems)


def test_a_node_that_cannot_count_its_boot_says_so_instead_of_being_ready(daemons: Daemons) -> None:
    program, sign = full_disk(daemons)
    sign.touch()
    refused = daemons.try_start("alpha", *LOOPBACK, program=program)
    assert refused.ends() == refused.ready["error"]["exit_code"] == 1
    assert "No space left" in refused.ready["error"]["message"]
    assert not (refused.directory / "identity").exists()
    sign.unlink()
    daemons.start("alpha").kill()
    sign.touch()
    again = daemons.try_start("alpha", *LOOPBACK, program=program)
    assert not again.ready["ok"], "it said that it is ready, and is not"
    assert again.ends() == again.ready["error"]["exit_code"] == 1
    assert "boot could not be counted" in again.ready["error"]["message"]
    assert "No space left" in again.ready["error"]["message"]
    assert again.ready["error"]["next_step"]
    sign.unlink()
    assert daemons.start("alpha").ask.status().boot == 2


@contextlib.contextmanager
def little_disk(at: Path, kib: int) -> Generator[Path]:
    at.mkdir()
    done = finished(["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "none", at])
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        finished(["umount", "-l", at], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_on_a_disk_that_is_really_full_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with little_disk(tmp_path / "disk", kib=512) as disk, Daemons(disk) as daemons:
        directory = disk / "alpha"
        assert shell(directory, "up", *LOOPBACK, "--name", "alpha").code == 0
        acknowledged = [name for name in ("a", "b") if stored(directory, name)]
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(LocalError, match="No space left"):
            write_on(directory, acknowledged)
        assert client(directory).status().problems
        second = disk / "beta"
        shell(second, "up", *LOOPBACK).refused(1, str(second))
        assert not (second / "identity").exists()
        cli(disk / "gamma", "join", client(directory).invite("gamma").token).refused(1, str(disk / "gamma"))
        assert not (disk / "gamma").exists()
        filler.unlink()
        until(lambda: stored(directory, "again"), "the write is taken")
        pid = int((directory / "lock").read_text())
        os.kill(pid, 9)
        until(lambda: "ready" in shell(directory, "up").out, "it is up again")
        assert set(names(directory)) >= {*acknowledged, "again"}
        assert cli(directory, "down").code == 0
        assert daemons.directory == disk


def write_on(directory: Path, acknowledged: list[str]) -> None:
    """Until it is refused: the last block of the journal may still have room for some."""
    for number in range(64):
        assert stored(directory, f"full-{number:02}")
        acknowledged.append(f"full-{number:02}")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert shutil.disk_usage(path.parent).free == 0


# -- damaged ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a node that was killed with three documents in its journal."""
    with Daemons(tmp_path_factory.mktemp("written")) as daemons:
        node = daemons.start("alpha")
        for name in ("one", "two", "three"):
            assert stored(node.directory, name)
        node.kill()
        yield node.directory


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "alpha"))


def test_a_torn_end_is_cut_and_the_node_starts(daemons: Daemons, copy: Path) -> None:
    journal = copy / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[HEADER_BYTES : HEADER_BYTES + 25])  # a record that a power cut interrupted
    node = daemons.start("alpha")
    assert names(copy) == ["one", "three", "two"]
    assert any("cut off" in event.text for event in node.ask.why("node/alpha").events)
    assert node.ask.status().boot == 2


def test_a_flipped_bit_costs_one_record_which_is_kept_aside_and_shown(daemons: Daemons, copy: Path) -> None:
    journal = copy / "journal"
    data = bytearray(journal.read_bytes())
    at = data.index(b"two", data.index(b"AgentCluster"))
    data[at] ^= 0x10
    journal.write_bytes(data)
    node = daemons.start("alpha")
    problems = node.ask.status().problems
    assert any("1 damaged journal records are in quarantine" in problem for problem in problems), problems
    assert any("kept aside" in event.text for event in node.ask.why("alpha").events)
    assert (copy / "journal.quarantine").stat().st_size > 0
    assert set(names(copy)) >= {"one", "three"}
    assert "in quarantine" in cli(copy, "status").out


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: b"X" + data[1:], "does not begin like a journal"),
        (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], "the checksum of its header is wrong"),
        (lambda data: data[:10], "it has 10 bytes"),
    ],
    ids=["magic", "header bit", "short"],
)
def test_an_unreadable_header_refuses_to_start_and_changes_nothing(
    copy: Path, spoil: Callable[[bytes], bytes], why: str
) -> None:
    journal = copy / "journal"
    journal.write_bytes(spoil(journal.read_bytes()))
    before = contents(copy)
    message = cli(copy, "up", "--foreground", *LOOPBACK).refused(1, str(journal), why, "move it away")
    assert "Nothing was changed" in message
    assert {name: data for name, data in contents(copy).items() if name != "run"} == {
        name: data for name, data in before.items() if name not in ("run", "lock")
    } | {"lock": (copy / "lock").read_bytes()}


# -- ours -------------------------------------------------------------------------------------------------------------


def test_a_broken_core_ends_the_node_and_whoever_waits_is_told(daemons: Daemons) -> None:
    sign = daemons.directory / "broken"
    node = daemons.start("alpha", program=("-m", "tests.real.faulty_daemon", "broken-core", str(sign)))
    sign.touch()
    with pytest.raises(Offline, match="the core is broken"):
        node.ask.apply(cluster("x"))
    assert node.ends() == 1
    assert "the core is broken" in node.log()
    assert "planted" in node.log()
    assert not (node.directory / "run").exists()
    sign.unlink()
    assert isinstance(daemons.start("alpha"), Daemon)
