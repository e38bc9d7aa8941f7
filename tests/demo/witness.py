"""The demo's ends of its helper processes: the verifier that looks, and the load that calls."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.demo.fleet import ROOT, Broken
from tests.patience import TELLING, bounded

LOAD_ENDS_S = 40.0
CHECK_S = 60.0  # that a check may take beyond its patience: it asks several nodes, each with a bound


class Verifier:
    """The witness process; see tests/demo/verifier.py. ``patience_s``: how long it looks for what does not come."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._process = subprocess.Popen(
            [sys.executable, *TELLING, "-m", "tests.demo.verifier"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def check(self, check: str, /, **order: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        given = {"check": check, "since": time.monotonic(), "wait_s": self._patience_s, **order}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        with bounded(self._process, f"what the verifier sees of {check}", given["wait_s"] + CHECK_S, Broken):
            line = self._process.stdout.readline()
        if not line:
            raise Broken("the verifier has ended")
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Load:
    """The load process; see tests/demo/load.py."""

    def __init__(self, ledger: Path, nodes: dict[str, str]) -> None:
        self.ledger = str(ledger)
        self._log = ledger.with_suffix(".log")
        ledger.touch()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.demo.load", self.ledger, json.dumps(nodes)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """Let it finish what it is about."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(LOAD_ENDS_S) != 0:
            raise Broken(f"the load ended early: {self._log.read_text()[-600:]}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
