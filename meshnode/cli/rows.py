"""The columns of each kind of row: state word first, reason second, age last."""

from meshnode.cli.machine import hardware_words, load_words
from meshnode.cli.table import Column
from meshnode.cli.words import age, milliseconds, since
from meshnode.model.document_views import AppliedView, DocumentView
from meshnode.model.units import agent_of, slot_of
from meshnode.model.view_parts import ConflictView
from meshnode.model.views import AgentView, NodeView, SkillView

# Older than this, what is known about another node is worth a mark.
STALE_S = 15.0


def seen(age_s: float, *, here: bool = False) -> str:
    if here:
        return "now"
    return f"{age(age_s)} (stale)" if age_s > STALE_S else age(age_s)


def node_name(node: NodeView) -> str:
    return f"node/{node.name}"


def node_state(node: NodeView) -> str:
    return f"{node.state},drained" if node.drained else node.state


def agent_name(agent: AgentView) -> str:
    return f"agent/{agent.instance or agent.name}"


def skill_name(skill: SkillView) -> str:
    return f"skill/{skill.skill}"


def document_name(document: DocumentView) -> str:
    return f"{document.kind.lower()}/{document.namespace}/{document.name}"


def applied_name(view: AppliedView) -> str:
    return f"{view.kind.lower()}/{view.namespace}/{view.name}"


def conflict_name(conflict: ConflictView) -> str:
    return f"{conflict_subject(conflict)}#{conflict.field}"


def conflict_subject(conflict: ConflictView) -> str:
    """``agentcluster/default/line3``; the state of a unit has no namespace."""
    return "/".join(part for part in (conflict.kind.lower(), conflict.namespace, conflict.name) if part)


def unit_words(agent: AgentView) -> str:
    """``words/0``, or ``words/0..999`` where one process is many instances."""
    slot = slot_of(agent.instance)
    if agent.slots <= 1 or slot < 0:
        return agent.instance or agent.name
    return f"{agent_of(agent.instance)}/{slot}..{slot + agent.slots - 1}"


def _path(node: NodeView) -> str:
    return node.path if node.rtt_ms is None else f"{node.path} {milliseconds(node.rtt_ms)}"


def _note(skill: SkillView) -> str:
    """Why it is not called, and how this node knows of it."""
    return "; ".join(part for part in (f"excluded: {skill.excluded}" if skill.excluded else "", skill.path) if part)


def _votes(node: NodeView) -> str:
    """How many of those who could tell speak against a node."""
    return f"{len(node.votes)} of {max(node.observers, len(node.votes))}" if node.votes else ""


def ready(document: DocumentView) -> tuple[str, str]:
    """(state, reason) by the Ready condition, else by the first one there is."""
    conditions = sorted(document.conditions, key=lambda condition: condition.type != "Ready")
    if not conditions:
        return "", ""
    first = conditions[0]
    state = {"True": "ready", "False": "pending"}.get(first.status, "unknown")
    return state, first.message or first.reason


NODES: tuple[Column[NodeView], ...] = (
    Column(title="NODE", cell=lambda n: f"{n.name} *" if n.self_node else n.name),
    Column(title="STATE", cell=node_state),
    Column(title="REASON", cell=lambda n: n.reason, optional=True),
    Column(title="VOTES", cell=_votes, optional=True),
    Column(title="REGION", cell=lambda n: n.region),
    Column(title="HW", cell=lambda n: hardware_words(n.hardware)),
    Column(title="AGENTS", cell=lambda n: str(n.agents), right=True),
    Column(title="LOAD", cell=lambda n: load_words(n.load), right=True),
    Column(title="PATH", cell=_path),
    Column(title="SEEN", cell=lambda n: seen(n.age_s, here=n.self_node)),
    Column(title="ROLES", cell=lambda n: ",".join(n.roles), wide=True),
    Column(title="BOOT", cell=lambda n: f"{n.boot}.{n.incarnation}", wide=True),
    Column(title="ID", cell=lambda n: n.node_id[:12], wide=True),
    Column(title="ENDPOINTS", cell=lambda n: ",".join(n.endpoints), wide=True),
)
AGENTS: tuple[Column[AgentView], ...] = (
    Column(title="UNIT", cell=unit_words),
    Column(title="STATE", cell=lambda a: a.state),
    Column(title="REASON", cell=lambda a: a.reason, optional=True),
    Column(title="NODE", cell=lambda a: a.node),
    Column(title="VERSION", cell=lambda a: str(a.version or ""), right=True),
    Column(title="DURABILITY", cell=lambda a: a.durability),
    Column(title="COPIES", cell=lambda a: ",".join(a.copies)),
    Column(title="RESTARTS", cell=lambda a: str(a.restarts), right=True),
    Column(title="SEEN", cell=lambda a: seen(a.age_s)),
    Column(title="PID", cell=lambda a: str(a.pid or ""), right=True, wide=True),
    Column(title="EPOCH", cell=lambda a: a.epoch, wide=True),
    Column(title="OFFERS", cell=lambda a: ",".join(a.skills), wide=True),
)
SKILLS: tuple[Column[SkillView], ...] = (
    Column(title="SKILL", cell=lambda s: s.skill),
    Column(title="AGENT", cell=lambda s: s.agent),
    Column(title="NODE", cell=lambda s: s.node),
    Column(title="REGION", cell=lambda s: s.region),
    Column(title="SEEN", cell=lambda s: seen(s.age_s)),
    Column(title="NOTE", cell=lambda s: f"excluded: {s.excluded}" if s.excluded else "", optional=True),
    Column(title="DESCRIPTION", cell=lambda s: s.description.partition("\n")[0], optional=True),
)
FOUND: tuple[Column[SkillView], ...] = (
    Column(title="RANK", cell=lambda s: "-" if s.excluded else str(s.rank)),
    Column(title="SKILL", cell=lambda s: s.skill),
    Column(title="AGENT", cell=lambda s: s.agent),
    Column(title="NODE", cell=lambda s: s.node),
    Column(title="REGION", cell=lambda s: s.region),
    Column(title="RTT", cell=lambda s: milliseconds(s.rtt_ms), right=True),
    Column(title="AGE", cell=lambda s: seen(s.age_s)),
    Column(title="NOTE", cell=_note, optional=True),
)
DOCUMENTS: tuple[Column[DocumentView], ...] = (
    Column(title="NAME", cell=lambda d: d.name),
    Column(title="STATE", cell=lambda d: ready(d)[0]),
    Column(title="REASON", cell=lambda d: ready(d)[1], optional=True),
    Column(title="KIND", cell=lambda d: d.kind),
    Column(title="NAMESPACE", cell=lambda d: d.namespace),
    Column(title="CHANGES", cell=lambda d: str(d.changes), right=True),
    Column(title="UPDATED", cell=lambda d: since(d.updated_ms)),
    Column(title="BY", cell=lambda d: d.updated_by),
    Column(title="CONFLICTS", cell=lambda d: ",".join(d.conflicts), optional=True),
    Column(title="HEADS", cell=lambda d: ",".join(head[:12] for head in d.heads), wide=True),
)
