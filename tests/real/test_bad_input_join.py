"""Tokens that must not admit, names that are taken, meshes that are not the token's: refused, and nothing is left."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshnode.host.identity import Identity
from meshnode.host.keystore import load
from meshnode.security.invite import make_token
from tests.real.daemon_kit import Daemon, Daemons, cli, contents, typed, until

pytestmark = pytest.mark.real

HOUR_S = 3600


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    with Daemons(tmp_path_factory.mktemp("meshes")) as daemons:
        yield daemons


@pytest.fixture(scope="module")
def alpha(daemons: Daemons) -> Daemon:
    return daemons.start("alpha")


@pytest.fixture(scope="module")
def other(daemons: Daemons) -> Daemon:
    """The only node of another mesh."""
    return daemons.start("other")


def token_of(identity: Identity, addresses: tuple[str, ...], *, now_ms: int, entropy: bytes) -> str:
    assert identity.admin is not None
    return make_token(
        identity.admin, mesh=identity.mesh, name="late", roles=("member",), region="home", addresses=addresses,
        root_sha256=identity.bundle.root_sha256, entropy=entropy, now_ms=now_ms, ttl_s=HOUR_S,
    )  # fmt: skip


def refused(tmp_path: Path, token: str, code: int, *words: str) -> str:
    """``join`` is refused, and its directory is not there afterwards."""
    directory = tmp_path / "new"
    message = cli(directory, "join", token).refused(code, *words)
    assert not directory.exists(), list(directory.iterdir())
    return message


def test_an_expired_token_admits_nobody(alpha: Daemon, tmp_path: Path) -> None:
    identity = load(alpha.directory)
    long_ago_ms = identity.not_before_ms - 10 * HOUR_S * 1000
    token = token_of(identity, (alpha.listen,), now_ms=long_ago_ms, entropy=bytes(range(48)))
    refused(tmp_path, token, 4, "expired", "meshnode invite")
    assert [node.name for node in alpha.ask.nodes()] == ["alpha"]


def test_a_used_token_admits_nobody_else(daemons: Daemons, alpha: Daemon, tmp_path: Path) -> None:
    token = alpha.ask.invite("once").token
    assert cli(daemons.directory / "once", "join", token).code == 0
    refused(tmp_path, token, 4, "has been used", "meshnode invite")


def test_a_directory_that_has_joined_does_not_join_again(daemons: Daemons, alpha: Daemon) -> None:
    directory = daemons.directory / "twice"
    token = alpha.ask.invite("twice").token
    assert cli(directory, "join", token).code == 0
    before = contents(directory)
    for again in (token, alpha.ask.invite("twice-more").token):
        cli(directory, "join", again).refused(1, str(directory), "already holds the identity", "-C DIR")
    assert contents(directory) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda token: token[:60] + ("A" if token[60] != "A" else "B") + token[61:], ("altered",)),
        (lambda token: token[:-40], ("cut short",)),
        (lambda token: token + "AAAA", ("altered",)),
        (lambda _: "hello", ("not an invite token", "mj1.")),
        (lambda _: "mj1." + "A" * 9000, ("9004 characters",)),
    ],
    ids=["one letter", "cut short", "longer", "no token", "huge"],
)  # fmt: skip
def test_an_altered_token_is_refused_before_anybody_is_asked(
    alpha: Daemon, tmp_path: Path, change: Callable[[str], str], words: tuple[str, ...]
) -> None:
    refused(tmp_path, change(alpha.ask.invite("altered").token), 2, *words, "meshnode invite")


def test_the_token_of_one_mesh_with_the_address_of_another_is_refused(
    alpha: Daemon, other: Daemon, tmp_path: Path
) -> None:
    identity = load(alpha.directory)
    token = token_of(identity, (other.listen,), now_ms=identity.not_before_ms + 1000, entropy=bytes(range(1, 49)))
    message = refused(tmp_path, token, 6, other.listen, "root")
    assert "another root of trust" in message or "root-mismatch" in message, message


def test_a_token_whose_addresses_lead_nowhere_says_what_happened_at_each(alpha: Daemon, tmp_path: Path) -> None:
    identity = load(alpha.directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    token = token_of(
        identity, (closed, "no.such.host.invalid:7"), now_ms=identity.not_before_ms + 1000, entropy=bytes(range(2, 50))
    )
    refused(tmp_path, token, 6, f"{closed}: refused", "no.such.host.invalid:7: ")


def test_the_name_of_a_member_is_not_given_twice(daemons: Daemons, alpha: Daemon, tmp_path: Path) -> None:
    first, second = (alpha.ask.invite("double").token for _ in range(2))  # both were made before anybody joined
    assert cli(daemons.directory / "double", "join", first).code == 0
    refused(tmp_path, second, 4, "already a member", "meshnode invite --name")
    cli(alpha.directory, "invite", "--name", "double").refused(2, "double is a member already", "--name")
    cli(alpha.directory, "invite", "--name", "alpha").refused(2, "alpha is a member already", "--name")


def test_bare_invites_make_up_different_names(alpha: Daemon) -> None:
    names = {cli(alpha.directory, "invite", "-o", "json").json["name"] for _ in range(8)}
    assert len(names) == 8


def test_a_member_without_the_admin_key_cannot_invite(daemons: Daemons, alpha: Daemon) -> None:
    member = daemons.join(alpha, "member")
    for words in ((), ("--name", "guest")):
        cli(member.directory, "invite", *words).refused(4, "no admin key", "the node that made the mesh")


def test_a_seed_of_another_mesh_is_refused_by_both_and_neither_lists_the_other(
    daemons: Daemons, alpha: Daemon, other: Daemon
) -> None:
    seeded = daemons.join(alpha, "seeded", "--seed", other.listen)
    until(lambda: len(seeded.ask.nodes()) > 1 and seeded.ask.status().peers_connected > 0, "it has found its own mesh")
    problem = until(
        lambda: [p for p in seeded.ask.status().problems if other.listen in p], "its status names the stranger"
    )
    assert "of another mesh" in problem[0]
    assert any(other.listen in event.text for event in seeded.ask.why("seeded").events)
    assert until(lambda: _count(other, "host.tls-alert"), "the other counts it") > 0
    assert "other" not in [node.name for node in seeded.ask.nodes()]
    assert [node.name for node in other.ask.nodes()] == ["other"]


def _count(daemon: Daemon, name: str) -> int:
    return daemon.ask.status().counters.get(name, 0)


def test_ctrl_c_in_a_join_that_waits_leaves_nothing(alpha: Daemon, tmp_path: Path) -> None:
    """Somebody accepts and never says a word; the person has enough."""
    identity = load(alpha.directory)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        token = token_of(identity, (address,), now_ms=identity.not_before_ms + 1000, entropy=bytes(range(3, 51)))
        directory = tmp_path / "new"
        with typed(directory, "join", token) as join:
            mute.settimeout(20)
            knocking, _ = mute.accept()
            join.send_signal(signal.SIGINT)
            out, err = join.communicate(timeout=10)
            knocking.close()
    assert join.returncode == 130
    assert out + err == ""
    assert not directory.exists()
