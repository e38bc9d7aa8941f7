"""What agents remember, looked at and set back from any node; and checkpoint files that are not what was written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, Daemons, cli, until
from tests.real.mesh_kit import call, cut_power, homes, run, value

pytestmark = pytest.mark.real

LARGE = 300_000  # characters: a state of several chunks


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def checkpointed(daemon: Daemon, name: str) -> int:
    """The version of a checkpoint that is made now, as soon as it is there."""
    version = daemon.ask.state(name).version
    done = cli(daemon.directory, "checkpoint", name)
    assert done.code == 0, done.err
    until(lambda: version in checkpoints(daemon, name), f"a checkpoint of version {version} of {name}")
    return version


def checkpoints(daemon: Daemon, name: str) -> list[int]:
    return [row.version for row in daemon.ask.history(name).items if row.kind == "checkpoint"]


def test_every_node_shows_the_state_its_copies_its_history_and_what_differs(mesh: list[Daemon]) -> None:
    alpha, beta, gamma = mesh
    run(beta, "shown", "--on", "beta", known=mesh)
    call(alpha, "shown.put", {"key": "who", "value": "first"})
    call(alpha, "shown.add", {"n": 2})
    first = checkpointed(beta, "shown")
    call(gamma, "shown.put", {"key": "who", "value": "second"})
    kept = call(alpha, "shown.add", {"n": 3}, idempotency_key="order-1")
    call(alpha, "shown.visit", session="customer-1")
    for node in mesh:
        shown = cli(node.directory, "state", "show", "shown", "-o", "json").json
        assert (shown["unit"], shown["node"], shown["role"]) == ("shown/0", "beta", "owner")
        assert (shown["keys"]["who"], shown["keys"]["total"], shown["answers"]) == ("second", 5, 1)
        assert any("customer-1" in key for key in shown["keys"]), shown["keys"]
        one = cli(node.directory, "state", "show", "shown/0", "--key", "who", "-o", "json").json
        assert one["keys"] == {"who": "second"}
        changed = cli(node.directory, "state", "diff", "shown", str(first), "-o", "json").json["changed"]
        assert changed["who"] == ["first", "second"] and changed["total"] == [2, 5]
        rows = cli(node.directory, "state", "history", "shown", "-o", "json").json["items"]
        assert [row["version"] for row in rows if row["kind"] == "checkpoint"] == [first]
        (keyed,) = [row for row in rows if row["call"]]
        assert (keyed["version"], keyed["call"]) == (kept.version, "order-1")
        assert keyed["epoch"] == "1@beta" and len(keyed["hash"]) == 64
    roles = {
        (row.node, row.role, row.version)
        for node in mesh
        for row in node.ask.states("shown")
        if row.role in ("owner", "copy")
    }
    assert len({version for _, _, version in roles}) == 1, roles
    assert sorted(role for _, role, _ in roles) == ["copy", "owner"], roles


def test_a_restored_version_is_a_change_like_any_other(mesh: list[Daemon]) -> None:
    alpha, beta, gamma = mesh
    run(alpha, "undone", "--on", "alpha", known=mesh)
    call(beta, "undone.put", {"key": "who", "value": "right"})
    first = checkpointed(alpha, "undone")
    call(beta, "undone.put", {"key": "who", "value": "wrong"})
    call(beta, "undone.put", {"key": "more", "value": "wrong"})
    wrong = checkpointed(alpha, "undone")
    restored = cli(gamma.directory, "state", "restore", "undone", "--version", str(first), "-o", "json").json
    assert restored["version"] > wrong
    until(lambda: value(beta, "undone.read", key="who") == "right", "the agent itself has it")
    assert value(beta, "undone.read", key="more") is None
    assert cli(beta.directory, "state", "restore", "undone", "--version", str(wrong)).code == 0
    until(lambda: value(gamma, "undone.read", key="more") == "wrong", "nothing was lost by it")
    cli(beta.directory, "state", "restore", "undone", "--version", "999").refused(3, "no checkpoint of version 999")


def test_a_wanted_state_cannot_be_forgotten_and_an_unwanted_one_can(mesh: list[Daemon]) -> None:
    alpha, beta, _ = mesh
    run(alpha, "left", "--on", "alpha", known=(beta,))
    assert value(beta, "left.add", n=4) == 4
    assert cli(alpha.directory, "state", "forget", "left/0").code != 0
    assert value(beta, "left.total") == 4
    assert cli(alpha.directory, "stop", "left").code == 0
    until(lambda: not homes(alpha, "left"), "it has ended")
    run(alpha, "left", "--on", "alpha", known=(beta,))
    assert value(beta, "left.total") == 4, "a stop forgets nothing"
    assert cli(alpha.directory, "stop", "left").code == 0
    until(lambda: not homes(alpha, "left"), "it has ended")
    until(lambda: cli(alpha.directory, "state", "forget", "left/0").code == 0, "it may be forgotten")
    assert [row for row in alpha.ask.states("left") if row.node == "alpha"] == []


def chunks(daemon: Daemon) -> list[Path]:
    return [path for path in (daemon.directory / "blobs").glob("??/*") if len(path.name) == 62]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x01
    path.write_bytes(data)


def test_a_flipped_byte_in_every_chunk_is_noticed_and_the_state_comes_from_the_copy_elsewhere(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    before = set(chunks(alpha))
    run(alpha, "books", "--on", "alpha", known=(beta,))
    for number in range(3):
        call(alpha, "books.keep", {"key": f"large {number}", "size": LARGE})
    assert value(beta, "books.add", n=7) == 7
    assert call(alpha, "books.put", {"key": "who", "value": "whole"}).durability == "replicated(1)"
    checkpointed(alpha, "books")
    written = set(chunks(alpha)) - before
    assert written
    cut_power(alpha)
    for path in written:
        flip(path)
    alpha = daemons.start("alpha")
    until(lambda: value(alpha, "books.total") == 7, "it answers with its state")
    assert value(alpha, "books.read", key="who") == "whole"
    assert [len(value(alpha, "books.read", key=f"large {number}")) for number in range(3)] == [LARGE] * 3
    told = cli(alpha.directory, "why", "books/0").out
    assert "damaged" in told or "corrupt" in told, told
    assert list((alpha.directory / "blobs").glob("??/*.corrupt")), "what was found is kept aside"


def test_alone_with_flipped_chunks_a_node_says_what_it_lacks_and_uses_none_of_it(daemons: Daemons) -> None:
    node = daemons.start("alpha")
    run(node, "books")
    before = set(chunks(node))
    for number in range(3):
        call(node, "books.keep", {"key": f"large {number}", "size": LARGE})
    value(node, "books.add", n=7)
    checkpointed(node, "books")
    written = set(chunks(node)) - before
    assert written
    value(node, "books.add", n=1, line="since")
    cut_power(node)
    for path in written:
        flip(path)
    node = daemons.start("alpha")
    until(lambda: homes(node, "books"), "it runs")
    read = {
        number: until(lambda n=number: [value(node, "books.read", key=f"large {n}")], "it answers")
        for number in range(3)
    }
    assert all(found in ([None], ["x" * LARGE]) for found in read.values()), "a value is whole or not there"
    assert [None] in read.values(), "the chunks were spoiled, and used"
    told = cli(node.directory, "why", "books/0").out
    assert "cannot be read" in told or "damaged" in told, told
