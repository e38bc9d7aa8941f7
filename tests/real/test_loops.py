"""A daemon on either event loop: agents on both buses, links, restarts, and what is kept of the choice."""

import importlib.util
import json
import signal
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, Daemons, cli, run_echo, until
from tests.real.mesh_kit import offered, value

pytestmark = pytest.mark.real
needs_uvloop = pytest.mark.skipif(
    importlib.util.find_spec("uvloop") is None, reason="the extra meshnode[fast] is not installed"
)
LOOPS = ["asyncio", pytest.param("uvloop", marks=needs_uvloop)]


def kept(daemon: Daemon) -> dict[str, object]:
    return json.loads((daemon.directory / "settings.json").read_bytes())


def drives_uvloop(daemon: Daemon) -> bool:
    """Whether its code is in the process."""
    return "/uvloop/loop." in Path(f"/proc/{daemon.process.pid}/maps").read_text()


@pytest.mark.parametrize("bus", ["unix", "zmq"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_daemon_starts_answers_a_call_and_ends_in_order(tmp_path: Path, loop: str, bus: str) -> None:
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha", "--loop", loop, "--bus", bus)
        run_echo(alpha)
        assert value(alpha, "echo.say", text="hello") == "hello"
        assert drives_uvloop(alpha) == (loop == "uvloop")
        alpha.signal(signal.SIGTERM)
        assert alpha.ends() == 0
        assert "Traceback" not in alpha.log()


@needs_uvloop
def test_nodes_on_different_loops_call_each_other_and_the_choice_is_kept(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        assert "loop" not in kept(beta), "an older daemon would refuse the file"
        run_echo(alpha)
        assert cli(beta.directory, "down").code == 0 and beta.ends() == 0
        beta = daemons.start("beta", "--loop", "uvloop")
        until(lambda: offered(beta, "echo"), "beta knows the agent")
        assert value(beta, "echo.say", text="over the link") == "over the link"
        assert cli(beta.directory, "down").code == 0 and beta.ends() == 0
        beta = daemons.start("beta")
        until(lambda: offered(beta, "echo"), "beta knows the agent again")
        assert drives_uvloop(beta) and kept(beta)["loop"] == "uvloop"
        assert value(beta, "echo.say", text="again") == "again"
        assert cli(beta.directory, "down").code == 0 and beta.ends() == 0
        beta = daemons.start("beta", "--loop", "asyncio")
        assert not drives_uvloop(beta) and "loop" not in kept(beta)


def test_a_loop_nobody_knows_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "alpha"
    directory.mkdir()
    (directory / "settings.json").write_text('{"loop": "twisted"}')
    cli(directory, "up", "--foreground").refused(2, "settings.json", "$.loop", "twisted", "mend the file")
