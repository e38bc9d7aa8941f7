"""Shared state through real doors: a stick between nodes that never meet, conflicts, and watching over a restart."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from meshnode.client.watching import followed
from meshnode.model.document_views import DocumentEvent
from meshnode.sdk.watching import watch
from tests.real.daemon_kit import Cuttable, Daemon, Daemons, cli, client, typed, until

pytestmark = pytest.mark.real
KIND = "AgentCluster"


def put(daemon: Daemon, name: str, generation: int = 0, replicas: int = 0) -> None:
    spec = {"replicas": replicas, "generation": generation}
    daemon.ask.apply({"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": spec})


class Watcher(threading.Thread):
    """Follows the documents of a node in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._client, self._gone = client(directory), threading.Event()
        self.events: list[DocumentEvent] = []

    def run(self) -> None:
        for event in followed(self._client, KIND, gone=self._gone.is_set):
            self.events.append(event)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.type, event.name) for event in self.events]

    def end(self) -> None:
        self._gone.set()


def test_a_stick_carries_everything_between_nodes_that_never_meet(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha")
        beta = daemons.join(alpha, "beta")
        until(lambda: beta.ask.status().peers_connected == 1, "beta is linked")
        beta.kill()
        for number in range(30):
            put(alpha, f"doc-{number}", number)
        alpha.ask.delete(KIND, "default", "doc-3")
        exported = cli(alpha.directory, "sync", "export", str(tmp_path / "mesh.stick"))
        assert exported.code == 0, exported.err
        root = alpha.ask.status().documents_root
        alpha.kill()
        alone = daemons.start("beta")
        imported = cli(alone.directory, "sync", "import", str(tmp_path / "mesh.stick"), "-o", "json").json
        assert (imported["applied"], imported["refused"]) == (31, {})
        assert alone.ask.status().documents_root == root
        alone.kill()
        again = daemons.start("beta")
        assert again.ask.status().documents_root == root
        repeated = cli(again.directory, "sync", "import", str(tmp_path / "mesh.stick"), "-o", "json").json
        assert (repeated["applied"], repeated["held"]) == (0, 31)
        other = daemons.start("other")
        cli(other.directory, "sync", "import", str(tmp_path / "mesh.stick")).refused(1, "it is of mesh", "Nothing was")


def test_a_watch_is_told_every_change_once_over_a_restart_of_the_daemon(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha")
        put(alpha, "one")
        watcher = Watcher(alpha.directory)
        watcher.start()
        until(lambda: ("synced", "") in watcher.told, "all documents are told")
        put(alpha, "two")
        until(lambda: ("added", "two") in watcher.told, "a new one is told")
        alpha.kill()
        alpha = daemons.start("alpha")
        put(alpha, "two", 5)
        alpha.ask.delete(KIND, "default", "one")
        until(lambda: ("deleted", "one") in watcher.told, "changes after the restart are told")
        watcher.end()
        assert watcher.told == [
            ("added", "one"), ("synced", ""), ("added", "two"), ("changed", "two"), ("deleted", "one"),
        ]  # fmt: skip


def test_a_change_of_another_node_reaches_the_command_line_and_an_agent(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")

        put(alpha, "first")
        until(lambda: beta.ask.documents(KIND), "beta has the first one")

        async def until_news() -> list[tuple[str, str, str]]:
            seen: list[tuple[str, str, str]] = []
            async for event in watch(KIND, directory=str(beta.directory)):
                seen.append((event.type, event.name, event.by))
                if event.type == "synced":
                    await asyncio.to_thread(put, alpha, "news")
                if event.name == "news":
                    break
            return seen

        with typed(beta.directory, "get", "clusters", "-w", "-o", "name") as shell:
            assert shell.stdout is not None
            assert shell.stdout.readline() == "agentcluster/default/first\n"
            told = asyncio.run(until_news())
            assert told == [("added", "first", "alpha"), ("synced", "", ""), ("added", "news", "alpha")]
            assert shell.stdout.readline() == "added agentcluster/default/news\n"


def test_a_conflict_of_a_cut_is_seen_by_field_and_settled_at_the_command_line(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta") as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        put(alpha, "line", 1)
        until(lambda: beta.ask.document(KIND, "default", "line").changes == 1, "beta has it")
        daemons.cut(("alpha", "beta"))
        put(alpha, "line", 2)
        put(beta, "line", 3)
        daemons.heal()
        until(lambda: alpha.ask.conflicts() and beta.ask.conflicts(), "both see the conflict", 60.0)
        shown = cli(alpha.directory, "state", "show", "cluster", "line").out
        assert "2 by alpha" in shown or "3 by beta" in shown
        settled = cli(alpha.directory, "conflicts", "resolve", "cluster", "line", "spec.generation", "--pick", "2")
        assert settled.code == 0, settled.err
        until(lambda: not alpha.ask.conflicts() and not beta.ask.conflicts(), "nobody sees one any more")
        assert alpha.ask.document(KIND, "default", "line") == beta.ask.document(KIND, "default", "line")
        rows = [
            json.loads(line)
            for line in cli(beta.directory, "state", "history", "cluster", "line", "-o", "jsonl").out.splitlines()
        ]
        assert {row["writer"] for row in rows} == {"alpha", "beta"}
        assert len(rows) == 4
        assert "spec.generation" in cli(beta.directory, "state", "diff", "cluster", "line", "1").out
        assert cli(alpha.directory, "sync", "now").out.startswith("asked:     beta")
