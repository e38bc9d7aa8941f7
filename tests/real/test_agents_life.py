"""The room, the warden and the bus together: crashes, restarts, stops, and a daemon that is killed under its agents."""

import os
import signal
from pathlib import Path

import pytest

from meshnode.agents.config import AgentsConfig
from meshnode.agents.messages import (
    InstanceChanged,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
)
from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import MS
from meshnode.model.recipe import Recipe
from tests.real.agents_kit import AGENT, WAIT_S, Fifo, Node, gone, in_loop, node

pytestmark = pytest.mark.real


@in_loop
async def test_a_crash_is_told_with_its_reason_and_restarted_with_backoff(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("raise SystemExit('the model file is missing')")
        await here.until(lambda: len(here.all(ProcessExited)) == 3)
        assert [e.code for e in here.all(ProcessExited)] == [1, 1, 1]
        reasons = [c.reason for c in here.all(InstanceChanged) if c.state == "backoff"]
        assert all(r.startswith("exited with code 1: the model file is missing; starts again in") for r in reasons)
        assert "crash 3 in a row" in reasons[2]
        assert len(here.all(StartProcess)) == 3, "the third wait has begun, not ended"


@in_loop
async def test_one_that_keeps_crashing_at_import_is_given_up_by_name(tmp_path: Path):
    at_once = Backoff(first_us=1, cap_us=1)
    (tmp_path / "broken.py").write_text("import no_such_module")
    async with node(tmp_path, intensity_max=3, quick=at_once, slow=at_once) as here:
        here.run_file(tmp_path / "broken.py")
        await here.until(lambda: here.state() == "failed")
        assert len(here.all(ProcessExited)) == 4
        assert "No module named 'no_such_module'" in here.all(InstanceChanged)[-1].reason


@pytest.mark.parametrize("forked", [False, True])
@in_loop
async def test_an_agent_that_dies_in_a_call_is_noticed_and_comes_back(tmp_path: Path, forked: bool):
    async with node(tmp_path) as here:
        if forked:
            (tmp_path / "tested.py").write_text(AGENT)
            here.run_file(tmp_path / "tested.py")
        else:
            here.run(AGENT)
        await here.running()
        here.send_call("tested.die", b"{}")
        await here.until(lambda: here.all(SkillsWithdrawn))
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert (await here.call("tested.add", a=1))[1] == 2


@in_loop
async def test_a_graceful_stop_ends_a_forked_agent_in_order(tmp_path: Path):
    (tmp_path / "tested.py").write_text(AGENT)
    async with node(tmp_path) as here:
        here.run_file(tmp_path / "tested.py")
        await here.running()
        here.stop()
        await here.until(lambda: here.all(ProcessExited))
        exited = here.all(ProcessExited)[0]
        assert (exited.code, exited.signal, exited.tail) == (0, "", "") and here.state() == "gone"


@in_loop
async def test_one_that_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path, fifo: Fifo):
    async with node(tmp_path, grace_us=200 * MS) as here:
        here.run(
            """
            import os, signal, subprocess
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its child inherits that
            child = subprocess.Popen(["sleep", "1000"])
            with open(os.environ["FIFO"], "w") as fifo:
                print(child.pid, file=fifo)
            child.wait()
            """,
            FIFO=fifo.path,
        )
        child = int(await fifo.line())
        here.stop()
        await here.until(lambda: here.all(ProcessExited))
        assert here.all(ProcessExited)[0].signal == "SIGKILL"
        assert gone(child) and here.state() == "gone"


@in_loop
async def test_what_cannot_be_started_is_tried_again_with_its_reason(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run_recipe(Recipe(argv=("no-such-program",)))
        await here.until(lambda: here.all(ProcessFailed))
        await here.until(lambda: here.state() == "backoff")
        assert "could not start: no such program" in here.all(InstanceChanged)[-1].reason


@in_loop
async def test_a_killed_warden_costs_its_agents_a_restart_and_nothing_else(tmp_path: Path):
    (tmp_path / "tested.py").write_text(AGENT)
    async with node(tmp_path) as here:
        here.run_file(tmp_path / "tested.py")
        await here.running()
        before = here.pid()
        link = here.supervisor._link
        assert link is not None
        os.kill(link.pid, signal.SIGKILL)
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert (await here.call("tested.add", a=1))[1] == 2
        assert here.pid() != before and gone(before)


@in_loop
async def test_the_next_daemon_takes_over_a_living_agent_which_holds_what_it_held(tmp_path: Path):
    (tmp_path / "tested.py").write_text(AGENT)
    first = Node(tmp_path, AgentsConfig(node="north"))
    first.start()
    first.run_file(tmp_path / "tested.py")
    await first.running()
    pid, link, warden = first.pid(), first.supervisor._link, first.supervisor._process
    # As a crash would: no word to the warden, none to the agents.
    assert link is not None and warden is not None
    link.close()
    first.bus.close()
    async with node(tmp_path) as second:
        second.run_file(tmp_path / "tested.py")
        await second.running()
        assert [found.pid for told in second.all(ProcessesFound) for found in told.found] == [pid]
        assert second.pid() == pid and not second.all(StartProcess)
        assert [offered.resumed for offered in second.all(SkillsOffered)] == [True]
        assert (await second.call("tested.add", a=1))[1] == 2
        second.stop()
        await second.until(lambda: second.all(ProcessExited))
        assert second.all(ProcessExited)[0].signal == ""
    assert warden.wait(WAIT_S) is not None
