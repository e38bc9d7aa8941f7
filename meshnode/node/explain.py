"""``why``: what is so now about a subject, and the events that led here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from meshnode.model.document_views import DocumentView
from meshnode.model.errors import NotFound
from meshnode.model.ids import NodeId
from meshnode.model.views import EventView, NodeView, WhyView
from meshnode.node import agent_views, drains, snapshot

if TYPE_CHECKING:
    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

OBSERVERS_SHOWN = 8
_CALL_DIGITS_MIN = 8  # so few digits of a call's id may name it
_KINDS = {
    "node": "node", "agent": "agent", "cluster": "cluster", "call": "call",
    "nodes": "node", "agents": "agent", "clusters": "cluster", "agentcluster": "cluster", "region": "region",
    "regions": "region",
}  # fmt: skip


class _Subject(msgspec.Struct, frozen=True):
    """What a person may have meant; empty fields mean nothing of that kind."""

    node: str = ""
    agent: str = ""
    cluster: str = ""
    namespace: str = ""  # of the cluster; empty: any
    call: str = ""
    region: str = ""
    home: str = ""  # the region of the node

    def fits(self, subject: str) -> bool:
        """Whether an event's subject ("KIND/...") is this one."""
        kind, _, rest = subject.partition("/")
        match kind:
            case "node":
                return rest == self.node
            case "agent":
                return rest == self.agent
            case "cluster":
                namespace, _, name = rest.partition("/")
                return name == self.cluster and self.namespace in ("", namespace)
            case "region":
                return rest in (self.region, self.home) and bool(rest)
            case "call":
                return len(self.call) >= _CALL_DIGITS_MIN and rest.startswith(self.call)
            case _:
                return False


def why(core: Core, subject: str, now: Instant) -> WhyView:
    """The story of ``node/NAME``, ``agent/NAME``, ``cluster/NAME``, ``cluster/NS/NAME``, ``call/ID``, ``region/NAME``,
    ``NS/NAME`` or a bare name of anything.

    Raises:
        NotFound: nothing is known about it.
    """
    wanted = _read(core, subject)
    seen = _seen(core, wanted.node, now)
    if seen is not None:
        wanted = replace(wanted, home=seen.region)
    events = [_told(event, wanted) for event in core.story.about(wanted.fits, now)]
    present = "; ".join(_present(core, wanted, seen, now))
    if not events and not present:
        raise NotFound(
            f"nothing is known here about {subject}",
            next_step="meshnode ls, meshnode ps and meshnode get clusters show what is known",
        )
    details, state = ([], "") if seen is None else (_details(core, seen), seen.state)
    return WhyView(subject=subject, now=present, events=events, details=details, state=state)


def _told(event: EventView, wanted: _Subject) -> EventView:
    """A node lost with its region has no event of its own that says so."""
    kind, _, name = event.subject.partition("/")
    if kind != "region" or name == wanted.region:
        return event
    return replace(event, text=f"its region {name}: {event.text}")


def _read(core: Core, subject: str) -> _Subject:
    kind, slash, rest = subject.partition("/")
    if not slash:
        return _Subject(
            node=_node_name(core, subject), agent=_agent_name(core, subject), cluster=subject, call=subject.lower(),
            region=subject,
        )  # fmt: skip
    if kind not in _KINDS or not rest:
        # NAMESPACE/CLUSTER, or a unit: AGENT/SLOT.
        return _Subject(agent=kind if rest.isdecimal() else "", cluster=rest, namespace=kind)
    namespace, inner, name = rest.rpartition("/")
    match _KINDS[kind]:
        case "node":
            return _Subject(node=_node_name(core, rest))
        case "agent":
            return _Subject(agent=rest.partition("/")[0])
        case "call":
            return _Subject(call=rest.lower())
        case "region":
            return _Subject(region=rest)
        case _:
            return _Subject(cluster=name, namespace=namespace if inner else "")


def _node_name(core: Core, given: str) -> str:
    """A node may be named by the beginning of its id, as everywhere."""
    try:
        return core.names.of(snapshot.find_node(core, given))
    except NotFound:
        return given


def _agent_name(core: Core, given: str) -> str:
    """A skill leads to the agent that offers it."""
    agents = core.index.agents_of(given)
    return agents[0] if agents else given


def _seen(core: Core, name: str, now: Instant) -> NodeView | None:
    """One row of ten thousand: the others are not made."""
    nodes = [node for node in snapshot.known(core) if core.names.of(node) == name] if name else []
    return snapshot.node(core, name, now) if len(nodes) == 1 else None


def _present(core: Core, wanted: _Subject, seen: NodeView | None, now: Instant) -> list[str]:
    found = [_node(seen)] if seen is not None else []
    if wanted.region and (region := _region(core, wanted.region, now)):
        found.append(region)
    if drained := drains.words(core, wanted.node, now):
        found.append(f"node {wanted.node} is {drained}")
    for view in agent_views.agents(core, now, wanted.agent).items if wanted.agent else ():
        if view.name == wanted.agent:
            where, why_so = f" on {view.node}" if view.node else "", f": {view.reason}" if view.reason else ""
            found.append(f"agent {view.instance}{where}: {view.state}{why_so}")
    if wanted.cluster:
        clusters = snapshot.documents(core, "AgentCluster", wanted.namespace, wanted.cluster, now).items
        found += [_cluster(view) for view in clusters]
    return found


def _region(core: Core, region: str, now: Instant) -> str:
    """How many of it are reached; "" if nobody is of that region."""
    nodes = core.gossip.in_region(region)
    lost = [node for node in nodes if node != core.config.node and not core.gossip.reachable(node)]
    if not nodes or len(lost) < len(nodes):
        return f"region {region}: {len(nodes) - len(lost)} of {len(nodes)} nodes reachable" if nodes else ""
    return snapshot.cut_words(region, [snapshot.age_s(core, node, now) for node in lost])


def _details(core: Core, view: NodeView) -> list[str]:
    """How a node is reached, and who says what against it."""
    if view.self_node:
        undialable = core.gossip.undialable()
        return [undialable] if undialable else []
    return [line for line in (_path(core, view), _observed(view)) if line]


def _path(core: Core, view: NodeView) -> str:
    relay = view.path.removeprefix("relay ") if view.path.startswith("relay ") else ""
    linked = bool(relay) or view.path == "direct"
    if linked and view.state != "ready":
        return "a link to it stands, but nothing comes over it"
    if linked:
        kept = core.gossip.is_neighbour(NodeId(bytes.fromhex(view.node_id)))
        made = "a link of its own" if kept else "a link made for calls"
        through = f" through the relay {relay}, which cannot read it" if relay else ""
        took = f", {view.rtt_ms:.1f} ms there and back" if view.rtt_ms is not None else ""
        return f"reached by {made}{through}{took}"
    if view.state != "ready":
        return f"no link; looked for at {', '.join(view.endpoints)}" if view.endpoints else "no link, and no address"
    return "no link: what is known of it came through others; a call makes one"


def _observed(view: NodeView) -> str:
    if not view.votes:
        return ""
    by_words: dict[str, list[str]] = {}
    for who, words in view.votes.items():
        by_words.setdefault(words, []).append(who)
    said = "; ".join(f"{words} ({_names(names)})" for words, names in by_words.items())
    return f"{len(view.votes)} of {max(view.observers, len(view.votes))} observers speak against it: {said}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - OBSERVERS_SHOWN} more" if len(names) > OBSERVERS_SHOWN else ""
    return ", ".join(names[:OBSERVERS_SHOWN]) + more


def _node(view: NodeView) -> str:
    if view.self_node:
        return f"node {view.name}: {view.state}, this node" + (f": {view.reason}" if view.reason else "")
    heard = f"last heard {view.age_s:g} s ago" if view.age_s >= 0 else "not heard since this daemon started"
    return f"node {view.name}: {view.state}" + (f": {view.reason}" if view.reason else "") + f" ({heard})"


def _cluster(view: DocumentView) -> str:
    unmet = [c for c in view.conditions if (c.status == "True") is (c.type == "Pending")]
    settled = [c for c in view.conditions if c.type == "Ready"]
    said = "; ".join(dict.fromkeys(c.message for c in unmet or settled))
    fields = f"; {len(view.conflicts)} fields have concurrent values" if view.conflicts else ""
    return f"cluster {view.namespace}/{view.name}: {said}{fields}"
