"""``why``: what is so now about a subject, and the events that led here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.model.errors import NotFound
from meshnode.model.views import DocumentView, NodeView, WhyView
from meshnode.node import agent_views, drains, snapshot

if TYPE_CHECKING:
    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

_CALL_DIGITS_MIN = 8  # so few digits of a call's id may name it
_KINDS = {
    "node": "node", "agent": "agent", "cluster": "cluster", "call": "call",
    "nodes": "node", "agents": "agent", "clusters": "cluster", "agentcluster": "cluster",
}  # fmt: skip


class _Subject(msgspec.Struct, frozen=True):
    """What a person may have meant; empty fields mean nothing of that kind."""

    node: str = ""
    agent: str = ""
    cluster: str = ""
    namespace: str = ""  # of the cluster; empty: any
    call: str = ""

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
            case "call":
                return len(self.call) >= _CALL_DIGITS_MIN and rest.startswith(self.call)
            case _:
                return False


def why(core: Core, subject: str, now: Instant) -> WhyView:
    """The story of ``node/NAME``, ``agent/NAME``, ``cluster/NAME``, ``cluster/NS/NAME``, ``call/ID``, ``NS/NAME`` or a
    bare name of anything.

    Raises:
        NotFound: nothing is known about it.
    """
    wanted = _read(core, subject)
    events = core.story.about(wanted.fits, now)
    present = "; ".join(_present(core, wanted, now))
    if not events and not present:
        raise NotFound(
            f"nothing is known here about {subject}",
            next_step="meshnode ls, meshnode ps and meshnode get clusters show what is known",
        )
    return WhyView(subject=subject, now=present, events=events)


def _read(core: Core, subject: str) -> _Subject:
    kind, slash, rest = subject.partition("/")
    if not slash:
        return _Subject(
            node=_node_name(core, subject), agent=_agent_name(core, subject), cluster=subject, call=subject.lower()
        )
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


def _present(core: Core, wanted: _Subject, now: Instant) -> list[str]:
    found = [_node(view) for view in snapshot.nodes(core, now).items if view.name == wanted.node]
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


def _node(view: NodeView) -> str:
    if view.self_node:
        return f"node {view.name}: {view.state}, this node"
    heard = f"last heard {view.age_s:g} s ago" if view.age_s >= 0 else "not heard since this daemon started"
    return f"node {view.name}: {view.state}" + (f": {view.reason}" if view.reason else "") + f" ({heard})"


def _cluster(view: DocumentView) -> str:
    unmet = [c for c in view.conditions if (c.status == "True") is (c.type == "Pending")]
    settled = [c for c in view.conditions if c.type == "Ready"]
    said = "; ".join(dict.fromkeys(c.message for c in unmet or settled))
    fields = f"; {len(view.conflicts)} fields have concurrent values" if view.conflicts else ""
    return f"cluster {view.namespace}/{view.name}: {said}{fields}"
