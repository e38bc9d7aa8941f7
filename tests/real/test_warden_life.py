"""Real processes under a real warden: how they start, and every way they end."""

import asyncio
import hashlib
import json
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from meshnode.agents.messages import ProcessExited, ProcessFailed, ProcessStarted
from meshnode.model.recipe import Recipe
from tests.real.agents_kit import WAIT_S, Fifo, ended, gone, in_loop
from tests.real.hiding_warden import SHOWN
from tests.real.warden_kit import hand, warden_by

pytestmark = pytest.mark.real


# Ends


@in_loop
async def test_a_crash_at_import_is_told_with_the_last_line_of_its_traceback(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("import no_such_module"))
        exited = await here.exit()
        assert (exited.code, exited.signal) == (1, "")
        assert exited.tail.strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


@in_loop
async def test_a_file_that_is_no_python_is_told_with_its_line(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("def ("))
        exited = await here.exit()
        assert exited.code == 1 and "SyntaxError" in exited.tail and "agent.py" in exited.tail


@pytest.mark.parametrize("kind", ["file", "command"])
@in_loop
async def test_codes_and_signals_are_told_as_they_were(tmp_path: Path, kind: str):
    async with hand(tmp_path) as here:
        make = here.recipe if kind == "file" else here.command
        here.start(make("import sys; print('so far'); sys.exit(7)"), "a/0")
        first = await here.exit("a/0")
        here.start(make("os.kill(os.getpid(), 9)"), "b/0")
        second = await here.exit("b/0")
        assert (first.code, first.signal, first.tail) == (7, "", "so far\n")
        assert (second.code, second.signal) == (0, "SIGKILL")


@in_loop
async def test_an_end_in_order_runs_what_was_to_run_at_exit(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(
            here.recipe(
                """
                import atexit, threading, time
                atexit.register(lambda: print("tidied up"))
                threading.Timer(0.05, lambda: print("a thread ended first")).start()
                """
            )
        )
        exited = await here.exit()
        assert (exited.code, exited.tail) == (0, "a thread ended first\ntidied up\n")


@in_loop
async def test_a_graceful_stop_ends_in_order(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        here.start(
            here.recipe(
                """
                import signal, sys
                signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
                say("ready")
                signal.pause()
                """,
                FIFO=fifo.path,
            )
        )
        assert await fifo.line() == "ready"
        here.stop()
        exited = await here.exit()
        assert (exited.code, exited.signal, exited.tail) == (1, "", "saved\n")


@in_loop
async def test_a_stop_right_behind_the_start_is_not_lost(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("import time; time.sleep(1000)"))
        here.stop()
        exited = await here.exit()
        assert exited.signal == "SIGTERM"


@in_loop
async def test_one_that_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        here.start(
            here.recipe(
                """
                import signal, subprocess
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its child inherits that
                child = subprocess.Popen(["sleep", "1000"])
                say(child.pid)
                child.wait()
                """,
                FIFO=fifo.path,
            )
        )
        child = int(await fifo.line())
        here.stop(grace_us=200_000)
        exited = await here.exit()
        assert exited.signal == "SIGKILL"
        assert gone(child), "the exit is told when the whole group is gone"


@in_loop
async def test_children_left_behind_by_a_crash_are_killed(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(
            here.recipe(
                """
                import subprocess, sys
                child = subprocess.Popen(["sleep", "1000"])
                sys.exit(f"child {child.pid}")
                """
            )
        )
        exited = await here.exit()
        assert gone(int(exited.tail.split()[-1]))


AWAY = """
import subprocess, sys
def away(then):  # two forks and a session of its own: nobody's child, nobody's group
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3):
                os.close(fd)
            then()
        os._exit(0)
    os.wait()
def forked():
    import time
    say(os.getpid())
    time.sleep(1000)
def parent():  # its child is the warden's only when it has ended
    os.fork()
    forked()
def executed():
    say(os.getpid())
    os.execvp("sleep", ["sleep", "1000"])
away({how})
{end}
"""


@pytest.mark.parametrize("how", ["forked", "executed"])
@in_loop
async def test_one_that_forks_away_is_found_and_ended_and_nobody_else_is(tmp_path: Path, fifo: Fifo, how: str):
    async with hand(tmp_path) as here:
        here.start(here.recipe(AWAY.format(how=how, end="import time; time.sleep(1000)"), FIFO=fifo.path), "good/0")
        spared = int(await fifo.line())
        here.start(here.recipe(AWAY.format(how=how, end="import time; time.sleep(1000)"), FIFO=fifo.path), "away/0")
        away = int(await fifo.line())
        await here.pid("away/0")
        here.stop("away/0", grace_us=0)
        await here.exit("away/0")
        async with asyncio.timeout(WAIT_S):
            await ended(away)  # it was on its way out when its unit had ended
        assert not gone(spared)
    assert gone(spared), "the end of the warden is the end of all"


@in_loop
async def test_one_that_shows_its_mark_only_after_its_run_was_over_is_found_and_so_is_its_child(
    tmp_path: Path, fifo: Fifo
):
    (tmp_path / "run").mkdir(mode=0o700)
    with warden_by(tmp_path / "run", "tests.real.hiding_warden"):
        async with hand(tmp_path) as here:
            code = AWAY.format(how="parent", end="import time; time.sleep(1000)")
            here.start(here.recipe(code, FIFO=fifo.path), "good/0")
            spared = [int(await fifo.line()) for _ in range(2)]
            here.start(here.recipe(code, FIFO=fifo.path), "away/0")
            away = [int(await fifo.line()) for _ in range(2)]
            await here.pid("away/0")
            here.stop("away/0", grace_us=0)
            await here.exit("away/0")
            assert not any(map(gone, away)), "the end of the run is told before"
            (tmp_path / SHOWN).touch()
            async with asyncio.timeout(WAIT_S):
                for each in away:
                    await ended(each)
            assert not any(map(gone, spared))


# Starts


@in_loop
async def test_what_cannot_be_started_fails_with_what_is_missing(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(Recipe(argv=("no-such-program",)), "a/0")
        here.start(Recipe(argv=("./x",)), "b/0")
        here.start(Recipe(argv=("true",), cwd="/no/such"), "c/0")
        here.start(Recipe(file="/no/such.py"), "d/0")
        here.start(Recipe(), "e/0")
        here.start(Recipe(file="/no/such.py", bundle="0" * 64), "f/0")
        here.start(Recipe(argv=("true",), environment={"X": "x" * 5_000_000}), "g/0")
        errors = [failed.error for failed in here.all(ProcessFailed)]
        for error, words in zip(
            errors,
            (
                "no-such-program", "./x", "/no/such", "/no/such.py is not on this machine", "none given",
                "its file is not on this machine and its bundle has not arrived", "over 4194304 bytes",
            ),
            strict=True,
        ):  # fmt: skip
            assert words in error


@in_loop
async def test_what_the_machine_refuses_only_later_is_told_as_well(tmp_path: Path):
    async with hand(tmp_path) as here:
        (tmp_path / "odd").write_bytes(b"\x7fELF but not really")
        (tmp_path / "odd").chmod(0o700)
        here.start(Recipe(argv=("./odd",), cwd=str(tmp_path)))
        exited = await here.exit()
        assert exited.code == 126 and "cannot run ./odd" in exited.tail


@in_loop
async def test_one_run_is_not_started_twice(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("import time; time.sleep(1000)"))
        await here.pid()
        here.start(here.recipe("print('the second')"))
        await here.until(lambda: here.all(ProcessFailed))
        assert "has not ended" in here.all(ProcessFailed)[0].error


@in_loop
async def test_a_file_that_is_missing_is_run_from_its_bundle(tmp_path: Path):
    async with hand(tmp_path) as here:
        content = b"import os, sys; print(sys.argv, os.getcwd())\n"
        digest = here.blobs.put(content)
        here.start(Recipe(argv=("x",), cwd="/no/such", file="/no/such/words.py", bundle=digest))
        exited = await here.exit()
        folder = tmp_path / "bundles" / digest
        assert exited.tail == f"{[str(folder / 'words.py'), 'x']} {folder}\n"
        assert (folder / "words.py").stat().st_mode & 0o777 == 0o400


@in_loop
async def test_a_file_that_was_changed_here_is_not_run_in_place_of_its_bundle(tmp_path: Path):
    async with hand(tmp_path) as here:
        path = tmp_path / "words.py"
        path.write_text("print('as it was given')")
        digest = here.blobs.put(path.read_bytes())
        here.start(Recipe(cwd=str(tmp_path), file=str(path), bundle=digest), "a/0")
        assert (await here.exit("a/0")).tail == "as it was given\n"
        path.write_text("print('as it was changed')")
        assert hashlib.sha256(path.read_bytes()).hexdigest() != digest
        here.start(Recipe(cwd=str(tmp_path), file=str(path), bundle=digest), "b/0")
        assert (await here.exit("b/0")).tail == "as it was given\n"
        here.start(Recipe(cwd=str(tmp_path), file=str(path)), "c/0")
        assert (await here.exit("c/0")).tail == "as it was changed\n"


SHOW = """
import json, resource, signal, sys
say(json.dumps({"environment": dict(os.environ), "status": open("/proc/self/status").read(), "cwd": os.getcwd(),
    "files": sorted(os.listdir("/proc/self/fd")), "core": resource.getrlimit(resource.RLIMIT_CORE)}))
signal.pause()
"""


@pytest.mark.parametrize("kind", ["file", "command"])
@in_loop
async def test_an_agent_gets_a_clean_place_and_no_way_to_more_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fifo: Fifo, kind: str
):
    monkeypatch.setenv("A_SECRET_OF_THE_DAEMON", "1")
    async with hand(tmp_path) as here:
        make = here.recipe if kind == "file" else here.command
        here.start(make(SHOW, OURS="yes", FIFO=fifo.path), "tested/7")
        shown = json.loads(await fifo.line())
        given, pid = shown["environment"], await here.pid("tested/7")
        assert "A_SECRET_OF_THE_DAEMON" not in given and given["OURS"] == "yes"
        assert {name: given[name] for name in given if name.startswith("MESHNODE_") and name != "MESHNODE_MARK"} == {
            "MESHNODE_AGENT": "tested", "MESHNODE_INSTANCE": "tested/7", "MESHNODE_TICKET": "ticket-tested/7",
            "MESHNODE_BUS": "unix:///nowhere", "MESHNODE_NODE": "north", "MESHNODE_FIRST_SLOT": "0",
            "MESHNODE_SLOTS": "1", "MESHNODE_API": given["MESHNODE_API"],
        }  # fmt: skip
        assert given["MESHNODE_API"].startswith(str(tmp_path)) and given["MESHNODE_API"].endswith("api.sock")
        status = dict(line.split(":\t", 1) for line in shown["status"].splitlines() if ":\t" in line)
        assert status["NoNewPrivs"] == "1" and shown["core"] == [0, 0]
        ordinary = 0x7FFFFFFF  # 32 and above belong to the C library
        python_ignores = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
        assert int(status["SigIgn"], 16) & ordinary & ~python_ignores == 0
        assert int(status["SigBlk"], 16) & ordinary == 0
        assert os.getsid(pid) == pid, "a session of its own"
        assert shown["files"] == ["0", "1", "2", "3"], "nothing of the warden's is open; the last one is this look"
        assert shown["cwd"] == (str(tmp_path) if kind == "file" else "/")


@in_loop
async def test_modules_beside_the_file_and_on_its_path_are_found(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.py").write_text("WORD = 'far'")
    (tmp_path / "near.py").write_text("WORD = 'near'")
    async with hand(tmp_path) as here:
        here.start(here.recipe("import far, near; print(far.WORD, near.WORD)", PYTHONPATH=str(tmp_path / "elsewhere")))
        assert (await here.exit()).tail == "far near\n"


@in_loop
async def test_two_forks_do_not_share_their_luck(tmp_path: Path):
    async with hand(tmp_path) as here:
        recipe = here.recipe("import random; print(random.random(), __name__, __file__)")
        here.start(recipe, "a/0")
        here.start(recipe, "b/0")
        first, second = await here.exit("a/0"), await here.exit("b/0")
        assert first.tail != second.tail and first.tail.split()[1] == "__main__"


@in_loop
async def test_a_hundred_at_once_all_run_and_all_end(tmp_path: Path):
    async with hand(tmp_path) as here:
        recipe = here.recipe("import signal; signal.pause()")
        for number in range(100):
            here.start(recipe, f"a/{number}")
        await here.until(lambda: len(here.all(ProcessStarted)) == 100)
        pids = [started.pid for started in here.all(ProcessStarted)]
    assert len(here.all(ProcessExited)) == 100 and all(map(gone, pids))


# The warden's end


@in_loop
async def test_a_killed_warden_takes_its_agents_along_and_the_next_start_makes_another(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        here.start(here.recipe(AWAY.format(how="forked", end="import time; time.sleep(1000)"), FIFO=fifo.path), "a/0")
        away = int(await fifo.line())
        here.start(here.command("import time; time.sleep(1000)"), "b/0")
        pids = [await here.pid("a/0"), await here.pid("b/0"), away]
        os.kill(here.warden(), signal.SIGKILL)
        exits = [await here.exit("a/0"), await here.exit("b/0")]
        assert [(e.signal, e.code) for e in exits] == [("SIGKILL", 0)] * 2 and "warden" in exits[0].tail
        assert all(map(gone, pids)), "also the one that had left group and session"
        here.start(here.recipe("print('again')"), "a/0", 2)
        await here.until(lambda: [e for e in here.all(ProcessExited) if e.run_no == 2])
        assert here.all(ProcessExited)[-1].tail == "again\n"


@in_loop
async def test_a_start_on_its_way_to_a_dying_warden_is_made_by_the_next(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("import time; time.sleep(1000)"), "a/0")
        await here.pid("a/0")
        os.kill(here.warden(), signal.SIGSTOP)
        here.start(here.recipe("print('made all the same')", name="b.py"), "b/0")
        os.kill(here.warden(), signal.SIGKILL)
        assert (await here.exit("b/0")).tail == "made all the same\n"


@in_loop
async def test_a_warden_told_to_end_by_the_system_ends_its_agents_in_order(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('saved'))\nsay(1)\nsignal.pause()"
        here.start(here.recipe(code, FIFO=fifo.path))
        await fifo.line()
        os.kill(here.warden(), signal.SIGTERM)
        assert (await here.exit()).tail == "saved\n"


@in_loop
async def test_a_warden_that_cannot_be_started_fails_what_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with hand(tmp_path) as here:
        await here.found()
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        here.start(Recipe(argv=("true",)))
        await here.until(lambda: here.all(ProcessFailed))
        assert "no process can be started" in here.all(ProcessFailed)[0].error


@in_loop
async def test_a_warden_that_ends_at_once_is_not_started_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with hand(tmp_path) as here:
        await here.found()
        monkeypatch.setattr(sys, "executable", "/bin/true")
        here.start(Recipe(argv=("true",)))
        await here.until(lambda: here.all(ProcessFailed))
        assert "ended 2 times; see warden.err" in here.all(ProcessFailed)[0].error


@in_loop
async def test_closing_ends_everything_and_leaves_no_socket(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("import time; time.sleep(1000)"))
        pid, warden = await here.pid(), here.warden()
        assert (tmp_path / "run" / "warden.sock").stat().st_mode & 0o777 == 0o600
    assert gone(pid) and gone(warden) and here.all(ProcessExited)[0].signal == "SIGKILL"
    assert list((tmp_path / "run").iterdir()) == []
    async with asyncio.timeout(WAIT_S):
        await ended(warden)


@in_loop
async def test_nothing_of_an_agent_runs_before_its_start_was_told(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        recipe = here.recipe("say(1)", FIFO=fifo.path)
        told_before = list[bool]()

        def tell(event: object) -> None:
            if isinstance(event, ProcessStarted):
                told_before.append(fifo.pending == b"" and not select.select([fifo.fd], [], [], 0.05)[0])
            here.tell(event)

        here.supervisor._tell = tell
        here.start(recipe)
        assert await fifo.line() == "1" and told_before == [True]
