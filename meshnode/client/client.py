"""The synchronous client of a node's local API: one method per command, typed answers, errors by family.

Connections are kept for the next request (``doors.py``); a daemon that restarts is no event all the same.
"""

import contextlib
import os
import socket
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from meshnode.client.doors import Doors
from meshnode.client.errors import error_of, retry_after_ms
from meshnode.client.events import Told, TopicEvent, read_changes, read_events, read_topics
from meshnode.client.exchange import Answer, BrokenAnswer, Whole, ask
from meshnode.client.lines import read_call
from meshnode.client.locate import data_dir, no_daemon, not_yours, socket_of, went_away
from meshnode.model import commands, document_views, patience, unit_views, view_parts, views
from meshnode.model.errors import Invalid, LocalError, TimedOut

ViewT = TypeVar("ViewT", bound=view_parts.View)
# How long past a command's own deadline its answer is still waited for.
GRACE_S = 5.0
# Three heartbeats of an event stream.
SILENCE_S = 45.0


class Client:
    """The door of one node.

    Args:
        directory: the node's data directory; None means MESHNODE_DIR, then ~/.meshnode.
        timeout_s: for every command that has no deadline of its own.
        socket: of its local API, where that is known already; else it is found from the directory.

    Every method raises a ``LocalError``: ``Offline`` when no daemon runs there, otherwise what the node answered.
    """

    def __init__(self, directory: str | None = None, *, timeout_s: float = 30.0, socket: str = "") -> None:
        self.directory: Path = data_dir(directory)
        self._timeout_s = timeout_s
        self._socket = socket
        self._doors = Doors()

    # Look
    def status(self) -> views.StatusView:
        return self._get("/v1/status", views.StatusView)

    def identity(self) -> views.IdentityView:
        return self._get("/v1/identity", views.IdentityView)

    def nodes(self) -> list[views.NodeView]:
        return self._get("/v1/nodes", views.NodesView).items

    def nodes_page(self, after: str = "", limit: int = 500) -> list[views.NodeView]:
        """In the order of their ids, from behind ``after``: the ``node_id`` of the last one before."""
        return self._get("/v1/nodes", views.NodesView, after=after, limit=str(limit)).items

    def node(self, name: str) -> views.NodeView:
        return self._get(f"/v1/nodes/{_word(name)}", views.NodeView)

    def agents(self) -> list[views.AgentView]:
        return self._get("/v1/agents", views.AgentsView).items

    def agents_page(self, after: str = "", limit: int = 500) -> list[views.AgentView]:
        """In the order of "INSTANCE@NODE", from behind ``after``."""
        return self._get("/v1/agents", views.AgentsView, after=after, limit=str(limit)).items

    def skills_page(self, skill: str = "", where: str = "", after: int = 0, limit: int = 500) -> list[views.SkillView]:
        """Best first, from behind the rank ``after``."""
        given = {"skill": skill, "where": where, "after": str(after), "limit": str(limit)}
        return self._get("/v1/skills", views.SkillsView, **given).items

    def skills(self, skill: str = "", where: str = "") -> list[views.SkillView]:
        """Who offers it, best first. ``where``: e.g. ``gpu_mem>=2Gi,site=plant-7``."""
        given = {"skill": skill, "where": where} if where else {"skill": skill}
        return self._get("/v1/skills", views.SkillsView, **given).items

    def links(self, node: str = "") -> views.LinksView:
        """Of one node ("" = this one) to its neighbours and other peers; at most 300."""
        return self._get("/v1/links", views.LinksView, node=node)

    def why(self, subject: str, node: str = "") -> views.WhyView:
        """The story of a subject as this node knows it, or as ``node`` tells it."""
        asked = f"?node={quote(node)}" if node else ""
        return self._get(f"/v1/why/{quote(subject)}{asked}", views.WhyView)

    # Journals, for readers who keep a cursor
    def journal(self, command: commands.ReadJournal) -> views.JournalView:
        """Events of one node behind a cursor; waits for news as long as the command says."""
        return self._post("/v1/journal", command, views.JournalView, command.wait_ms / 1000 + GRACE_S)

    def journals(self, command: commands.GatherJournals, timeout_s: float | None = None) -> views.JournalsView:
        """The same of many nodes. ``timeout_s``: by default a little more than the command waits."""
        patience_s = timeout_s if timeout_s is not None else command.wait_ms / 1000 + GRACE_S
        return self._post("/v1/journals", command, views.JournalsView, patience_s)

    # Do
    def run(self, command: commands.RunAgent) -> views.AgentView:
        return self._post("/v1/agents", command, views.AgentView)

    def keep_bundle(self, source: bytes) -> str:
        """Store the content of an agent's file (<= 512 KiB) on this node; its SHA-256, for a manifest's ``bundle``."""
        return self._post("/v1/bundles", commands.KeepBundle(source=source), views.Done).message

    def stop(self, name: str) -> views.AgentView:
        return self._ask("DELETE", f"/v1/agents/{_word(name)}", views.AgentView)

    def restart(self, name: str) -> views.Done:
        return self._ask("POST", f"/v1/agents/{_word(name)}/restart", views.Done, b"{}")

    def scale(self, name: str, replicas: int, agent: str = "") -> document_views.AppliedView:
        command = commands.Scale(name=name, replicas=replicas, agent=agent)
        return self._post("/v1/scale", command, document_views.AppliedView)

    def drain(self, node: str, reason: str = "") -> document_views.AppliedView:
        """Its units move to other nodes and it takes no new ones. ``notes`` tell what becomes of those it has."""
        body = msgspec.json.encode({"reason": reason})
        return self._ask("POST", f"/v1/nodes/{_word(node)}/drain", document_views.AppliedView, body)

    def resume(self, node: str) -> document_views.AppliedView:
        return self._ask("POST", f"/v1/nodes/{_word(node)}/resume", document_views.AppliedView, b"{}")

    def plan(self, manifest: dict[str, object] | None = None) -> views.PlanView:
        """What applying it would change; without one, how what is wanted now stands."""
        return self._post("/v1/plan", commands.PlanManifest(manifest=manifest or {}), views.PlanView)

    def logs(self, agent: str = "", node: str = "", after: int = 0, limit: int = 500) -> views.LogsView:
        """Lines of one node ("" = this one); ``client.logs.follow_logs`` reads and merges those of all nodes."""
        given = {"agent": agent, "node": node, "after": str(after), "limit": str(limit)}
        return self._get("/v1/logs", views.LogsView, **given)

    # State. ``unit``: NAME or NAME/SLOT.
    def states(self, agent: str = "") -> list[unit_views.UnitStateView]:
        return self._get("/v1/states", unit_views.StatesView, agent=agent).items

    def state(self, unit: str, key: str = "", session: str = "") -> unit_views.StateView:
        return self._get(_state(unit), unit_views.StateView, key=key, session=session)

    def history(self, unit: str) -> unit_views.HistoryView:
        return self._get(_state(unit, "/history"), unit_views.HistoryView)

    def diff(self, unit: str, first: int, second: int = 0) -> unit_views.StateDiffView:
        """Between two checkpoints; ``second`` 0 = now."""
        return self._get(_state(unit, "/diff"), unit_views.StateDiffView, first=str(first), second=str(second))

    def restore(self, unit: str, version: int) -> unit_views.StateView:
        body = b'{"version": %d}' % version
        return self._ask("POST", _state(unit, "/restore"), unit_views.StateView, body)

    def forget(self, unit: str) -> views.Done:
        return self._ask("DELETE", _state(unit), views.Done)

    def checkpoint(self, agent: str) -> list[unit_views.UnitStateView]:
        return self._ask("POST", f"/v1/agents/{_word(agent)}/checkpoint", unit_views.StatesView, b"{}").items

    def down(self) -> views.Done:
        return self._post("/v1/down", commands.Shutdown(), views.Done)

    # Talk
    def call(self, command: commands.CallSkill) -> views.CallView:
        """One that is shed (``overloaded``) waits as long as the node asks for and is made again, while its deadline
        allows it."""
        due_s, tries = time.monotonic() + command.deadline_s, 1
        while True:
            try:
                return self._post("/v1/call", command, views.CallView, command.deadline_s + GRACE_S)
            except LocalError as error:
                left_s = due_s - time.monotonic()
                wait_s = patience.wait_s(retry_after_ms(error), tries, left_s, os.urandom(1)[0] / 256)
                if wait_s is None:
                    raise
            time.sleep(wait_s)
            command = msgspec.structs.replace(command, deadline_s=due_s - time.monotonic())
            tries += 1

    def call_stream(self, command: commands.CallSkill) -> Generator[views.StreamItem | views.CallView]:
        """The items of a call as they come, then its ``CallView``. Closing it before its end cancels the call.

        How fast it is read decides how fast the skill may go on.
        """
        body = _written(msgspec.structs.replace(command, stream=True))
        with self._exchange("POST", "/v1/call", body, command.deadline_s + GRACE_S) as response:
            yield from read_call(response)

    def ping(self, name: str, deadline_s: float = 3.0) -> views.PingView:
        command = commands.PingNode(name=name, deadline_s=deadline_s)
        return self._post("/v1/ping", command, views.PingView, deadline_s + GRACE_S)

    def events(self, after: int = 0, *, follow: bool = True) -> Iterator[Told]:
        """The node's story, kept events first. A silence of three heartbeats ends it with ``TimedOut``."""
        path = f"/v1/events?after={after}&follow={'true' if follow else 'false'}"
        with self._exchange("GET", path, None, SILENCE_S) as response:
            yield from read_events(response)

    # Documents
    def apply(self, manifest: dict[str, object], durability: str = "") -> document_views.AppliedView:
        return self._post(
            "/v1/apply", commands.Apply(manifest=manifest, durability=durability), document_views.AppliedView
        )

    def documents(self, kind: str = "", namespace: str = "", name: str = "") -> list[document_views.DocumentView]:
        given = {"kind": kind, "namespace": namespace, "name": name}
        return self._get("/v1/documents", document_views.DocumentsView, **given).items

    def document(self, kind: str, namespace: str, name: str) -> document_views.DocumentView:
        return self._get(_document(kind, namespace, name), document_views.DocumentView)

    def delete(self, kind: str, namespace: str, name: str) -> document_views.AppliedView:
        return self._ask("DELETE", _document(kind, namespace, name), document_views.AppliedView)

    def document_state(self, kind: str, namespace: str, name: str) -> document_views.DocumentStateView:
        """Field by field who wrote what when."""
        return self._get(f"{_document(kind, namespace, name)}/fields", document_views.DocumentStateView)

    def document_history(
        self, kind: str, namespace: str, name: str, limit: int = 500
    ) -> document_views.DocumentHistoryView:
        """Its writes, the newest first; also of a deleted document."""
        path = f"{_document(kind, namespace, name)}/history"
        return self._get(path, document_views.DocumentHistoryView, limit=str(limit))

    def document_diff(
        self, kind: str, namespace: str, name: str, first: int, second: int = 0
    ) -> document_views.DocumentDiffView:
        """Between two writes of its history; ``second`` 0 = now."""
        path = f"{_document(kind, namespace, name)}/diff"
        return self._ask("GET", f"{path}?first={first}&second={second}", document_views.DocumentDiffView)

    def resolve(
        self, kind: str, namespace: str, name: str, field: str, *, pick: int = 0, value: object = None
    ) -> document_views.AppliedView:
        """One value for a field in conflict: one of its own (``pick``, from 1) or another."""
        body = msgspec.json.encode({"field": field, "pick": pick, "value": value})
        return self._ask("POST", f"{_document(kind, namespace, name)}/resolve", document_views.AppliedView, body)

    def count(self, kind: str, namespace: str, name: str, counter: str, amount: int = 1) -> document_views.AppliedView:
        """Add to a counter of a document; ``amount`` may be negative. Raises ``NotFound``, ``Invalid``, ``Denied``."""
        body = msgspec.json.encode({"counter": counter, "amount": amount})
        return self._ask("POST", f"{_document(kind, namespace, name)}/count", document_views.AppliedView, body)

    def changes(self, command: commands.WatchDocuments) -> document_views.WatchView:
        """What changed behind a cursor; waits for it as long as the command says."""
        return self._post("/v1/changes", command, document_views.WatchView, command.wait_ms / 1000 + GRACE_S)

    def watch(
        self, kind: str = "", namespace: str = "", name: str = "", after: str = "", *, follow: bool = True
    ) -> Iterator[document_views.DocumentEvent]:
        """Documents as they are, then every change once, in causal order, as one stream; ``after``: behind a cursor.

        It ends when the node does: ``client.watching.followed`` goes on behind the last cursor once it is back.
        """
        given = {"kind": kind, "namespace": namespace, "name": name, "after": after}
        filled = {field: text for field, text in given.items() if text}
        path = f"/v1/watch?{urlencode({**filled, 'follow': 'true' if follow else 'false'})}"
        with self._exchange("GET", path, None, SILENCE_S) as response:
            yield from read_changes(response)

    def publish(self, topic: str, data: object = None) -> views.PublishedView:
        """An event for whoever listens now."""
        return self._post("/v1/publish", commands.PublishEvent(topic=topic, data=data), views.PublishedView)

    def subscribe(self, *topics: str) -> Iterator[TopicEvent]:
        """Events of these topics from now on, until the node ends. The first holds no event: from then on the node
        listens, and what is published through it comes."""
        path = f"/v1/subscribe?{urlencode([('topic', name) for name in topics])}"
        with self._exchange("GET", path, None, SILENCE_S) as response:
            yield from read_topics(response)

    def sync(self) -> document_views.SyncView:
        """Compare documents with all linked peers now."""
        return self._post("/v1/sync", commands.SyncNow(), document_views.SyncView)

    def export_stick(self, kind: str = "", after: str = "") -> document_views.StickView:
        """One page of signed writes; ``after``: ``next`` of the page before."""
        return self._get("/v1/sync/stick", document_views.StickView, kind=kind, after=after)

    def import_stick(self, items: list[commands.StickItem]) -> document_views.ImportedView:
        return self._post("/v1/sync/stick", commands.ImportStick(items=items), document_views.ImportedView)

    def conflicts(self) -> list[view_parts.ConflictView]:
        return self._get("/v1/conflicts", document_views.ConflictsView).items

    # Trust
    def invite(self, name: str = "", ttl_s: int = 3600, region: str = "", role: str = "member") -> views.InviteView:
        """``role``: "member" or "gateway"."""
        command = commands.MakeInvite(name=name, ttl_s=ttl_s, region=region, role=role)
        return self._post("/v1/invites", command, views.InviteView)

    # How
    def _get(self, path: str, answer: type[ViewT], **query: str) -> ViewT:
        filled = urlencode({name: value for name, value in query.items() if value})
        return self._ask("GET", f"{path}?{filled}" if filled else path, answer)

    def _post(self, path: str, command: commands.Command, answer: type[ViewT], timeout_s: float | None = None) -> ViewT:
        return self._ask("POST", path, answer, _written(command), timeout_s)

    def _ask(
        self, method: str, path: str, answer: type[ViewT], body: bytes | None = None, timeout_s: float | None = None
    ) -> ViewT:
        told = self._whole(method, path, body, timeout_s or self._timeout_s)
        if told.status != 200:
            raise error_of(told.status, told.body)
        try:
            return msgspec.json.decode(told.body, type=answer)
        except msgspec.DecodeError as error:
            raise LocalError(
                f"the node's answer is not the one this version knows: {error}",
                next_step="restart it with this version: meshnode down, then meshnode up",
            ) from error

    def _whole(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Whole:
        def fresh() -> socket.socket:
            return self._connect(self._socket or socket_of(self.directory), timeout_s)

        try:
            return self._doors.ask(fresh, method, path, body, timeout_s)
        except TimeoutError as error:
            raise self._silent(timeout_s) from error
        except (OSError, BrokenAnswer) as error:
            raise went_away(self.directory) from error

    def _silent(self, timeout_s: float) -> TimedOut:
        log = self.directory / "logs" / "daemon.log"
        return TimedOut(f"the node said nothing for {timeout_s:g} s", next_step=f"look at {log}")

    @contextlib.contextmanager
    def _exchange(self, method: str, path: str, body: bytes | None, timeout_s: float) -> Generator[Answer]:
        door = self._connect(self._socket or socket_of(self.directory), timeout_s)
        try:
            with contextlib.closing(ask(door, method, path, body)) as answer:
                if answer.status != 200:
                    raise error_of(answer.status, answer.read())
                yield answer
        except TimeoutError as error:
            raise self._silent(timeout_s) from error
        except (OSError, BrokenAnswer) as error:
            raise went_away(self.directory) from error
        finally:
            door.close()

    def _connect(self, path: str, timeout_s: float) -> socket.socket:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.settimeout(timeout_s)
        try:
            door.connect(path)
        except PermissionError as error:
            door.close()
            raise not_yours(self.directory) from error
        except OSError as error:  # nobody serves there, or the pointer is a leftover
            door.close()
            raise no_daemon(self.directory) from error
        return door


def _written(command: commands.Command) -> bytes:
    try:
        return msgspec.json.encode(command)
    except ValueError as error:
        raise Invalid(
            f"this cannot be written as JSON: {error}",
            next_step="text must be Unicode; name a file instead of passing its bytes",
        ) from error


def _state(unit: str, behind: str = "") -> str:
    return f"/v1/states/{quote(unit)}{behind}"


def _word(name: str) -> str:
    return quote(name, safe="")


def _document(kind: str, namespace: str, name: str) -> str:
    return f"/v1/documents/{_word(kind)}/{_word(namespace)}/{_word(name)}"
