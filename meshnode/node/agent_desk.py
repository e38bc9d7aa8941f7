"""Wishes about agents: run, stop, restart, scale, plan. They are written into documents, which the scheduler reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.crdt.fields import JsonValue
from meshnode.deployments import plan as planning
from meshnode.deployments.bundles import BUNDLE_BYTES_MAX
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.ports import Action
from meshnode.model.agent import agent_manifest, parse_agent
from meshnode.model.commands import KeepBundle
from meshnode.model.declared import parse_declared
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.views import AppliedView, Done
from meshnode.node import agent_views, snapshot
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.blobs import BlobsKept
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import JsonObject, PlanManifest, RestartAgent, RunAgent, Scale, StopAgent
    from meshnode.node.core import Core

AGENT, CLUSTER = "Agent", "AgentCluster"
RUNS_MAX = 1_000  # waiting for their bundle to be stored


class AgentDesk:
    """Commands in, effects out; every command ends in one ``Reply``. Raises ``LocalError`` when nothing was done."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runs: dict[int, tuple[int, RunAgent | KeepBundle]] = {}  # number of a kept bundle -> who waits for it

    def run(self, command_no: int, command: RunAgent, now: Instant) -> Sequence[Effect]:
        self._allowed(Action.RUN, f"agent/{command.name}")
        if command.on:
            snapshot.find_node(self._core, command.on)
        if not command.source:
            return self._write_run(command_no, command, now)
        self._check_run(command)  # what is wrong is told before anything is stored
        return self._store(command_no, command, command.file)

    def keep(self, command_no: int, command: KeepBundle) -> Sequence[Effect]:
        """The file of an agent that a manifest will name."""
        self._allowed(Action.RUN, "agent")
        if not command.source:
            raise Invalid("the file is empty", next_step="an agent's file makes an Agent and runs it")
        return self._store(command_no, command, "the file")

    def _store(self, command_no: int, command: RunAgent | KeepBundle, file: str) -> Sequence[Effect]:
        size = len(command.source)
        if size > BUNDLE_BYTES_MAX:
            raise Invalid(
                f"{file} has {size} bytes, the most a file may have is {BUNDLE_BYTES_MAX}",
                next_step="install what is big as a package, or pass its path",
            )
        if len(self._runs) >= RUNS_MAX:
            raise LocalError("too many agents are being started at once", next_step="try again in a second")
        number, keep = self._core.bundles.keep(command.source)
        self._runs[number] = (command_no, command)
        return [keep]

    def bundle_kept(self, event: BlobsKept, now: Instant) -> list[Effect]:
        """The file of a run is durable, or will not be."""
        waiting = self._runs.pop(event.batch_no, None)
        if waiting is None:
            return []
        command_no, command = waiting
        if isinstance(command, KeepBundle) and not event.error:
            return [Reply(command_no, Done(message=planning.digest(command.source)))]
        try:
            if event.error or isinstance(command, KeepBundle):
                why = f"the agent's file could not be stored: {event.error}. Nothing changed"
                return [Reply(command_no, snapshot.failure_of(LocalError(why, next_step="free disk space")))]
            return list(self._write_run(command_no, command, now))
        except LocalError as error:
            return [Reply(command_no, snapshot.failure_of(error))]

    def dropped(self, command_no: int) -> None:
        """Whoever asked is gone. What was asked is done all the same: it was an order."""

    def stop(self, command_no: int, command: StopAgent, now: Instant) -> Sequence[Effect]:
        name = command.name.removeprefix("agent/").partition("/")[0]
        view = agent_views.agent(self._core, name, now)
        if self._core.documents.get(AGENT, NAMESPACE_DEFAULT, name) is None:
            raise self._not_an_agent(name)
        change = self._core.documents.delete(AGENT, NAMESPACE_DEFAULT, name, now)
        stopping = agent_views.stopping(view)
        reply = Reply(command_no, stopping)
        note = Note(f"agent/{name}", "stopped as asked")
        return [note, Persist(change.records, then=(*change.effects, reply)) if change.records else reply]

    def restart(self, command_no: int, command: RestartAgent, now: Instant) -> Sequence[Effect]:
        name = command.name.removeprefix("agent/").partition("/")[0]
        kind, namespace, document = self._document_of(name)
        held = self._core.documents.get(kind, namespace, document)
        assert held is not None
        before = held.fields.get("spec.generation", 0)
        generation = (before if isinstance(before, int) else 0) + 1
        change = self._core.documents.put(
            kind, namespace, document, {**held.fields, "spec.generation": generation}, now
        )
        reply = Reply(command_no, Done(message=f"agent {name} restarts, unit by unit"))
        note = Note(f"agent/{name}", f"restart asked for, generation {generation}")
        return [note, Persist(change.records, then=(*change.effects, reply)) if change.records else reply]

    def scale(self, command_no: int, command: Scale, now: Instant) -> Sequence[Effect]:
        if command.replicas < 0:
            raise Invalid(f"replicas is {command.replicas}: it cannot be below 0", next_step="meshnode scale NAME 3")
        kind, namespace, name = self._named(command.name)
        held = self._core.documents.get(kind, namespace, name)
        if held is None:
            raise NotFound(f"no {command.name} is known here", next_step="meshnode get agents; meshnode get clusters")
        fields = planning.scaled(kind, held.fields, command.replicas, command.agent)
        change = self._core.documents.put(kind, namespace, name, fields, now)
        action = "unchanged" if change.unchanged else "updated"
        view = AppliedView(kind=kind, namespace=namespace, name=name, action=action, notes=[])
        reply = Reply(command_no, view)
        return [Persist(change.records, then=(*change.effects, reply))] if change.records else [reply]

    def plan(self, command_no: int, command: PlanManifest, now: Instant) -> Sequence[Effect]:
        return [
            Reply(command_no, planning.plan(self._core.documents.list(), command.manifest, self._core.scheduler, now))
        ]

    # -- small steps ------------------------------------------------------------------------------------------------

    def _check_run(self, command: RunAgent) -> JsonObject:
        manifest = agent_manifest(
            command, bundle=planning.digest(command.source) if command.source else "", near=self._core.config.name
        )
        parse_agent(manifest)
        held = self._core.documents.get(AGENT, NAMESPACE_DEFAULT, command.name)
        if held is not None and not planning.same_wish(held.fields, manifest["spec"]):
            raise Invalid(
                f"agent {command.name} is wanted already with another recipe or in another place",
                next_step=f"stop it first (meshnode stop {command.name}), or give this one another --name",
            )
        return manifest

    def _write_run(self, command_no: int, command: RunAgent, now: Instant) -> Sequence[Effect]:
        manifest = self._check_run(command)
        agent = parse_agent(manifest)
        fields = {"apiVersion": agent.api_version, **{f"spec.{k}": v for k, v in agent.spec.items()}}
        held = self._core.documents.get(AGENT, NAMESPACE_DEFAULT, command.name)
        if held is not None:
            return [Reply(command_no, agent_views.agent(self._core, command.name, now))]
        change = self._core.documents.put(AGENT, NAMESPACE_DEFAULT, command.name, fields, now)
        reply = Reply(command_no, agent_views.agent(self._core, command.name, now))
        where = f"only on {command.on}" if command.on else f"near {self._core.config.name}"
        note = Note(f"agent/{command.name}", f"wanted: {command.replicas} x, {where}")
        return [note, Persist(change.records, then=(*change.effects, reply))]

    def _named(self, name: str) -> tuple[str, str, str]:
        kind, slash, rest = name.partition("/")
        if slash and kind in ("cluster", "clusters", "agentcluster"):
            namespace, inner, cluster = rest.rpartition("/")
            return CLUSTER, namespace if inner else NAMESPACE_DEFAULT, cluster
        agent = rest if slash and kind in ("agent", "agents") else name
        held = [kind for kind in (AGENT, CLUSTER) if self._core.documents.get(kind, NAMESPACE_DEFAULT, agent)]
        return held[0] if held else AGENT, NAMESPACE_DEFAULT, agent

    def _document_of(self, agent: str) -> tuple[str, str, str]:
        """The document that brings the recipe of an agent. Raises ``NotFound``."""
        if self._core.documents.get(AGENT, NAMESPACE_DEFAULT, agent) is not None:
            return AGENT, NAMESPACE_DEFAULT, agent
        for document in self._core.documents.list(CLUSTER):
            if planning.runs(document.fields, agent):
                return CLUSTER, document.namespace, document.name
        raise NotFound(f"no agent {agent} is wanted here", next_step="meshnode ps shows what runs")

    def _not_an_agent(self, name: str) -> LocalError:
        for document in self._core.documents.list(CLUSTER):
            if planning.runs(document.fields, name):
                return Invalid(
                    f"agent {name} is wanted by cluster {document.namespace}/{document.name}",
                    next_step=f"meshnode scale cluster/{document.namespace}/{document.name} 0, or delete the cluster",
                )
        return NotFound(f"no agent {name} is wanted", next_step="see what runs: meshnode ps")

    def _allowed(self, action: Action, resource: str) -> None:
        verdict = self._core.authority.may(self._core.config.node, action, resource)
        if not verdict.allowed:
            raise Denied(
                f"this node may not {action} {resource}: {verdict.reason}",
                next_step="meshnode id shows this node's roles",
            )


def manifest_fields(manifest: JsonObject) -> tuple[str, str, str, dict[str, JsonValue], list[str]]:
    """kind, namespace, name, document fields and notes of a manifest. Raises ``FieldInvalid``."""
    parsed = parse_declared(manifest)
    fields: dict[str, JsonValue] = {"apiVersion": parsed.api_version}
    fields |= {f"spec.{key}": value for key, value in parsed.spec.items()}
    if parsed.labels:
        fields["labels"] = dict(parsed.labels)
    return parsed.kind, parsed.namespace, parsed.name, fields, list(parsed.notes)
