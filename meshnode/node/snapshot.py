"""Core -> views: what this node shows, with the age of everything that is not its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshnode import __version__
from meshnode.agents.messages import InstanceInfo, InstanceState
from meshnode.deployments.clusters import NodeFacts, conditions, status_of
from meshnode.gossip.messages import MemberState
from meshnode.kernel import hlc
from meshnode.kernel.instant import MS, SECOND, ClockTrust
from meshnode.model.errors import NotFound
from meshnode.model.ids import NodeId
from meshnode.model.loads import load_view
from meshnode.model.views import (
    AgentsView,
    AgentView,
    ConflictsView,
    ConflictView,
    DocumentsView,
    DocumentView,
    IdentityView,
    NodesView,
    NodeView,
    SkillsView,
    SkillView,
    StatusView,
)
from meshnode.registry.offers import LOAD_KEY, InstanceOffer

if TYPE_CHECKING:
    from meshnode.crdt.replica import Document
    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core


LEFT_SHOWN_S = 24 * 3600.0  # who left longer ago is found by name only
ID_DIGITS_MIN = 6


def written(host: str, port: int) -> str:
    """An address as people write it: an IPv6 host stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def known(core: Core) -> list[NodeId]:
    """All nodes worth a row: this one, those of the directory, and who has said goodbye lately; sorted."""
    nodes = dict.fromkeys((core.config.node, *core.gossip.members()))
    for member in core.trust.all():
        if member.node not in nodes and core.gossip.state(member.node) is MemberState.LEFT:
            nodes[member.node] = None
    return sorted(nodes)


def find_node(core: Core, name: str) -> NodeId:
    """The id of a node by name or by the beginning of its id.

    Raises:
        NotFound: nobody of that name is in the directory, or the beginning is that of several.
    """
    nodes = known(core)
    named = [node for node in nodes if core.names.of(node) == name]
    found = named or [node for node in nodes if len(name) >= ID_DIGITS_MIN and node.hex().startswith(name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(core.names.of(node) for node in found or nodes)[:8])
    if found:
        raise NotFound(f"{name} is the beginning of several ids: {names}", next_step="give more digits, or the name")
    raise NotFound(f"no node named {name} is known here (known: {names})", next_step="meshnode ls")


def nodes(core: Core, now: Instant) -> NodesView:
    views = [_node(core, node, now) for node in known(core)]
    shown = [view for view in views if view.state != MemberState.LEFT or view.self_node or view.age_s <= LEFT_SHOWN_S]
    return NodesView(items=sorted(shown, key=lambda view: (not view.self_node, view.name)))


def node(core: Core, name: str, now: Instant) -> NodeView:
    return _node(core, find_node(core, name), now)


def _node(core: Core, node: NodeId, now: Instant) -> NodeView:
    row, member = core.gossip.row(node), core.trust.member(node)
    me = node == core.config.node
    rtt = None if me else core.hub.rtt_us(node)
    direct = me or core.hub.last_heard_us(node) is not None
    return NodeView(
        name=core.names.of(node), node_id=node.hex(), state=core.gossip.state(node).value,
        region=member.region if member else "", roles=list(member.roles) if member else [],
        boot=row.boot if row else 0, incarnation=row.incarnation if row else 0,
        path="-" if me else "direct" if direct else "mesh", age_s=0.0 if me else _age_s(core, node, now),
        rtt_ms=None if rtt is None else round(rtt / MS, 3), reason="" if me else core.gossip.reason(node),
        endpoints=[written(*endpoint) for endpoint in row.endpoints] if row else [],
        hardware=_json(row.facts if row else b"{}"), load=_load(core, node, now), agents=core.index.agents_on(node),
        self_node=me,
    )  # fmt: skip


def _age_s(core: Core, node: NodeId, now: Instant) -> float:
    """Seconds since the last proof of life; -1 when there was none since this daemon started.

    A goodbye carries its date, so that of a node that left is known also after a restart of this one.
    """
    heard = core.hub.last_heard_us(node)
    proof = core.gossip.last_proof_us(node)
    newest = max((at for at in (heard, proof) if at is not None), default=None)
    if newest is not None:
        return round(max(0, now.mono_us - newest) / SECOND, 3)
    row = core.gossip.row(node)
    if row is None or core.gossip.state(node) is not MemberState.LEFT:
        return -1.0
    return round(max(0, now.wall_ms - row.wall_ms) / 1000, 3)


def _load(core: Core, node: NodeId, now: Instant) -> dict[str, Any]:
    if node == core.config.node:
        return {**load_view(core.load), "age_s": 0.0} if core.load else {}
    found = core.gossip.soft(node).get(LOAD_KEY)
    if found is None:
        return {}
    value, _version, heard_us = found
    return {**load_view(value), "age_s": round((now.mono_us - heard_us) / SECOND, 1)}


def _json(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError):  # of msgspec, or text that is no UTF-8
        return {}


def agents(core: Core, now: Instant) -> AgentsView:
    views = [_remote_or_local(core, holder, name, offer, now) for holder, name, offer in core.index.instances()]
    known = dict.fromkeys(view.instance for view in views)
    mine = [_own(core, info) for info in core.agents.instances() if info.instance not in known]
    return AgentsView(items=sorted([*views, *mine], key=lambda view: (view.name, view.node)))


def _remote_or_local(core: Core, holder: NodeId, name: str, offer: InstanceOffer, now: Instant) -> AgentView:
    own = core.agents.instance(name) if holder == core.config.node else None
    if own is not None:
        return _own(core, own)
    reachable = core.gossip.reachable(holder)
    return AgentView(
        name=name, instance=offer.instance, node=core.names.of(holder),
        state=offer.state if reachable else "unreachable",
        reason=offer.reason if reachable else f"last known {offer.state}; {core.gossip.reason(holder)}",
        pid=offer.pid or None, restarts=offer.restarts, skills=core.index.skills_of(holder, name),
        age_s=_age_s(core, holder, now),
    )  # fmt: skip


def agent(core: Core, name: str) -> AgentView:
    info = core.agents.instance(name)
    if info is None:
        return AgentView(
            name=name, instance=f"{name}/{core.config.name}", node=core.config.name, state="stopped", reason="",
            pid=None, restarts=0, skills=[], age_s=0.0,
        )  # fmt: skip
    return _own(core, info)


def _own(core: Core, info: InstanceInfo) -> AgentView:
    return AgentView(
        name=info.agent, instance=info.instance, node=core.config.name, state=info.state.value, reason=info.reason,
        pid=info.pid, restarts=info.restarts, skills=[skill.name for skill in info.skills], age_s=0.0,
    )  # fmt: skip


def skills(core: Core, wanted: str, now: Instant) -> SkillsView:
    views: list[SkillView] = []
    for rank, candidate in enumerate(core.index.find(wanted), start=1):
        member, offer = core.trust.member(candidate.node), candidate.offer
        age = 0.0 if candidate.local else _age_s(core, candidate.node, now)
        views.append(
            SkillView(
                rank=rank,
                skill=candidate.skill,
                agent=offer.agent,
                instance=offer.instance,
                node=core.names.of(candidate.node),
                region=member.region if member else "",
                description=offer.description,
                input_schema=_json(offer.input_schema.encode()),
                output_schema=_json(offer.output_schema.encode()),
                age_s=age,
                excluded=candidate.excluded,
                rtt_ms=None if candidate.rtt_us is None else round(candidate.rtt_us / MS, 3),
            )
        )  # fmt: skip
    return SkillsView(items=views)


def documents(core: Core, kind: str, namespace: str, name: str) -> DocumentsView:
    found = [d for d in core.documents.list(kind, namespace) if not name or d.name == name]
    facts = [_facts(core, node) for node in core.gossip.members()]
    return DocumentsView(items=[_document(core, document, facts) for document in found])


class _Cpu(msgspec.Struct, frozen=True):
    usable: float | None = None


class _Memory(msgspec.Struct, frozen=True):
    limit_bytes: int | None = None


class _Machine(msgspec.Struct, frozen=True):
    """What placement asks of a machine's facts. They are a peer's words: of another shape, they say nothing."""

    cpu: _Cpu = _Cpu()
    memory: _Memory = _Memory()
    accelerators: list[msgspec.Raw] | None = None


_machines = msgspec.json.Decoder(_Machine)


def _machine(facts: bytes) -> _Machine:
    try:
        return _machines.decode(facts)
    except (ValueError, RecursionError):  # of msgspec, or text that is no UTF-8
        return _Machine()


def _facts(core: Core, node: NodeId) -> NodeFacts:
    row, member = core.gossip.row(node), core.trust.member(node)
    machine = _machine(row.facts) if row else _Machine()
    running = [name for holder, name, offer in core.index.instances() if holder == node and offer.state == "running"]
    return NodeFacts(
        name=core.names.of(node), region=member.region if member else "", reachable=core.gossip.reachable(node),
        cpus=machine.cpu.usable or 0, memory_bytes=machine.memory.limit_bytes or 0,
        gpus=len(machine.accelerators or ()), running=tuple(running),
    )  # fmt: skip


def _document(core: Core, document: Document, facts: list[NodeFacts]) -> DocumentView:
    spec = {k.removeprefix("spec."): v for k, v in document.fields.items() if k.startswith("spec.")}
    return DocumentView(
        kind=document.kind, namespace=document.namespace, name=document.name, doc_id=document.doc_id.hex(),
        api_version=str(document.fields.get("apiVersion", "")), spec=spec, heads=[h.hex() for h in document.heads],
        changes=document.changes, updated_ms=hlc.wall_ms(document.updated_hlc),
        updated_by=core.names.of(document.updated_by), conflicts=sorted(document.siblings),
        conditions=conditions(document.namespace, document.name, spec, facts),
        status=status_of(document.namespace, document.name, spec, facts),
    )  # fmt: skip


def conflicts(core: Core) -> ConflictsView:
    return ConflictsView(
        items=[
            ConflictView(
                kind=c.kind, namespace=c.namespace, name=c.name, field=c.field, values=list(c.values),
                writers=[core.names.of(writer) for writer in c.writers],
            )
            for c in core.documents.conflicts()
        ]
    )  # fmt: skip


def identity(core: Core) -> IdentityView:
    config, member = core.config, core.trust.member(core.config.node)
    return IdentityView(
        mesh=config.mesh, name=config.name, node_id=config.node.hex(), record_key=core.ports.signer.public_key.hex(),
        certificate_sha256=config.certificate_sha256, certificate_expires_ms=config.certificate_expires_ms,
        root_sha256=config.root_sha256, roles=list(member.roles) if member else [], region=config.region,
        enroller=core.ports.admin is not None,
    )  # fmt: skip


def status(core: Core, now: Instant) -> StatusView:
    members = core.gossip.members()
    own = core.agents.instances()
    return StatusView(
        name=core.config.name, mesh=core.config.mesh, region=core.config.region, version=__version__,
        uptime_s=round((now.mono_us - core.started_us) / SECOND, 1), boot=core.boot,
        listen=", ".join(written(*endpoint) for endpoint in core.config.endpoints),
        peers_connected=len(core.hub.peers()), nodes_known=len(members),
        nodes_reachable=sum(core.gossip.reachable(node) for node in members),
        documents=core.documents.count(), documents_root=core.documents.root().hex(),
        directory_root=core.gossip.directory_root().hex(),
        agents_running=sum(info.state is InstanceState.RUNNING for info in own),
        agents_total=len(own), clock=_clock(now), journal_bytes=core.measured.journal_bytes,
        counters=_counters(core), handle_max_ms=round(core.measured.handle_max_us / MS, 3),
        problems=_problems(core, now), hardware=_json(core.hardware), load=_load(core, core.config.node, now),
    )  # fmt: skip


def _clock(now: Instant) -> str:
    return {
        ClockTrust.FLOOR: "not synchronised: only known not to be earlier than shown",
        ClockTrust.PEERS: "agreed with peers",
        ClockTrust.SYNCED: "synchronised",
    }[now.trust]


def _counters(core: Core) -> dict[str, int]:
    rooms = {
        "node": core.counters, "links": core.hub.counters, "calls": core.switch.counters,
        "gossip": core.gossip.counters, "documents": core.documents.counters,
    }  # fmt: skip
    counted = {f"{room}.{name}": n for room, counts in rooms.items() for name, n in counts.snapshot().items()}
    return counted | {f"host.{name}": n for name, n in core.measured.counters.items()}


def _problems(core: Core, now: Instant) -> list[str]:
    problems = [
        f"{core.names.of(node)} {core.gossip.state(node).value}: {core.gossip.reason(node)}"
        for node in core.gossip.members()
        if core.gossip.state(node) not in (MemberState.READY, MemberState.LEFT)
    ]
    problems += [
        f"{address} answers as somebody else ({why}): check the address, it may be of another mesh"
        for address, why in core.strangers.items()
    ]
    problems += [
        f"agent {info.instance} keeps ending: {info.reason}"
        for info in core.agents.instances()
        if info.state is InstanceState.BACKOFF
    ]
    if core.measured.journal_failed:
        problems.append(f"nothing can be stored: {core.measured.journal_failed}")
    if core.measured.quarantined:
        problems.append(
            f"{core.measured.quarantined} damaged journal records are in quarantine: meshnode why {core.config.name}"
        )
    fields = len(core.documents.conflicts())
    if fields:
        problems.append(f"{fields} fields have concurrent values: meshnode conflicts")
    if now.trust is ClockTrust.FLOOR:
        problems.append("the clock is not synchronised")
    return problems
