"""The mesh the figures are taken from: four daemons as in the demo, one agent, and questions through the public API."""

import shutil
import sys
from collections.abc import Iterable
from types import TracebackType

from bench.waiting import until
from meshnode.client.client import Client
from meshnode.model.commands import CallSkill
from tests.demo.fleet import ROOT, Fleet

PLAN = [("alpha", "eu"), ("beta", "eu"), ("gamma", "us"), ("delta", "us")]
NAMES = tuple(name for name, _ in PLAN)
HOME = "alpha"  # runs the agent, is killed, starts alone
SKILL = "words.count"
LOG_SHOWN = 2000


class Mesh:
    """Four real daemons in two regions behind the cuttable proxy; ``words`` runs on alpha."""

    def __init__(self) -> None:
        self.fleet = Fleet(PLAN, "")
        self.clients = {node.name: Client(str(node.directory), timeout_s=10.0) for node in self.fleet.nodes}

    def __enter__(self) -> "Mesh":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.fleet.stop()
        if isinstance(error, Exception):
            self._tell_logs()
        shutil.rmtree(self.fleet.directory, ignore_errors=True)

    def _tell_logs(self) -> None:
        """The end of every daemon's log, before the directory goes."""
        for log in sorted(self.fleet.directory.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-LOG_SHOWN:]}", file=sys.stderr)

    def form(self) -> None:
        fleet = self.fleet
        fleet.up(HOME)
        for name, region in PLAN[1:]:
            fleet.join(name, fleet.cli(HOME, "invite", "--name", name, "--region", region)["token"])
            fleet.up(name)
        fleet.cli(HOME, "run", str(ROOT / "examples" / "words.py"), "--on", HOME)
        self.whole()

    def whole(self) -> None:
        """Wait until every node is linked to every other and would call alpha's agent."""
        until("the mesh is not whole", lambda: all(map(self._sees_all, NAMES)))

    def _sees_all(self, name: str) -> bool:
        client = self.clients[name]
        ready = sum(node.state == "ready" for node in client.nodes())
        return ready == len(NAMES) and client.status().peers_connected == len(NAMES) - 1 and self.would_call(name)

    def would_call(self, name: str) -> bool:
        """Whether this node would send a call to alpha."""
        return any(offer.node == HOME and not offer.excluded for offer in self.clients[name].skills(SKILL))

    def answers(self) -> bool:
        """Whether alpha's agent answers a call on its own node."""
        view = self.clients[HOME].call(CallSkill(skill=SKILL, arguments={"text": "one two"}, deadline_s=2.0))
        return view.result["words"] == 2

    def roots(self, names: Iterable[str] = NAMES) -> set[tuple[int, str]]:
        """How many documents, and the fingerprint of all of them: one element when the nodes hold the same."""
        told = [self.clients[name].status() for name in names]
        return {(view.documents, view.documents_root) for view in told}

    def write(self, name: str, cluster: str, replicas: int) -> None:
        metadata, spec = {"name": cluster}, {"replicas": replicas}
        self.clients[name].apply({"apiVersion": "v1", "kind": "AgentCluster", "metadata": metadata, "spec": spec})
