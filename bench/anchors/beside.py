"""The environment of the anchors, and their scripts as processes.

Made once under ``.venvs/anchors``; what cannot be had is named, and the rows of it say so.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venvs" / "anchors"
PYTHON = ENVIRONMENT / "bin" / "python"
PACKAGES = ("ray==2.60.0", "nats-py==2.16.0")
STAMP = ENVIRONMENT / "anchors.stamp"
INSTALL_S, ANSWER_S = 600, 180.0
TUNED = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
}


class Missing(Exception):
    """The anchor cannot be measured here, for this reason."""


def prepare() -> None:
    """Install what the anchors need. What fails is told again by whoever asks for it."""
    if not STAMP.exists() or STAMP.read_text() != " ".join(PACKAGES):
        print(f"setting up {ENVIRONMENT.relative_to(ROOT)} (once)", file=sys.stderr)
        install = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
        try:
            for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], install):
                subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=True)
            STAMP.write_text(" ".join(PACKAGES))
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no anchors from there: {error}", file=sys.stderr)
    if shutil.which("nats-server") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "nats-server"], capture_output=True, check=False)


def once(script: str, *arguments: str, timeout_s: float, tuned: bool = False) -> dict[str, Any]:
    """Run a script to its end and give what its last line says.

    Raises:
        Missing: it could not, or not in time.
    """
    environment = {**os.environ, **(TUNED if tuned else {})}
    try:
        command = _command(script, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise Missing(f"not done after {timeout_s:g} s") from error
    except (IndexError, ValueError) as error:
        raise Missing(
            f"exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}"
        ) from error
    finally:
        _sweep()


class Server:
    """A script that answers each line with a line: rounds of calls, taken in turn with the product's."""

    def __init__(self, script: str, command: list[str] | None = None) -> None:
        """``command``: how it is run, where that is not in the environment of these anchors."""
        self.within_s = ANSWER_S
        self.process = subprocess.Popen(
            command or _command(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, start_new_session=True,
        )  # fmt: skip
        self._read()

    def round(self, where: str, samples: int, window_s: float) -> tuple[list[float], float]:
        """Latencies in microseconds, and calls a second with 64 in flight (0 without a window)."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the reading below says how
            self.process.stdin.write(f"{where} {samples} {window_s}\n")
            self.process.stdin.flush()
        told = self._read()
        return told["us"], told["calls_s"]

    def close(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        _sweep()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.within_s)[0]:
            self.process.kill()
            self.close()
            raise Missing(f"no answer within {self.within_s:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise Missing(f"it ended with {self.process.wait()}")
        return json.loads(line)


def _command(script: str, *arguments: str) -> list[str]:
    if not STAMP.exists():
        raise Missing(f"its environment could not be made ({', '.join(PACKAGES)})")
    if script.startswith("nats") and shutil.which("nats-server") is None:
        raise Missing("no nats-server on this machine (Debian: apt install nats-server)")
    return [str(PYTHON), str(Path(__file__).with_name(script)), *arguments]


def _sweep() -> None:
    """Processes that outlived their script: Ray's leave its group and overwrite their environment, but not their map
    of libraries."""
    mark = str(ENVIRONMENT.resolve())
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if mark in maps.read_text(errors="replace"):
                os.kill(int(maps.parent.name), signal.SIGKILL)
