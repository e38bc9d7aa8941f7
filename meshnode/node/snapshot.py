"""Core -> views: what this node shows, with the age of everything that is not its own."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from meshnode import __version__
from meshnode.agents.messages import InstanceState
from meshnode.crdt.arrivals import TWICE
from meshnode.crdt.kinds import counters_of
from meshnode.deployments import drains
from meshnode.deployments.clusters import StandingOf, conditions, status_of
from meshnode.gossip.messages import MemberState
from meshnode.gossip.verdict import cut_region, words_of
from meshnode.kernel import hlc
from meshnode.kernel.decoding import decoded_or
from meshnode.kernel.instant import MS, SECOND, ClockTrust
from meshnode.links.tunnelwire import relay_at
from meshnode.model.addresses import host_and_port
from meshnode.model.document_views import ConflictsView, DocumentsView, DocumentView
from meshnode.model.errors import Invalid, LocalError, NotFound
from meshnode.model.ids import NodeId
from meshnode.model.loads import load_view
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.view_parts import ConflictView
from meshnode.model.views import Failure, IdentityView, NodesView, NodeView, SkillsView, SkillView, StatusView
from meshnode.node import memory
from meshnode.registry.offers import LOAD_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.replica import Document
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import FindSkills
    from meshnode.model.ids import AgentName
    from meshnode.node.core import Core
    from meshnode.scheduler.views import AgentStanding, UnitStanding


LEFT_SHOWN_S = 24 * 3600.0  # who left longer ago is found by name only
ID_DIGITS_MIN = 6
PROBLEMS_MAX = 50
DIVIDED_MAX = 8
_SETTLED = (MemberState.READY, MemberState.LEFT)


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


def nodes(core: Core, now: Instant, after: str = "", limit: int = 0) -> NodesView:
    """All, this one first and then by name; with a limit a page of them in the order of their ids."""
    check_page(limit)
    ids = known(core)
    if not limit and not after:
        shown = [_node(core, node, now) for node in ids if _is_shown(core, node, now)]
        return NodesView(items=sorted(shown, key=lambda view: (not view.self_node, view.name)))
    rest = (node for node in ids[_first_behind(ids, after) :] if _is_shown(core, node, now))
    return NodesView(items=[_node(core, node, now) for node in islice(rest, limit or None)])


def check_page(limit: int) -> None:
    """Raises ``Invalid``."""
    if limit < 0:
        raise Invalid(f"limit is {limit}; it must be above 0, or 0 for all at once", next_step="give --limit 500")


def _first_behind(ids: Sequence[NodeId], after: str) -> int:
    try:
        return bisect_right(ids, NodeId(bytes.fromhex(after)))
    except ValueError as error:
        raise Invalid(
            f"after is {after[:80]!r}, which is no id of a node", next_step="give the node_id of the last node you have"
        ) from error


def _is_shown(core: Core, node: NodeId, now: Instant) -> bool:
    """Who left long ago is found by name only."""
    if node == core.config.node or core.gossip.state(node) is not MemberState.LEFT:
        return True
    return age_s(core, node, now) <= LEFT_SHOWN_S


def node(core: Core, name: str, now: Instant) -> NodeView:
    return _node(core, find_node(core, name), now)


def _node(core: Core, node: NodeId, now: Instant) -> NodeView:
    row, member = core.gossip.row(node), core.trust.member(node)
    me = node == core.config.node
    rtt = None if me else core.hub.rtt_us(node)
    direct = me or core.hub.last_heard_us(node) is not None
    state = core.gossip.state(node)
    votes, observers = ({}, 0) if me or state in _SETTLED else _votes(core, node)
    return NodeView(
        name=core.names.of(node), node_id=node.hex(), state=state.value, votes=votes, observers=observers,
        region=member.region if member else "", roles=list(member.roles) if member else [],
        boot=row.boot if row else 0, incarnation=row.incarnation if row else 0,
        path="-" if me else way_to(core, node) if direct else "mesh", age_s=0.0 if me else age_s(core, node, now),
        rtt_ms=None if rtt is None else round(rtt / MS, 3), reason=_reason(core, node),
        endpoints=[_endpoint(core, *endpoint) for endpoint in row.endpoints] if row else [],
        hardware=json_object(row.facts if row else b"{}"), load=_load(core, node, now),
        agents=core.index.agents_on(node), self_node=me, labels=dict(member.labels) if member else {},
        drained=core.names.of(node) in core.intentions.reading.drains,
    )  # fmt: skip


def _reason(core: Core, node: NodeId) -> str:
    return core.bans.words(core.names.of(node)) or ("" if node == core.config.node else core.gossip.reason(node))


def way_to(core: Core, node: NodeId) -> str:
    """How the link to a node runs: "direct", or "relay NAME" with who carries it."""
    relay = core.hub.via(node)
    return f"relay {core.names.of(relay)}" if relay else "direct"


def _endpoint(core: Core, host: str, port: int) -> str:
    relay = relay_at(host)
    return host_and_port(host, port) if relay is None else f"relay/{core.names.of(relay)}"


def _votes(core: Core, node: NodeId) -> tuple[dict[str, str], int]:
    """Who says what against it, and how many could."""
    votes = {core.names.of(observer): words_of(kind) for observer, kind in core.gossip.votes(node).items()}
    return dict(sorted(votes.items())), len(core.gossip.observers(node))


def age_s(core: Core, node: NodeId, now: Instant) -> float:
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
    found = core.gossip.soft(node).get(LOAD_KEY)
    if found is None:
        return {}
    value, _version, heard_us = found
    own = node == core.config.node  # it would have told what moved since
    return {**load_view(value), "age_s": 0.0 if own else round((now.mono_us - heard_us) / SECOND, 1)}


_objects = msgspec.json.Decoder(dict[str, Any])


def json_object(data: bytes) -> dict[str, Any]:
    return decoded_or(_objects.decode, data, dict[str, Any]())


def skills(core: Core, command: FindSkills, now: Instant) -> SkillsView:
    """Best first, numbered from 1; with a limit a page of them behind the rank ``after``."""
    check_page(command.limit)
    check_page(command.after)
    end = command.after + command.limit if command.limit else None
    ranked = enumerate(core.index.find(command.skill, command.where, now=now, most=end or 0), start=1)
    views: list[SkillView] = []
    for rank, candidate in islice(ranked, command.after, end):
        member, offer = core.trust.member(candidate.node), candidate.offer
        age = 0.0 if candidate.local else age_s(core, candidate.node, now)
        views.append(
            SkillView(
                rank=rank,
                skill=candidate.skill,
                agent=offer.agent,
                instance=offer.agent,
                node=core.names.of(candidate.node),
                region=member.region if member else "",
                description=offer.description,
                input_schema=json_object(offer.input_schema.encode()),
                output_schema=json_object(offer.output_schema.encode()),
                age_s=age,
                excluded=excluded(core, candidate.node, candidate.excluded, now),
                rtt_ms=None if candidate.rtt_us is None else round(candidate.rtt_us / MS, 3),
            )
        )  # fmt: skip
    return SkillsView(items=views)


def document_view(core: Core, document: Document, now: Instant) -> DocumentView:
    return _document(core, document, lambda agent: core.scheduler.standing(agent, now), now)


def excluded(core: Core, node: NodeId, why: str, now: Instant) -> str:
    """Why no call goes to a node; of one that is not ready what it is, why, and how many say so."""
    state = core.gossip.state(node)
    if not why or node == core.config.node or state is MemberState.READY:
        return why
    age, votes, reason = age_s(core, node, now), core.gossip.votes(node), core.gossip.reason(node)
    heard = f"last heard {age:.1f} s ago" if age >= 0 else "not heard since this daemon started"
    observers = max(len(votes), len(core.gossip.observers(node)))
    said = f"; {len(votes)} of {observers} observers speak against it" if votes and " observers" not in reason else ""
    return f"{state.value}, {heard}: {reason}{said}"


def documents(core: Core, kind: str, namespace: str, name: str, now: Instant) -> DocumentsView:
    if kind and namespace and name:  # one of thousands is not looked for among all
        one = core.documents.get(kind, namespace, name)
        return DocumentsView(items=[document_view(core, one, now)] if one is not None else [])
    found = [d for d in core.documents.list(kind, namespace) if not name or d.name == name]
    seen: dict[AgentName, AgentStanding] = {}

    def standing_of(agent: AgentName) -> AgentStanding:
        if agent not in seen:  # many documents speak of one agent, and each more than once
            seen[agent] = core.scheduler.standing(agent, now)
        return seen[agent]

    return DocumentsView(items=[_document(core, document, standing_of, now) for document in found])


class _Cpu(msgspec.Struct, frozen=True):
    usable: float | None = None


class _Kind(msgspec.Struct, frozen=True):
    arch: str | None = None


class _Memory(msgspec.Struct, frozen=True):
    limit_bytes: int | None = None


class _Accelerator(msgspec.Struct, frozen=True):
    memory_bytes: int | None = None


class Machine(msgspec.Struct, frozen=True):
    """What placement asks of a machine's facts. They are a peer's words: of another shape, they say nothing."""

    machine: _Kind = _Kind()
    cpu: _Cpu = _Cpu()
    memory: _Memory = _Memory()
    accelerators: list[_Accelerator] | None = None


_machines = msgspec.json.Decoder(Machine)


def machine(facts: bytes) -> Machine:
    return decoded_or(_machines.decode, facts, Machine())


def _document(core: Core, document: Document, standing_of: StandingOf, now: Instant) -> DocumentView:
    if document.kind == NODE:

        def standing_on(name: str) -> Sequence[UnitStanding]:
            return core.scheduler.standing_on(name, now)

        rows, status = drains.conditions(document, standing_on), drains.status_of(document, standing_on)
    else:
        reading = core.intentions.reading
        rows, status = conditions(document, reading, standing_of), status_of(document, reading, standing_of)
    return DocumentView(
        kind=document.kind, namespace=document.namespace, name=document.name, doc_id=document.doc_id.hex(),
        api_version=str(document.fields.get("apiVersion", "")), spec=document.spec,
        heads=[h.hex() for h in document.heads], changes=document.changes, updated_ms=hlc.wall_ms(document.updated_hlc),
        updated_by=core.names.of(document.updated_by), conflicts=sorted(document.siblings),
        conditions=rows, status=status, counters=counters_of(document.fields),
    )  # fmt: skip


def conflicts(core: Core) -> ConflictsView:
    documents = [
        ConflictView(
            kind=c.kind, namespace=c.namespace, name=c.name, field=c.field, values=list(c.values),
            writers=[core.names.of(writer) for writer in c.writers],
        )
        for c in core.documents.conflicts()
    ]  # fmt: skip
    return ConflictsView(items=[*documents, *memory.conflicts(core)])


def identity(core: Core) -> IdentityView:
    config, member = core.config, core.trust.member(core.config.node)
    return IdentityView(
        mesh=config.mesh, name=config.name, node_id=config.node.hex(), record_key=core.ports.signer.public_key.hex(),
        certificate_sha256=core.renewal.leaf.sha256, certificate_expires_ms=core.renewal.leaf.until_ms,
        root_sha256=config.root_sha256, roles=list(member.roles) if member else [], region=config.region,
        enroller=core.ports.admin is not None,
    )  # fmt: skip


def status(core: Core, now: Instant) -> StatusView:
    members = core.gossip.members()
    own = core.agents.instances()
    return StatusView(
        name=core.config.name, mesh=core.config.mesh, region=core.config.region, version=__version__,
        uptime_s=round((now.mono_us - core.started_us) / SECOND, 1), boot=core.boot,
        listen=", ".join(host_and_port(*endpoint) for endpoint in core.config.endpoints),
        peers_connected=len(core.hub.peers()), nodes_known=len(members),
        nodes_reachable=sum(core.gossip.reachable(node) for node in members),
        documents=core.documents.count(), documents_root=core.documents.root().hex(),
        directory_root=core.gossip.directory_root().hex(),
        agents_running=sum(info.state is InstanceState.RUNNING for info in own),
        agents_total=len(own), clock=_clock(now), journal_bytes=core.measured.journal_bytes,
        counters=_counters(core), handle_max_ms=round(core.measured.handle_max_us / MS, 3),
        problems=_problems(core, now), hardware=json_object(core.hardware), load=_load(core, core.config.node, now),
        readers=core.journals.committed(now),
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
        "gossip": core.gossip.counters, "documents": core.documents.counters, "tunnels": core.tunnels.counters,
    }  # fmt: skip
    counted = {f"{room}.{name}": n for room, counts in rooms.items() for name, n in counts.snapshot().items()}
    return counted | {f"host.{name}": n for name, n in core.measured.counters.items()}


def _problems(core: Core, now: Instant) -> list[str]:
    banned = core.bans.words(core.config.name)
    problems = [*([f"this node is {banned}"] if banned else []), *_lost(core, now)]
    problems += [
        f"{address} answers as somebody else ({why}): check the address, it may be of another mesh"
        for address, why in core.strangers.items()
    ]
    if undialable := core.gossip.undialable():
        problems.append(undialable)
    problems += core.refusals.problems(now)
    problems += [
        f"{core.names.of(author)} signed two writes of {resource} under one number: {TWICE}"
        for resource, author in core.documents.divided(now)[:DIVIDED_MAX]
    ]
    problems += [
        f"agent {info.instance} {'has failed' if info.state is InstanceState.FAILED else 'keeps ending'}: {info.reason}"
        for info in core.agents.instances()
        if info.state in (InstanceState.BACKOFF, InstanceState.FAILED)
    ]
    problems += [
        f"{subject}: {problem.message}"
        for subject, found in sorted(core.intentions.reading.problems.items())
        for problem in found
    ]
    problems += [f"a stored state cannot be read: {what}" for what in core.checkpoints.unreadable]
    if core.measured.journal_failed:
        problems.append(f"nothing can be stored: {core.measured.journal_failed}")
    if core.measured.quarantined:
        problems.append(
            f"{core.measured.quarantined} damaged journal records are in quarantine: meshnode why {core.config.name}"
        )
    if len(problems) > PROBLEMS_MAX:
        problems[PROBLEMS_MAX:] = [f"and {len(problems) - PROBLEMS_MAX} more"]
    fields = len(conflicts(core).items)
    if fields:
        problems.append(f"{fields} fields or keys have concurrent values: meshnode conflicts")
    if now.trust is ClockTrust.FLOOR:
        problems.append("the clock is not synchronised")
    return problems


def _lost(core: Core, now: Instant) -> list[str]:
    """Nodes that are not ready; those of a region that was cut off are one line."""
    lines, cut = list[str](), dict[str, list[NodeId]]()
    for node in core.gossip.members():
        state, reason = core.gossip.state(node), core.gossip.reason(node)
        region = cut_region(reason)
        if region and state not in _SETTLED:
            cut.setdefault(region, []).append(node)
        elif state not in _SETTLED:
            lines.append(f"{core.names.of(node)} {state.value}: {reason}")
    regions = [
        f"{cut_words(region, [age_s(core, node, now) for node in nodes])}: meshnode why region/{region}"
        for region, nodes in cut.items()
    ]
    return [*regions, *lines]


def cut_words(region: str, ages_s: Sequence[float]) -> str:
    """``ages_s``: since each of its nodes was heard; negative where none was."""
    heard = [age for age in ages_s if age >= 0]
    since = f" since {min(heard):.0f} s" if heard else ""
    nodes = "1 node" if len(ages_s) == 1 else f"{len(ages_s)} nodes"
    return f"region {region} unreachable{since}: {nodes}"


def failure_of(error: LocalError) -> Failure:
    """A caller's mistake as an answer; what it says for programs (a path into the input) travels in ``details``."""
    return Failure(
        code=error.code, message=error.message, next_step=error.next_step, exit_code=error.exit_code,
        details=dict(error.details),
    )  # fmt: skip
