"""Daemons with a driver inside, as processes: how benches of talk start, order and end them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshnode.host.rundir import discard_run_directory
from tests.demo.fleet import ROOT, Broken

STOP_S = 10.0


def started(module: str, at: Path, address: str, *more: str) -> tuple[subprocess.Popen[str], str]:
    """A daemon of this module in ``at``, bound to and dialling from ``address``, and where it listens."""
    read_fd, write_fd = os.pipe()
    command = [
        sys.executable, "-m", module, "--dir", str(at), "--bind", address, "--dial-from", address,
        "--no-mdns", "--ready-fd", str(write_fd), *more,
    ]  # fmt: skip
    with (at / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            pass_fds=(write_fd,),
        )  # fmt: skip
    os.close(write_fd)
    with os.fdopen(read_fd) as ready:
        told = json.loads(ready.readline() or "{}")
    if not told.get("ok"):
        end([process], [])
        raise Broken(f"the daemon {at.name} did not start: see {at / 'daemon.log'}")
    return process, told["listen"]


def give(process: subprocess.Popen[str], order: dict[str, Any]) -> None:
    """One line to its driver."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()


def end(processes: Sequence[subprocess.Popen[str]], directories: Sequence[Path]) -> None:
    """All of them, in time or killed."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what it was told last, and did not read
                    stream.close()
    for at in directories:
        discard_run_directory(at)
