"""Starting a daemon and waiting for its one line; the daemons here are small scripts."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.cli.daemon_process import Start, start
from meshnode.cli.lifecycle import daemon_arguments, process_of
from meshnode.cli.parser import Parser, parser_of
from meshnode.model.errors import LocalError, TimedOut

pytestmark = pytest.mark.real

_HEAD = """
import json, os, sys
fd = int(sys.argv[sys.argv.index("--ready-fd") + 1])
print("log line of the daemon", flush=True)
def tell(line): os.write(fd, json.dumps(line).encode() + b"\\n")
"""


def begin(directory: Path, script: str, timeout_s: float = 20.0) -> Start:
    program = (sys.executable, "-c", _HEAD + script)
    return Start(directory=directory, argv=["--dir", str(directory)], timeout_s=timeout_s, program=program)


def test_a_ready_daemon_is_left_running_and_its_words_are_handed_over(tmp_path: Path) -> None:
    directory = tmp_path / "a b" / "n"
    made = {"mesh": "m", "name": "alpha"}
    line = {"ok": True, "made": made, "recovery_words": "one two", "listen": "127.0.0.1:7070", "later": 1}
    script = f"""
tell({line!r})
open("{tmp_path}/seen", "w").write(json.dumps([sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid()]))
"""
    ready = start(begin(directory, "true = True; false = False\n" + script))
    assert (ready.made, ready.recovery_words, ready.listen) == (made, "one two", "127.0.0.1:7070")
    os.waitpid(-1, 0)
    argv, cwd, leads = json.loads((tmp_path / "seen").read_text())
    assert (argv[:2], cwd, leads) == (["--dir", str(directory)], "/", True)
    assert (directory / "logs" / "daemon.log").read_text() == "log line of the daemon\n"
    assert (directory / "logs").stat().st_mode & 0o777 == 0o700


def test_a_refusal_keeps_its_code_words_and_exit_code(tmp_path: Path) -> None:
    refusal = {"code": "port-in-use", "message": "port 7070 is in use", "next_step": "choose", "exit_code": 4}
    with pytest.raises(LocalError) as caught:
        start(begin(tmp_path, f'tell({{"ok": False, "error": {refusal!r}}})'))
    error = caught.value
    assert (error.code, error.message, error.next_step, error.exit_code) == tuple(refusal.values())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sys.exit('boom: no disk')", "ended with exit code 1"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os.write(fd, b'junk\\n'); sys.exit(3)", "ended with exit code 3"),
    ],
)
def test_a_daemon_that_dies_is_told_with_the_end_of_its_log(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(LocalError, match=words) as caught:
        start(begin(tmp_path, script))
    assert "log line of the daemon" in caught.value.message
    assert caught.value.next_step == f"the whole log: {tmp_path}/logs/daemon.log"


def test_a_daemon_that_says_nothing_is_ended(tmp_path: Path) -> None:
    script = f'open("{tmp_path}/pid", "w").write(str(os.getpid())); import time; time.sleep(60)'
    with pytest.raises(TimedOut, match="not ready after 1 s"):
        start(begin(tmp_path, script, timeout_s=1.0))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_daemon_gets_absolute_paths_and_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshnode.cli.lifecycle import VERBS

    parser: Parser = parser_of("up", "")
    parser.set_defaults(directory="n 1")
    VERBS["up"].options(parser)
    monkeypatch.chdir(tmp_path)
    line = "--name a --region r --port 0 --seed h:1 [::1]:2 --seed i:3 --advertise x:4 --dial-from 127.0.1.1 --no-mdns"
    assert daemon_arguments(parser.parse_args(line.split())) == [
        "--dir", str(tmp_path / "n 1"), "--name", "a", "--region", "r", "--dial-from", "127.0.1.1", "--port", "0",
        "--seed", "h:1", "--seed", "[::1]:2", "--seed", "i:3", "--advertise", "x:4", "--no-mdns",
    ]  # fmt: skip
    assert daemon_arguments(parser.parse_args([])) == ["--dir", str(tmp_path / "n 1")]


def test_the_end_of_the_process_in_the_lock_is_seen(tmp_path: Path) -> None:
    assert process_of(tmp_path) is None
    (tmp_path / "lock").write_text("not a number")
    assert process_of(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (tmp_path / "lock").write_text(f"{process.pid}\n")
        found = process_of(tmp_path)
        assert found is not None
        assert select.select([found], [], [], 0)[0] == []
        process.kill()
        assert select.select([found], [], [], 10)[0] == [found]
        os.close(found)
