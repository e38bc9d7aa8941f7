"""Why things are so: stories, identity."""

from collections.abc import Sequence

from msgspec.structs import replace

from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option
from meshnode.cli.words import clock, one_line, printable, span
from meshnode.client.client import Client
from meshnode.model.errors import LocalError, NotFound
from meshnode.model.views import EventView, IdentityView, NodeView, WhyView

ASKED_MAX = 24
SAME_MS = 5_000  # clocks of two nodes, and the way of the news
ALIKE_MAX = 32
NAMES_MAX = 12


def _why(given: Given) -> int:
    client = client_of(given)
    view, missing = (client.why(given.subject), []) if given.here else whole_story(client, given.subject)
    show_one(given, view, lambda: [*_why_lines(view), *missing], view.subject)
    return 0


def whole_story(client: Client, subject: str) -> tuple[WhyView, list[str]]:
    """What all nodes that can be reached tell of a subject, in order; and a line about those that could not be asked.

    Raises:
        NotFound: nobody knows anything about it.
    """
    nodes = client.nodes()
    me = next(node.name for node in nodes if node.self_node)
    told: list[tuple[str, WhyView]] = []
    missing = [node.name for node in nodes if not node.self_node and node.state not in ("ready", "left")]
    unknown: NotFound | None = None
    for node in [me, *_asked(nodes, subject)][:ASKED_MAX]:
        try:
            told.append((node, _signed(client.why(subject, "" if node == me else node), node)))
        except NotFound as error:
            unknown = unknown or error
        except LocalError:
            missing.append(node)
    if not told and unknown is not None:
        raise unknown
    lines = [f"  not asked, out of reach now: {_some(missing)}"] if missing else []
    return _together(subject, [view for _, view in told]), [*_elsewhere(told), *lines]


def _asked(nodes: Sequence[NodeView], subject: str) -> list[str]:
    """The others in reach: the one in question and who speaks against it first; not all of a large mesh are asked."""
    name = subject.rpartition("/")[2]
    first = {name, *(observer for node in nodes if node.name == name for observer in node.votes)}
    ready = [node.name for node in nodes if not node.self_node and node.state == "ready"]
    return sorted(ready, key=lambda node: node not in first)


def _signed(view: WhyView, node: str) -> WhyView:
    return replace(view, events=[replace(event, node=node) for event in view.events])


def _together(subject: str, told: list[WhyView]) -> WhyView:
    """One story. What several nodes saw alike is told once, by the first of them."""
    events = sorted((event for view in told for event in view.events), key=lambda event: event.at_ms)
    kept: list[EventView] = []
    for event in events:
        if not any(k.text == event.text and event.at_ms - k.at_ms < SAME_MS for k in kept[-ALIKE_MAX:]):
            kept.append(event)
    first = next((view for view in told if view.now), None)
    if first is None:
        return WhyView(subject=subject, now="", events=kept)
    return WhyView(subject=subject, now=first.now, events=kept, details=first.details, state=first.state)


def _elsewhere(told: Sequence[tuple[str, WhyView]]) -> list[str]:
    """What other nodes take a node for, if not all agree."""
    seen: dict[str, list[str]] = {}
    for node, view in told:
        if view.state and not view.now.endswith(", this node"):
            seen.setdefault(view.state, []).append(node)
    parts = [f"{state} ({_some(nodes)})" for state, nodes in seen.items()]
    return [f"  nodes see it differently: {'; '.join(parts)}"] if len(parts) > 1 else []


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_MAX])
    return shown if len(names) <= NAMES_MAX else f"{shown} and {len(names) - NAMES_MAX} more"


def _why_lines(view: WhyView) -> list[str]:
    head = one_line(f"{view.subject}: {view.now}")
    width = max((len(event.node) for event in view.events), default=0)
    events = [
        f"  {clock(event.at_ms)}  {span(event.age_s) + ' ago':>12}  {event.node:<{width}}  {one_line(event.text)}"
        for event in view.events
    ]
    details = [one_line(f"  {detail}") for detail in view.details]
    return [head, *details, *(events or ["  nothing has been recorded about it"])]


def _id(given: Given) -> int:
    view = client_of(given).identity()
    show_one(given, view, lambda: _id_lines(view), f"node/{view.name}")
    return 0


def _id_lines(view: IdentityView) -> list[str]:
    pairs = (
        ("name", view.name),
        ("mesh", view.mesh),
        ("spiffe id", f"spiffe://{view.mesh}/node/{view.name}"),
        ("region", view.region or "-"),
        ("roles", ", ".join(view.roles)),
        ("enrolls others", "yes" if view.enroller else "no"),
        ("node id", view.node_id),
        ("record key", view.record_key),
        ("certificate", f"sha256 {view.certificate_sha256}, until {clock(view.certificate_expires_ms)}"),
        ("root", f"sha256 {view.root_sha256}"),
    )
    return [printable(f"{name + ':':<15} {value}") for name, value in pairs]


def _why_options(parser: Parser) -> None:
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help="a name, NAME/SLOT, node/NAME, region/NAME, agent/NAME, cluster/NS/NAME, call/ID",
    )
    parser.add_argument(
        "--here", action="store_true", help="only what this node tells; else all within reach are asked"
    )
    output_option(parser)


VERBS = {
    "why": Verb(options=_why_options, run=_why),
    "id": Verb(options=output_option, run=_id),
}
