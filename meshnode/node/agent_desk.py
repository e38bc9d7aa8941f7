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
from meshnode.model.document_views import AppliedView
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.views import Done
from meshnode.node import agent_views, snapshot
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.replica import Change, Document
    from meshnode.kernel.blobs import BlobsKept
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import JsonObject, PlanManifest, RestartAgent, RunAgent, Scale, StopAgent
    from meshnode.model.views import AnyView
    from meshnode.node.core import Core

AGENT, CLUSTER = "Agent", "AgentCluster"
RUNS_MAX = 1_000  # waiting for their bundle to be stored


class AgentDesk:
    """Commands in, effects out; every command ends in one ``Reply``. Raises ``LocalError`` when nothing was done."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runs: dict[int, tuple[int, RunAgent | KeepBundle]] = {}  # number of a kept bundle -> who waits for it

    def run(self, command_no: int, command: RunAgent, now: Instant) -> Sequence[Effect]:
        self._check_run(command)  # what is wrong is told before anything is stored
        self._allowed(Action.RUN, f"agent/{command.name}")
        if command.on:
            snapshot.find_node(self._core, command.on)
        if not command.source:
            return self._write_run(command_no, command, now)
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
        if event.error:
            why = f"the agent's file could not be stored: {event.error}. Nothing changed"
            return [Reply(command_no, snapshot.failure_of(LocalError(why, next_step="free disk space")))]
        if isinstance(command, KeepBundle):
            return [Reply(command_no, Done(message=planning.digest(command.source)))]
        try:
            return list(self._write_run(command_no, command, now))
        except LocalError as error:  # another run of that name came first
            return [Reply(command_no, snapshot.failure_of(error))]

    def stop(self, command_no: int, command: StopAgent, now: Instant) -> Sequence[Effect]:
        name = command.name.removeprefix("agent/").partition("/")[0]
        view = agent_views.agent(self._core, name, now)
        if self._core.documents.get(AGENT, NAMESPACE_DEFAULT, name) is None:
            raise self._not_an_agent(name)
        change = self._core.documents.delete(AGENT, NAMESPACE_DEFAULT, name, now)
        return _written(command_no, change, agent_views.stopping(view), Note(f"agent/{name}", "stopped as asked"))

    def restart(self, command_no: int, command: RestartAgent, now: Instant) -> Sequence[Effect]:
        name = command.name.removeprefix("agent/").partition("/")[0]
        held = self._document_of(name)
        before = held.fields.get("spec.generation", 0)
        generation = (before if isinstance(before, int) else 0) + 1
        fields = {**held.fields, "spec.generation": generation}
        change = self._core.documents.put(held.kind, held.namespace, held.name, fields, now)
        note = Note(f"agent/{name}", f"restart asked for, generation {generation}")
        return _written(command_no, change, Done(message=f"agent {name} restarts, unit by unit"), note)

    def scale(self, command_no: int, command: Scale, now: Instant) -> Sequence[Effect]:
        if command.replicas < 0:
            raise Invalid(f"replicas is {command.replicas}: it cannot be below 0", next_step="meshnode scale NAME 3")
        kind, namespace, name = self._named(command.name)
        held = self._core.documents.get(kind, namespace, name)
        if held is None:
            raise NotFound(f"no {command.name} is known here", next_step="meshnode get agents; meshnode get clusters")
        clusters = self._core.intentions.reading.governed.get(name, ()) if kind == AGENT else ()
        if clusters:
            raise Invalid(
                f"{' and '.join(clusters)} says how many of {name} are wanted",
                next_step=f"meshnode scale {clusters[0]} {command.replicas} --agent {name}",
            )
        fields = planning.scaled(kind, held.fields, command.replicas, command.agent)
        change = self._core.documents.put(kind, namespace, name, fields, now)
        action = "unchanged" if change.unchanged else "updated"
        view = AppliedView(kind=kind, namespace=namespace, name=name, action=action, notes=[])
        return _written(command_no, change, view)

    def plan(self, command_no: int, command: PlanManifest, now: Instant) -> Sequence[Effect]:
        return [
            Reply(command_no, planning.plan(self._core.documents.list(), command.manifest, self._core.scheduler, now))
        ]

    # -- small steps ------------------------------------------------------------------------------------------------

    def _check_run(self, command: RunAgent) -> JsonObject:
        """The manifest it means. Raises ``Invalid``."""
        digest = planning.digest(command.source) if command.source else ""
        manifest = agent_manifest(command, bundle=digest, near=self._core.config.name)
        parse_agent(manifest)
        held = self._core.documents.get(AGENT, NAMESPACE_DEFAULT, command.name)
        if held is not None and not planning.same_wish(held.fields, manifest["spec"]):
            raise Invalid(
                f"agent {command.name} is wanted already with another recipe or in another place",
                next_step=f"stop it first (meshnode stop {command.name}), or give this one another --name",
            )
        return manifest

    def _write_run(self, command_no: int, command: RunAgent, now: Instant) -> Sequence[Effect]:
        kind, namespace, name, fields, _ = manifest_fields(self._check_run(command))
        held = self._core.documents.get(kind, namespace, name)
        # The same again writes nothing, but is answered once what was written before is durable.
        change = self._core.documents.put(kind, namespace, name, held.fields if held is not None else fields, now)
        if held is not None:
            return _written(command_no, change, agent_views.agent(self._core, name, now))
        where = f"only on {command.on}" if command.on else f"near {self._core.config.name}"
        note = Note(f"agent/{name}", f"wanted: {command.replicas} x, {where}")
        return _written(command_no, change, agent_views.wanted(name), note)

    def _named(self, name: str) -> tuple[str, str, str]:
        kind, slash, rest = name.partition("/")
        if slash and kind in ("cluster", "clusters", "agentcluster"):
            namespace, inner, cluster = rest.rpartition("/")
            return CLUSTER, namespace if inner else NAMESPACE_DEFAULT, cluster
        agent = rest if slash and kind in ("agent", "agents") else name
        held = [kind for kind in (AGENT, CLUSTER) if self._core.documents.get(kind, NAMESPACE_DEFAULT, agent)]
        return held[0] if held else AGENT, NAMESPACE_DEFAULT, agent

    def _document_of(self, agent: str) -> Document:
        """The document that wants an agent. Raises ``NotFound``."""
        held = self._core.documents.get(AGENT, NAMESPACE_DEFAULT, agent)
        if held is not None:
            return held
        for document in self._core.documents.list(CLUSTER):
            if planning.runs(document.fields, agent):
                return document
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


def _written(command_no: int, change: Change, view: AnyView, *notes: Note) -> list[Effect]:
    """Answered, and told, once what was written is durable."""
    then = (*change.effects, *notes, Reply(command_no, view))
    return [Persist(change.records, then)] if change.records else [*notes, then[-1]]


def manifest_fields(manifest: JsonObject) -> tuple[str, str, str, dict[str, JsonValue], list[str]]:
    """kind, namespace, name, document fields and notes of a manifest. Raises ``FieldInvalid``."""
    parsed = parse_declared(manifest)
    fields: dict[str, JsonValue] = {"apiVersion": parsed.api_version}
    fields |= {f"spec.{key}": value for key, value in parsed.spec.items()}
    if parsed.labels:
        fields["labels"] = dict(parsed.labels)
    return parsed.kind, parsed.namespace, parsed.name, fields, list(parsed.notes)
