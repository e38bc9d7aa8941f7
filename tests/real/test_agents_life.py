"""Real processes: crashes, restarts, stops, logs, and a daemon that is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.agents.messages import (
    InstanceChanged,
    ProcessExited,
    ProcessFailed,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
)
from meshnode.kernel.instant import MS
from meshnode.model.commands import RunAgent
from tests.real.agents_kit import AGENT, ROOT, WAIT_S, Fifo, ended, gone, in_loop, node

pytestmark = pytest.mark.real


@in_loop
async def test_a_crash_is_told_with_its_reason_and_restarted_with_backoff(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("raise SystemExit('the model file is missing')")
        await here.until(lambda: len(here.all(ProcessExited)) == 3)
        exits = here.all(ProcessExited)
        assert [e.code for e in exits] == [1, 1, 1]
        reasons = [c.reason for c in here.all(InstanceChanged) if c.state == "backoff"]
        assert all(r.startswith("exited with code 1: the model file is missing; starts again in") for r in reasons)
        assert "crash 3 in a row" in reasons[2]
        assert len(here.all(StartProcess)) == 3, "the third wait has begun, not ended"


@in_loop
async def test_an_agent_that_dies_in_a_call_is_noticed_and_comes_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        here.send_call("tested.die", b"{}")
        await here.until(lambda: here.all(SkillsWithdrawn))
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert (await here.call("tested.add", a=1))[1] == 2


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
        child_ended = ended(child)
        here.perform(here.room.stop("tested", here.now()))
        await here.until(lambda: here.all(ProcessExited))
        assert here.all(ProcessExited)[0].signal == "SIGKILL"
        await asyncio.wait_for(child_ended, WAIT_S)
        assert here.state() == "gone"


@in_loop
async def test_children_left_behind_by_a_crash_are_killed(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            import subprocess, sys
            child = subprocess.Popen(["sleep", "1000"])
            sys.exit(f"child {child.pid}")
            """
        )
        await here.until(lambda: here.all(ProcessExited))
        child = int(here.all(ProcessExited)[0].tail.split()[-1])
        await asyncio.wait_for(ended(child), WAIT_S)


@in_loop
async def test_a_graceful_stop_ends_in_order(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        here.perform(here.room.stop("tested", here.now()))
        await here.until(lambda: here.all(ProcessExited))
        exited = here.all(ProcessExited)[0]
        assert (exited.code, exited.signal) == (0, "")


@in_loop
async def test_a_missing_program_or_folder_fails_with_its_name(tmp_path: Path):
    async with node(tmp_path) as here:
        for name, argv, cwd in (("a", ["no-such-program"], "/"), ("b", ["./x"], "/"), ("c", ["true"], "/no/such")):
            command = RunAgent(name=name, argv=argv, cwd=cwd)
            here.perform(here.room.run(command, here.now()))
        errors = [failed.error for failed in here.all(ProcessFailed)]
        assert ["no-such-program" in errors[0], "./x" in errors[1], "/no/such" in errors[2]] == [True] * 3


@in_loop
async def test_an_agent_gets_a_clean_environment_and_no_way_to_more_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("A_SECRET_OF_THE_DAEMON", "1")
    async with node(tmp_path) as here:
        here.run(AGENT, OURS="yes")
        await here.until(lambda: here.state() == "running")
        given = (await here.call("tested.environment"))[1]
        assert isinstance(given, dict)
        assert "A_SECRET_OF_THE_DAEMON" not in given and given["OURS"] == "yes"
        assert (given["MESHNODE_AGENT"], given["MESHNODE_INSTANCE"]) == ("tested", "tested/north")
        status = str((await here.call("tested.status"))[1])
        assert "NoNewPrivs:\t1" in status
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Pid:"))
        assert os.getsid(pid) == pid, "a session of its own"
        ordinary = ignored & 0x7FFFFFFF  # 32 and above belong to the C library
        assert ordinary & ~(1 << (signal.SIGPIPE - 1)) & ~(1 << (signal.SIGXFSZ - 1)) == 0


@in_loop
async def test_the_log_is_kept_within_its_two_files(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("import sys\nfor n in range(60_000): print('x' * 60)\nsys.exit('done')")
        await here.until(lambda: here.all(ProcessExited))
        sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
        assert 500_000 < sum(sizes) <= 2 * 1024 * 1024 and max(sizes) <= 1024 * 1024
        assert here.all(ProcessExited)[0].tail.strip().endswith("done")


DAEMON = """
import asyncio, sys
from pathlib import Path
from meshnode.agents.messages import StartProcess
from meshnode.host.supervisor import Supervisor
AGENT = '''
import os, subprocess
child = subprocess.Popen(["sleep", "1000"])
with open(os.environ["FIFO"], "w") as fifo:
    print(os.getpid(), child.pid, file=fifo)
child.wait()
'''
async def main(directory, fifo):
    supervisor = Supervisor(print, logs=Path(directory) / "logs", bus="/nowhere", node="north")
    supervisor.perform(StartProcess("a/north", 1, (sys.executable, "-c", AGENT), directory, {"FIFO": fifo}, "t"))
    await asyncio.Event().wait()
asyncio.run(main(*sys.argv[1:]))
"""


@in_loop
async def test_a_killed_daemon_leaves_no_agent_and_no_child_of_one(tmp_path: Path, fifo: Fifo):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), fifo.path, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        agent, child = map(int, (await fifo.line()).split())
        assert not gone(agent) and not gone(child)
        both = (ended(agent), ended(child))
    finally:
        daemon.kill()
        await daemon.wait()
    async with asyncio.timeout(WAIT_S):
        for one in both:
            await one
    assert gone(agent) and gone(child)
