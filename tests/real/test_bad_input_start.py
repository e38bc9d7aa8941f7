"""What may be wrong when a node starts: each refusal says what, where and what next, and leaves all as it was."""

import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshnode.cli.main import unfit
from tests.real.daemon_kit import Daemons, Ended, alive, cli, client, contents, shell, until

pytestmark = pytest.mark.real

UP = ("up", "--bind", "127.0.0.1", "--no-mdns")


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def up(directory: Path, *words: str) -> Ended:
    return shell(directory, *UP, *words)


def refused(directory: Path, *words: str) -> Ended:
    """A start that is to fail, in this process: it ends before there is anything to serve."""
    return cli(directory, *UP, "--foreground", *words)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a node that has run and was killed."""
    with Daemons(tmp_path_factory.mktemp("template")) as daemons:
        daemon = daemons.start("alpha")
        daemon.kill()
        yield daemon.directory


@pytest.fixture
def node(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "alpha"))


def unchanged_but_logs(directory: Path) -> dict[str, bytes]:
    return {
        name: data
        for name, data in contents(directory).items()
        if name not in ("lock", "run") and not name.startswith("logs/")
    }


def test_a_port_in_use_is_named_and_no_mesh_is_made(daemons: Daemons) -> None:
    directory = daemons.directory / "alpha"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up(directory, "--port", str(port)).refused(
            1, f"127.0.0.1 port {port}", "another process uses this port", "ss -tanp"
        )
    assert not (directory / "identity").exists(), "a mesh whose recovery words nobody saw"
    assert not (directory / "settings.json").exists()
    assert up(directory).code == 0


def test_a_remembered_port_that_is_taken_is_refused_and_the_node_keeps_it(node: Path) -> None:
    before = unchanged_but_logs(node)
    port = int(before["settings.json"].split(b'"port": ')[1].split(b",")[0])
    with socket.create_server(("127.0.0.1", port)):
        refused(node).refused(1, f"port {port}", "another process uses this port")
    assert unchanged_but_logs(node) == before


def test_an_address_this_machine_has_not_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "alpha"
    bad = cli(directory, "up", "--foreground", "--no-mdns", "--bind", "203.0.113.9")
    bad.refused(1, "203.0.113.9", "this machine has no such address")
    assert unchanged_but_logs(directory) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", ("settings.json", "truncated")),
        (b"", ("settings.json",)),
        (b'{"port": "many"}', ("settings.json", "$.port")),
        (b'{"port": 1, "colour": "red"}', ("settings.json", "colour")),
        (b'{"port": 70000}', ("settings.json", "port")),
        (b'{"profile": "huge"}', ("settings.json", "$.profile", "huge")),
        (b'{"seeds": ["nowhere"]}', ("settings.json", "seeds", "HOST:PORT")),
        (b'{"advertise": ["a:b:c"]}', ("settings.json", "advertise", "HOST:PORT")),
        (b"\xff\xfe\x00", ("settings.json",)),
    ],
    ids=["broken", "empty", "type", "unknown", "port", "profile", "seeds", "advertise", "binary"],
)
def test_broken_settings_are_refused_with_file_and_field(
    tmp_path: Path, content: bytes, words: tuple[str, ...]
) -> None:
    directory = tmp_path / "alpha"
    directory.mkdir()
    (directory / "settings.json").write_bytes(content)
    refused(directory).refused(2, *words, "mend the file, or remove it")
    assert unchanged_but_logs(directory) == {"settings.json": content}


def test_an_identity_that_others_can_read_is_refused(node: Path) -> None:
    key = node / "identity" / "record.key"
    key.chmod(0o644)
    before = unchanged_but_logs(node)
    refused(node).refused(1, str(key), "mode 0644", "chmod -R go=")
    assert unchanged_but_logs(node) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("record.key", b"short", ("record.key", "5 bytes instead of 32")),
        ("member", b"junk", ("member",)),
        ("leaf.pem", b"-----BEGIN", ("leaf.pem",)),
        ("bundle", b"\x00" * 40, ("bundle",)),
        ("tls.key", None, ("tls.key", "it is missing")),
    ],
)
def test_a_damaged_identity_is_refused_with_its_file(
    node: Path, name: str, content: bytes | None, words: tuple[str, ...]
) -> None:
    path = node / "identity" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    refused(node).refused(1, *words, "backup")


def test_a_name_for_a_directory_that_has_one_is_refused(node: Path) -> None:
    refused(node, "--name", "beta").refused(2, "belongs to node alpha, not beta", "leave --name out")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--name", "Not A Name"), ("Not A Name", "63 characters")),
        (("--region", "a b"), ("a b", "region")),
        (("--port", "70000"), ("70000",)),
        (("--seed", "nowhere"), ("nowhere", "HOST:PORT")),
        (("--profile", "huge"), ("huge",)),
    ],
    ids=["name", "region", "port", "seed", "profile"],
)  # fmt: skip
def test_a_bad_wish_for_a_new_node_is_refused_and_nothing_is_made(
    tmp_path: Path, words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    directory = tmp_path / "alpha"
    refused(directory, *words).refused(2, *told)
    assert unchanged_but_logs(directory) == {}


def test_a_data_path_deeper_than_a_socket_may_lie_works(daemons: Daemons) -> None:
    directory = daemons.directory.joinpath(*("a long name of a directory " * 3 for _ in range(4)), "alpha")
    assert len(os.fsencode(directory)) > 300
    made = up(directory, "--name", "deep", "-o", "json").json
    assert (made["ok"], made["made"]["name"]) == (True, "deep")
    assert len(made["recovery_words"].split("-")) == 8
    assert cli(directory, "status", "-o", "json").json["name"] == "deep"
    assert cli(directory, "down").code == 0


def test_a_run_directory_that_is_open_to_others_is_refused(daemons: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first choice is open to others, so that the second is used."""
    open_to_all = daemons.directory / "run"
    (open_to_all / "meshnode").mkdir(parents=True)
    (open_to_all / "meshnode").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(open_to_all))
    directory = daemons.directory / "alpha"
    assert up(directory).code == 0
    assert not (directory / "run").read_text().startswith(str(open_to_all))


def test_a_directory_that_is_a_file_is_refused(daemons: Daemons) -> None:
    path = daemons.directory / "file"
    path.write_text("mine")
    message = up(path).err
    assert up(path).code == 1 and str(path) in message and " -> " in message, message
    assert path.read_text() == "mine"


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_a_wrong_python_is_told_which_one_to_take(version: tuple[int, int]) -> None:
    message = unfit(version, 0)
    assert f"this is {version[0]}.{version[1]}" in message
    assert " -> python3.12" in message


def test_python_without_assertions_is_refused_by_the_command_line_and_the_daemon(daemons: Daemons) -> None:
    directory = daemons.directory / "alpha"
    shell(directory, *UP, python=("-O",)).refused(2, "assertions", "python -O")
    shell(directory, *UP, PYTHONOPTIMIZE="1").refused(2, "assertions", "PYTHONOPTIMIZE")
    daemon = daemons.try_start("alpha", "--no-mdns", program=("-O", "-m", "meshnode.daemon.main"))
    assert daemon.ready["error"]["exit_code"] == daemon.ends() == 2
    assert "-O" in daemon.ready["error"]["message"]
    assert not directory.exists()


def test_a_second_daemon_in_one_directory_is_refused_with_the_pid_of_the_first(daemons: Daemons) -> None:
    first = daemons.start("alpha")
    second = daemons.try_start("alpha", "--no-mdns")
    error = second.ready["error"]
    assert second.ends() == error["exit_code"] == 1
    assert f"process id {first.process.pid}" in error["message"]
    assert "meshnode down" in error["next_step"]
    assert first.ask.status().boot == 1
    again = up(first.directory)
    assert (again.code, again.out) == (0, f"already running: alpha in {first.directory}\n")
    cli(first.directory, "join", "mj1.x").refused(1, "already holds the identity")


def test_a_journal_of_another_node_is_refused(node: Path, daemons: Daemons) -> None:
    other = daemons.start("other")
    other.kill()
    shutil.copy(other.directory / "journal", node / "journal")
    before = unchanged_but_logs(node)
    refused(node).refused(1, str(node / "journal"), "same node")
    assert unchanged_but_logs(node) == before


def test_of_two_starts_at_once_one_wins_and_the_other_says_who(daemons: Daemons) -> None:
    directory = daemons.directory / "alpha"
    with ThreadPoolExecutor() as two:
        ended = list(two.map(lambda _: up(directory), range(2)))
    won = [one for one in ended if "recovery words" in one.out]
    (lost,) = [one for one in ended if one not in won]
    assert len(won) == 1
    if lost.code != 0:  # it met the other before that was ready
        lost.refused(1, "runs in this directory", (directory / "lock").read_text().strip())
    assert client(directory).status().boot == 1


CRASHES = "raise RuntimeError('no model file here')\n"


def test_an_agent_whose_file_is_not_there_or_crashes_is_told_and_does_not_stop_the_node(daemons: Daemons) -> None:
    node = daemons.start("alpha")
    cli(node.directory, "run", str(daemons.directory / "nothing.py")).refused(2, "nothing.py", "no such file")
    plain = daemons.directory / "plain"
    plain.write_text("#!/bin/sh\n")
    cli(node.directory, "run", str(plain)).refused(2, "neither a .py file nor executable", "chmod +x")
    assert node.ask.agents() == []

    agent = daemons.directory / "crashes.py"
    agent.write_text(CRASHES)
    ended = cli(node.directory, "run", str(agent))
    assert ended.code == 1
    assert "agent crashes is backoff" in ended.err and "no model file here" in ended.err, ended.err
    assert " -> meshnode logs crashes" in ended.err
    assert any("no model file here" in event.text for event in node.ask.why("agent/crashes").events)
    until(lambda: any("crashes/0 keeps ending" in each for each in node.ask.status().problems), "it is a problem")

    agent.unlink()  # and now it is not there any more when it starts again
    until(
        lambda: "no such" in node.ask.agents()[0].reason.lower() or "can't open" in node.ask.agents()[0].reason,
        "the reason",
    )
    assert cli(node.directory, "stop", "crashes").code == 0
    until(lambda: node.ask.agents() == [], "it is gone")
    assert alive(node.process.pid)
