"""A daemon is killed: its agents work on for a while, are taken over by the next one, or end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshnode.agents.messages import FoundProcess, ProcessesFound, ProcessExited
from meshnode.host import supervisor
from meshnode.host.logs import read_logs
from meshnode.host.wardenlink import connect
from meshnode.model.ids import InstanceId
from tests.real.agents_kit import ROOT, WAIT_S, Fifo, ended, gone, in_loop
from tests.real.warden_kit import SAY, hand

pytestmark = pytest.mark.real
Tell = Callable[[str], object]

# DIRECTORY ORPHAN_S, then pairs of INSTANCE FILE.
DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.real.warden_kit import Hand
from meshnode.model.recipe import Recipe
async def main(directory, orphan_s, fifo, *starts):
    here = Hand(Path(directory), orphan_s=float(orphan_s))
    for number, (instance, file) in enumerate(zip(starts[::2], starts[1::2]), 1):
        here.start(Recipe(cwd=directory, file=file, environment={"FIFO": fifo}), instance, number)
        print(instance, await here.pid(instance), here.warden(), flush=True)
    await asyncio.Event().wait()
asyncio.run(main(*sys.argv[1:]))
"""


class Daemon:
    """A process with a supervisor, to be killed. ``pids`` and ``warden`` are known once it has started everything."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.pids, self.warden = process, {}, 0

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def daemon(directory: Path, fifo: Fifo, orphan_s: float = 60.0, **code: str) -> AsyncIterator[Daemon]:
    """One agent for every named piece of code, as ``NAME/0``."""
    starts: list[str] = []
    for name, text in code.items():
        (directory / f"{name}.py").write_text(SAY + text)
        starts += [f"{name}/0", str(directory / f"{name}.py")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(directory), str(orphan_s), fifo.path, *starts,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    made = Daemon(process)
    try:
        assert process.stdout is not None
        for _ in code:
            async with asyncio.timeout(WAIT_S):
                instance, pid, warden = (await process.stdout.readline()).split()
            made.pids[instance.decode()], made.warden = int(pid), int(warden)
        yield made
    finally:
        if process.returncode is None:
            await made.kill()


LISTENS = """
import sys
say("ready")
for line in open(os.environ["FIFO"] + ".in"):  # a line in, a line out
    word = line.strip()
    print("heard", word, flush=True)
    say("heard", word)
    if word == "end":
        sys.exit(5)
"""


@pytest.fixture
def tell(fifo: Fifo) -> Iterator[Tell]:
    """A second pipe, by which those that listen are told a word. Nobody waits for anybody to open it."""
    os.mkfifo(fifo.path + ".in")
    fd = os.open(fifo.path + ".in", os.O_RDWR)
    yield lambda word: os.write(fd, f"{word}\n".encode())
    os.close(fd)


@in_loop
async def test_agents_of_a_killed_daemon_work_on_and_belong_to_the_next(tmp_path: Path, fifo: Fifo, tell: Tell):
    async with daemon(tmp_path, fifo, a=LISTENS) as before:
        assert await fifo.line() == "ready"
        await before.kill()
        tell("while nobody was there")
        assert await fifo.line() == "heard while nobody was there"
        async with hand(tmp_path) as after:
            found = await after.found()
            assert found == ProcessesFound((FoundProcess(InstanceId("a/0"), 1, before.pids["a/0"], "ticket-a/0"),))
            assert after.told == [found] and after.warden() == before.warden
            tell("end")
            exited = await after.exit("a/0")
            assert (exited.run_no, exited.code, exited.signal) == (1, 5, "")
            after.start(after.recipe("print('on the same warden')"), "b/0")
            await after.exit("b/0")
            assert after.warden() == before.warden
        lines, _ = read_logs(tmp_path / "logs", "a", 0, 10, "north")
        assert [line.text for line in lines] == ["heard while nobody was there", "heard end"]


@in_loop
async def test_a_found_process_can_be_stopped(tmp_path: Path, fifo: Fifo):
    async with daemon(tmp_path, fifo, a="import signal\nsignal.pause()") as before:
        await before.kill()
        async with hand(tmp_path) as after:
            await after.found()
            after.stop("a/0", 1)
            assert (await after.exit("a/0")).signal == "SIGTERM"


@in_loop
async def test_an_exit_nobody_was_there_to_hear_is_told_to_the_next_after_what_runs(
    tmp_path: Path, fifo: Fifo, tell: Tell
):
    async with daemon(tmp_path, fifo, a=LISTENS, b="import signal\nsignal.pause()") as before:
        await before.kill()
        assert await fifo.line() == "ready"
        over = ended(before.pids["a/0"])
        tell("end")
        await asyncio.wait_for(over, WAIT_S)
        async with hand(tmp_path) as after:
            exited = await after.exit("a/0")
            assert (exited.run_no, exited.code) == (1, 5)
            assert [type(event) for event in after.told] == [ProcessesFound, ProcessExited]
            assert [process.instance for process in after.all(ProcessesFound)[0].found] in (["b/0"], ["a/0", "b/0"])


@in_loop
async def test_when_nobody_comes_back_everything_ends_in_order_and_the_socket_goes(tmp_path: Path, fifo: Fifo):
    code = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(say('saved')))\nsay(1)\nsignal.pause()"
    )
    async with daemon(tmp_path, fifo, orphan_s=0.3, a=code) as before:
        assert await fifo.line() == "1"
        over = (ended(before.pids["a/0"]), ended(before.warden))
        await before.kill()
        assert await fifo.line() == "saved"
        async with asyncio.timeout(WAIT_S):
            for one in over:
                await one
        assert not (tmp_path / "run" / "warden.sock").exists()


@in_loop
async def test_daemon_and_warden_killed_at_once_leave_nothing_the_next_would_not_find(tmp_path: Path, fifo: Fifo):
    away = "if os.fork() == 0:\n    os.setsid()\n    say(os.getpid())\nimport signal\nsignal.pause()"
    async with daemon(tmp_path, fifo, a=away) as before:
        ran_away = int(await fifo.line())
        over = ended(before.pids["a/0"])
        os.kill(before.process.pid, signal.SIGSTOP)  # it must not notice, or it would tidy up
        os.kill(before.warden, signal.SIGKILL)
        await before.kill()
        await asyncio.wait_for(over, WAIT_S)
        assert not gone(ran_away)
        async with hand(tmp_path) as after:
            assert await after.found() == ProcessesFound(())
            assert gone(ran_away)
            after.start(after.recipe("print('all new')"), "a/0", 1)
            assert (await after.exit("a/0")).tail == "all new\n"


@in_loop
async def test_a_node_that_never_ran_anything_finds_nothing_once_and_needs_no_warden(tmp_path: Path):
    async with hand(tmp_path) as here:
        assert await here.found() == ProcessesFound(())
        assert here.supervisor._link is None
    assert here.told == [ProcessesFound(())]


@in_loop
async def test_a_warden_that_hangs_is_killed_and_its_agents_with_it(
    tmp_path: Path, fifo: Fifo, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "_LISTED_S", 0.2)
    async with daemon(tmp_path, fifo, a="import signal\nsignal.pause()") as before:
        await before.kill()
        over = (ended(before.pids["a/0"]), ended(before.warden))
        os.kill(before.warden, signal.SIGSTOP)
        async with hand(tmp_path) as after:
            assert await after.found() == ProcessesFound(())
            for one in over:  # killed already; the kernel may still be busy with their ends
                await asyncio.wait_for(one, WAIT_S)


@in_loop
async def test_junk_on_its_socket_costs_the_speaker_the_connection_and_nobody_else_anything(tmp_path: Path, fifo: Fifo):
    async with daemon(tmp_path, fifo, a="import signal\nsignal.pause()") as before:
        await before.kill()
        for junk in (b"\xff\xff\xff\xff", b"\0\0\0\x01\x00", b"\0\0\0\x02\x91\xa1"):
            connection = connect(tmp_path / "run")
            assert connection is not None
            with connection:
                connection.settimeout(WAIT_S)
                connection.sendall(junk)
                assert connection.recv(1) == b""
        async with hand(tmp_path) as after:
            assert len((await after.found()).found) == 1
