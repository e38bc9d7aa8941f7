"""Looking: status, ls, ps, skills, find, get. All answers come from the local node, with their ages."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from meshnode.cli import rows
from meshnode.cli.kinds import Kind, kind_of
from meshnode.cli.machine import hardware_words, load_line
from meshnode.cli.output import again, colourful, show_list, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, watch_option
from meshnode.cli.table import Column
from meshnode.cli.words import printable, size, span
from meshnode.model.errors import NotFound
from meshnode.model.views import NodeView, StatusView

DOCUMENT_WORDS = ("agentcluster", "policy", "document")  # whose changes the node tells as they come
RowT = TypeVar("RowT", bound=msgspec.Struct)


def _status(given: Given) -> int:
    def show() -> int:
        view = client_of(given).status()
        show_one(given, view, lambda: status_lines(view), f"node/{view.name}")
        return 0

    return again(given, show)


def status_lines(view: StatusView) -> list[str]:
    """The state and what is wrong first, then a line for each part."""
    wrong = len(view.problems)
    state = "ready" if not wrong else f"ready, {wrong} problem{'s' if wrong > 1 else ''}"
    alone = "alone" if view.nodes_known <= 1 else f"{view.peers_connected} of {view.nodes_known - 1} peers connected"
    region = f", region {view.region}" if view.region else ""
    parts = (
        ("mesh", f"{view.mesh}{region}, {alone}"),
        ("nodes", f"{view.nodes_reachable} of {view.nodes_known} reachable"),
        ("agents", f"{view.agents_running} of {view.agents_total} running"),
        ("documents", f"{view.documents} (root {view.documents_root[:8] or '-'})"),
        ("machine", hardware_words(view.hardware) or "-"),
        ("load", load_line(view.load)),
        (
            "daemon",
            f"up {span(view.uptime_s)}, boot {view.boot}, version {view.version}, journal {size(view.journal_bytes)}",
        ),
        ("clock", view.clock),
        ("address", view.listen or "-"),
        *(("reader", f"{reader}: {far}") for reader, far in view.readers.items()),
    )
    lines = [printable(f"  {name:<10} {said}") for name, said in parts]
    problems = [printable(f"! {problem}") for problem in view.problems]
    head = f"{printable(view.name)}  {_painted(state, bad=bool(wrong))}"
    return [head, *problems, *lines]


def _painted(state: str, *, bad: bool) -> str:
    """Green or yellow, where colours are wanted."""
    if not colourful():
        return state
    return f"\x1b[{'33' if bad else '32'}m{state}\x1b[0m"


def _ls(given: Given) -> int:
    return again(given, lambda: _nodes(given, client_of(given).nodes()))


def _nodes(given: Given, found: Sequence[NodeView]) -> int:
    """A table names a region that was cut off as a whole in one line; the other formats name all its nodes."""
    whole, lines = apart(found) if given.output == "table" else (found, [])
    _list(given, whole, rows.NODES, rows.node_name)
    for line in lines:
        print(printable(line))
    return 0


def apart(found: Sequence[NodeView]) -> tuple[Sequence[NodeView], list[str]]:
    """The nodes that get a row each, and a line for each region none of whose nodes does."""
    regions: dict[str, list[NodeView]] = {}
    for node in found:
        regions.setdefault(node.region, []).append(node)
    cut = {name: nodes for name, nodes in regions.items() if len(nodes) > 1 and all(_cut_off(node) for node in nodes)}
    lines = [_cut_line(name, nodes) for name, nodes in sorted(cut.items())]
    return [node for node in found if node.region not in cut], lines


def _cut_off(node: NodeView) -> bool:
    return node.state != "ready" and node.reason.startswith(f"region {node.region} unreachable")


def _cut_line(region: str, nodes: Sequence[NodeView]) -> str:
    heard = [node.age_s for node in nodes if node.age_s >= 0]
    since = f" since {span(min(heard))}" if heard else ""
    return f"region {region} unreachable{since}: {len(nodes)} nodes (-o wide names them)"


def _ps(given: Given) -> int:
    empty = "no agents; start one: meshnode run FILE"
    kind = kind_of("agent")

    def show() -> int:
        agents = _named(client_of(given).agents(), given.name, lambda a: (a.name, a.instance), kind)
        return _list(given, agents, rows.AGENTS, rows.agent_name, empty)

    return again(given, show)


def _skills(given: Given) -> int:
    empty = "no skills known here; an agent offers them: meshnode run FILE; of other regions: meshnode find SKILL"
    return again(given, lambda: _list(given, client_of(given).skills(), rows.SKILLS, rows.skill_name, empty))


def _find(given: Given) -> int:
    skill: str = given.skill

    def show() -> int:
        found = client_of(given).skills(skill, given.where)
        if not found:
            also = "; in other regions only a whole name is looked for" if "*" in skill or "?" in skill else ""
            raise NotFound(f"nobody known here offers {skill}", next_step=f"meshnode skills{also}")
        return _list(given, found, rows.FOUND, rows.skill_name)

    return again(given, show)


def _get(given: Given) -> int:
    kind = kind_of(given.kind)
    if given.watch and kind.word in DOCUMENT_WORDS:
        from meshnode.cli.following import follow

        return follow(given, kind.document, *kind.place(given.name, given.namespace))
    return again(given, lambda: _get_once(given, kind))


def _get_once(given: Given, kind: Kind) -> int:
    name: str = given.name
    client = client_of(given)
    match kind.word:
        case "node":
            nodes = _named(client.nodes(), name, lambda n: (n.name,), kind)
            return _list(given, nodes, rows.NODES, rows.node_name) if name else _nodes(given, nodes)
        case "agent":
            agents = _named(client.agents(), name, lambda a: (a.name, a.instance), kind)
            return _list(given, agents, rows.AGENTS, rows.agent_name)
        case "skill":
            skills = _named(client.skills(), name, lambda s: (s.skill, s.agent), kind)
            return _list(given, skills, rows.SKILLS, rows.skill_name)
        case _:
            namespace, bare = kind.place(name, given.namespace)
            documents = _named(client.documents(kind.document, namespace, bare), bare, lambda d: (d.name,), kind)
            return _list(given, documents, rows.DOCUMENTS, rows.document_name, "no documents of that kind")


def _named(found: Sequence[RowT], name: str, names: Callable[[RowT], tuple[str, ...]], kind: Kind) -> Sequence[RowT]:
    """Those of that name (``kind/name`` will do, as -o name prints it); all without one."""
    if not name:
        return found
    chosen = [row for row in found if kind.bare(name) in names(row)]
    if not chosen:
        raise NotFound(f"no {kind.word} named {name} is known here", next_step=f"meshnode get {kind.plural}")
    return chosen


def _list(
    given: Given,
    found: Sequence[RowT],
    columns: Sequence[Column[RowT]],
    name: Callable[[RowT], str],
    empty: str = "",
) -> int:
    show_list(given, found, columns, name, empty=empty)
    return 0


def _find_options(parser: Parser) -> None:
    parser.add_argument("skill", metavar="SKILL", help="a skill, an agent or a capability; * and ? match")
    parser.add_argument("--where", metavar="RULES", default="", help="all must hold: gpu_mem>=2Gi,site=plant-7")
    watch_option(parser)


def _ps_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="of an agent or a unit (default: all)")
    watch_option(parser)


def _get_options(parser: Parser) -> None:
    parser.add_argument(
        "kind", metavar="KIND", help="nodes, agents, skills, agentclusters (clusters), policies, documents"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("-n", dest="namespace", metavar="NAMESPACE", default="", help="of documents (default: all)")
    watch_option(parser)


VERBS = {
    "status": Verb(options=watch_option, run=_status),
    "ls": Verb(options=watch_option, run=_ls),
    "ps": Verb(options=_ps_options, run=_ps),
    "skills": Verb(options=watch_option, run=_skills),
    "find": Verb(options=_find_options, run=_find),
    "get": Verb(options=_get_options, run=_get),
}
