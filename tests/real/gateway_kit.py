"""A gateway as a process of its own: started, asked over HTTP, killed; and what it must have of each node's journal."""

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from meshnode.model.commands import JournalCursor, ReadJournal
from tests.patience import TELLING, TOLD_CHARS, ends
from tests.real.daemon_kit import ROOT, Daemon, until

READY_S = 60.0
ENDS_S = 10.0
EVENTS_A_TURN = 4  # at most, of a node that is drained and takes work again
Told = tuple[int, int, str]  # boot, number, text


class GatewayProcess:
    """``program``: what stands behind ``python -m``; ``verb``: of the command line instead, as a person types it."""

    def __init__(
        self, directory: Path, *words: str, program: tuple[str, ...] = ("cloud_gateway",), verb: str = ""
    ) -> None:
        self.directory = directory
        command = ("meshnode.cli", "-C", str(directory), verb) if verb else (*program, "--dir", str(directory))
        self._log = directory.parent / f"{directory.name}-gateway.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *TELLING, "-m", *command, *words],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            readable, _, _ = select.select([pipe], [], [], READY_S)
            self.line = os.read(pipe.fileno(), 4096).decode() if readable else ""
        page = self.line.split()[1] if self.line.startswith("ready") else ""
        self.url, _, self.token = page.partition("/#token=")
        self.host = self.url.partition("://")[2]

    def __enter__(self) -> "GatewayProcess":
        if not self.url:
            self.kill()
            raise AssertionError(f"it did not start: {self.line}\n{self.log()[-3000:]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(ENDS_S)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return ends(self.process, "the gateway", ENDS_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-TOLD_CHARS:]}") from None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        status, body = self.ask("GET", f"/api/v1{path}" + (f"?{urlencode(query)}" if query else ""))
        assert status == 200, f"{status}: {body}"
        return body

    def request(self, verb: str, **body: object) -> str:
        """The id of the request."""
        status, told = self.ask("POST", "/api/v1/commands", {"verb": verb, "body": body}, token=self.token)
        assert status == 202, f"{status}: {told}"
        return told["item"]["command_id"]

    def ask(
        self, method: str, path: str, body: object = None, *, token: str = "", host: str = ""
    ) -> tuple[int, dict[str, Any]]:
        door = http.client.HTTPConnection(self.host, timeout=10)
        headers = {"Host": host or self.host, "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            door.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = door.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            door.close()

    def items(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.get(path, limit=500, **query, **({"after": after} if after else {}))
            found += page["items"]
            after = page["next"] or ""
            if not after:
                return found

    def history(self, node: str, life: int = 1) -> list[Told]:
        """What it has of a node's journal, in one life of it; nothing where it does not know the node yet."""
        if not any(row["node"] == node for row in self.items("/cursors")):
            return []
        rows = self.items("/journal", node=node)
        return [(row["boot"], row["number"], row["text"]) for row in rows if row["life"] == life]

    def cursor(self, node: str) -> dict[str, Any]:
        return next((row for row in self.items("/cursors") if row["node"] == node), {"number": 0, "life": 0})


def journal_of(daemon: Daemon) -> list[Told]:
    """All that a node has, from the node itself."""
    told: list[Told] = []
    cursor = JournalCursor()
    while True:
        view = daemon.ask.journal(ReadJournal(reader="test", cursor=cursor, limit=500))
        told += [(item.boot, item.number, item.text) for item in view.items]
        if not view.more:
            return told
        cursor = JournalCursor(boot=view.boot, number=view.items[-1].number, run=view.run)


def newest(daemon: Daemon) -> int:
    """The number of the newest event that the node tells, 0 if none."""
    told = journal_of(daemon)
    return told[-1][1] if told else 0


def happens(daemon: Daemon, times: int) -> None:
    """At least as many events in the journal of this node: it is drained and takes work again, over and over."""
    last = newest(daemon)
    wanted = last + times

    def goes_on() -> bool:
        nonlocal last
        for _ in range(max(1, (wanted - last) // EVENTS_A_TURN)):
            daemon.ask.drain(daemon.directory.name)
            daemon.ask.resume(daemon.directory.name)
        last = newest(daemon)
        return last >= wanted

    until(goes_on, f"{times} things happen on {daemon.directory.name}", 60)


def differences(gateway: GatewayProcess, daemon: Daemon, life: int = 1) -> list[str]:
    """What is wrong with what the gateway has of a node whose journal lost nothing; [] if nothing is. The node goes
    on writing: what it has now must be there, what is there must be its own."""
    theirs = Counter(journal_of(daemon))
    mine = Counter(gateway.history(daemon.directory.name, life))
    return [
        *(f"missing: {told}" for told in theirs - mine),
        *(f"doubled: {told}" for told, count in mine.items() if count > 1),
        *(f"made up: {told}" for told in set(mine) - set(journal_of(daemon))),
    ]
