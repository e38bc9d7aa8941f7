"""``describe KIND NAME``: everything that is known here about one thing, with its story."""

from meshnode.cli import rows
from meshnode.cli.agent_story import agent_lines, agent_story
from meshnode.cli.blocks import aligned, block
from meshnode.cli.drain import drained_words
from meshnode.cli.kinds import Kind, kind_of
from meshnode.cli.machine import load_line
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option
from meshnode.cli.words import clock, milliseconds
from meshnode.client.client import Client
from meshnode.model.document_views import DocumentView
from meshnode.model.errors import NotFound
from meshnode.model.views import NodeView, SkillView


def _describe(given: Given) -> int:
    kind = kind_of(given.kind)
    client = client_of(given)
    name = kind.bare(given.name)
    match kind.word:
        case "node":
            node = client.node(name)
            drained = drained_words(client, node.name) if node.drained else ""
            show_one(given, node, lambda: _node(node, drained), rows.node_name(node))
        case "agent":
            story = agent_story(client, name)
            show_one(given, story, lambda: agent_lines(story), f"agent/{story.name}")
        case "skill":
            skill = _skill(client, name)
            show_one(given, skill, lambda: _skill_lines(skill), rows.skill_name(skill))
        case _:
            document = _document(client, kind, *kind.place(name, given.namespace))
            show_one(given, document, lambda: _document_lines(document), rows.document_name(document))
    return 0


def _skill(client: Client, name: str) -> SkillView:
    for skill in client.skills(name):
        return skill
    raise NotFound(f"nobody known here offers {name}", next_step="meshnode skills")


def _document(client: Client, kind: Kind, namespace: str, name: str) -> DocumentView:
    found = client.documents(kind.document, namespace, name)
    if not found:
        raise NotFound(f"no {kind.word} {namespace}/{name} is known here", next_step=f"meshnode get {kind.plural}")
    return found[0]


def _node(node: NodeView, drained: str) -> list[str]:
    here = " (this node)" if node.self_node else ""
    pairs = [
        ("name", node.name + here),
        ("state", rows.node_state(node)),
        ("drained", drained),
        ("reason", node.reason),
        ("seen", rows.seen(node.age_s, here=node.self_node)),
        ("region", node.region),
        ("roles", ", ".join(node.roles)),
        ("path", node.path if node.rtt_ms is None else f"{node.path}, {milliseconds(node.rtt_ms)}"),
        ("endpoints", ", ".join(node.endpoints)),
        ("agents", str(node.agents)),
        ("boot", f"{node.boot}, incarnation {node.incarnation}"),
        ("node id", node.node_id),
        ("load", load_line(node.load)),
    ]
    return [*aligned(pairs), *block("hardware", node.hardware)]


def _skill_lines(skill: SkillView) -> list[str]:
    pairs = [
        ("skill", skill.skill),
        ("agent", f"{skill.agent} on {skill.node}"),
        ("excluded", skill.excluded),
        ("seen", rows.seen(skill.age_s)),
    ]
    return [
        *aligned(pairs),
        *block("description", skill.description),
        *block("takes", skill.input_schema),
        *block("gives", skill.output_schema),
    ]


def _document_lines(document: DocumentView) -> list[str]:
    state, reason = rows.ready(document)
    pairs = [
        ("name", f"{document.namespace}/{document.name}"),
        ("state", state),
        ("reason", reason),
        ("kind", f"{document.kind} ({document.api_version})"),
        ("updated", f"{clock(document.updated_ms)} by {document.updated_by}"),
        ("changes", f"{document.changes}, heads {', '.join(head[:12] for head in document.heads)}"),
        ("conflicts", ", ".join(document.conflicts)),
        ("counters", ", ".join(f"{name} {total}" for name, total in document.counters.items())),
        ("document id", document.doc_id),
    ]
    return [
        *aligned(pairs),
        *block("conditions", document.conditions),
        *block("status", document.status),
        *block("spec", document.spec),
    ]


def _options(parser: Parser) -> None:
    parser.add_argument("kind", metavar="KIND", help="node, agent, skill, agentcluster (cluster)")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-n", dest="namespace", metavar="NAMESPACE", default="default", help="of a document")
    output_option(parser)


VERBS = {"describe": Verb(options=_options, run=_describe)}
