"""A data directory that was copied and started twice: a common peer refuses the later one; the first lives on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, Daemons, alive, cli, shell, until

pytestmark = pytest.mark.real


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def linked(daemon: Daemon, name: str) -> bool:
    view = daemon.ask.node(name)
    return view.state == "ready" and view.rtt_ms is not None


def test_the_later_of_two_copies_is_refused_by_a_common_peer_and_exits_four(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    assert cli(beta.directory, "down").code == 0
    assert beta.ends() == 0
    shutil.copytree(beta.directory, daemons.directory / "copy")
    beta = daemons.start("beta")
    until(lambda: linked(alpha, "beta") and linked(beta, "alpha"), "the first is linked")
    boot = beta.ask.status().boot
    copy = daemons.try_start("copy", "--bind", "127.0.0.1", "--no-mdns", "--port", "0")
    assert copy.ends() == 4, copy.log()
    assert "alpha refuses this node: twin" in copy.log()
    assert "seems to be a copy of a running node's" in copy.log()
    assert not (copy.directory / "run").exists()
    for name, daemon, other in (("beta", alpha, beta), ("alpha", beta, alpha)):
        assert linked(daemon, name)
        assert alive(other.process.pid)
    assert beta.ask.status().boot == boot == alpha.ask.node("beta").boot
    assert beta.ask.ping("alpha").path == "direct"
    assert any("twin" in name for name in alpha.ask.status().counters)
    alpha.kill()
    beta.kill()
    up = shell(copy.directory, "up")
    assert up.code == 0, up.err  # alone it cannot know, but it remembers
    told = cli(copy.directory, "why", "node/beta").out
    assert "seems to be a copy of a running node's" in told


def test_an_old_copy_is_refused_for_its_boot(daemons: Daemons) -> None:
    """The original has started more often since: the copy is the older one, whoever was here first."""
    alpha, beta = daemons.mesh("alpha", "beta")
    beta.kill()
    shutil.copytree(beta.directory, daemons.directory / "copy")
    daemons.start("beta").kill()
    beta = daemons.start("beta")
    until(lambda: linked(alpha, "beta"), "the original is linked")
    copy = daemons.try_start("copy", "--bind", "127.0.0.1", "--no-mdns", "--port", "0")
    assert copy.ends() == 4, copy.log()
    assert "stale-boot" in copy.log()
    until(lambda: linked(alpha, "beta") and linked(beta, "alpha"), "the original goes on")
