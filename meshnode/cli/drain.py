"""Emptying a node, and letting it take units again."""

import time

from meshnode.cli import rows
from meshnode.cli.agents import lives
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.progress import Progress
from meshnode.cli.words import one_line
from meshnode.client.client import Client
from meshnode.model.document_views import AppliedView
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND
from meshnode.model.views import AgentView

PARTIAL = 5
_POLL_S = 0.2
_NAMED_MAX = 3


def _drain(given: Given) -> int:
    client = client_of(given)
    view = client.drain(given.node.removeprefix("node/"), given.reason)
    if given.no_wait:
        show_one(given, view, lambda: _lines(view, "drained"), rows.applied_name(view))
        return 0
    began_s = time.monotonic()
    try:
        left = _emptied(client, view.name)
    except KeyboardInterrupt:
        warn(one_line(f"the drain of {view.name} goes on; " + command(given, f"resume {view.name}") + " ends it"))
        raise
    took_s = time.monotonic() - began_s
    show_one(given, view, lambda: [*_lines(view, "drained"), *_end(view, left, took_s)], rows.applied_name(view))
    if not left:
        return 0
    warn(one_line(drained_words(client, view.name)))
    warn(one_line(" -> " + command(given, f"why node/{view.name}")))
    return PARTIAL


def _resume(given: Given) -> int:
    view = client_of(given).resume(given.node.removeprefix("node/"))
    show_one(given, view, lambda: _lines(view, "takes units"), rows.applied_name(view))
    return 0


def _emptied(client: Client, node: str) -> list[AgentView]:
    """Waits until a node is without units, or those it has cannot leave: these. The drain goes on whatever happens to
    the wait."""
    with Progress() as progress:
        while left := _left(client, node):
            status = _status(client, node)
            if _count(status, "stay") >= len(left):
                return left
            names = ", ".join(rows.unit_words(unit) for unit in left[:_NAMED_MAX])
            progress.tell(f"{len(left)} to leave {node}: {names}{', ...' if len(left) > _NAMED_MAX else ''}")
            time.sleep(_POLL_S)
    return []


def _left(client: Client, node: str) -> list[AgentView]:
    """Units of a node within reach; those of a node that is cut off are taken over by others meanwhile."""
    return [unit for unit in client.agents() if unit.node == node and lives(unit)]


def _status(client: Client, node: str) -> dict[str, object]:
    found = client.documents(KIND, NAMESPACE_DEFAULT, node)
    return found[0].status if found else {}


def _count(status: dict[str, object], name: str) -> int:
    count = status.get(name, 0)
    return count if isinstance(count, int) else 0


def drained_words(client: Client, node: str) -> str:
    """Why a node is drained and how far it is, as its document says; "" without one."""
    found = client.documents(KIND, NAMESPACE_DEFAULT, node)
    told = [c.message for c in found[0].conditions if c.type in ("Accepted", "Drained")] if found else []
    return "; ".join(told)


def _lines(view: AppliedView, state: str) -> list[str]:
    head = f"node {view.name}  {state}{'' if view.action != 'unchanged' else '  as before'}  ({view.durability})"
    return [one_line(head), *(one_line(f"  {note}") for note in view.notes)]


def _end(view: AppliedView, left: list[AgentView], took_s: float) -> list[str]:
    if left:
        return [one_line(f"node {view.name}  {len(left)} {'unit stays' if len(left) == 1 else 'units stay'}")]
    return [one_line(f"node {view.name}  empty after {took_s:.1f} s")]


def _drain_options(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("--reason", metavar="TEXT", default="", help="for people: shown by why, plan and describe")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until its units have left")
    output_option(parser)


def _resume_options(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE")
    output_option(parser)


VERBS = {
    "drain": Verb(options=_drain_options, run=_drain),
    "resume": Verb(options=_resume_options, run=_resume),
}
