"""Why things are so: stories, conflicts, identity."""

from meshnode.cli import rows
from meshnode.cli.output import show_list, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option
from meshnode.cli.table import Column
from meshnode.cli.words import clock, one_line, printable, span
from meshnode.model.views import ConflictView, IdentityView, WhyView


def _why(given: Given) -> int:
    view = client_of(given).why(given.subject)
    show_one(given, view, lambda: _why_lines(view), view.subject)
    return 0


def _why_lines(view: WhyView) -> list[str]:
    head = one_line(f"{view.subject}: {view.now}")
    events = [
        f"  {clock(event.at_ms)}  {span(event.age_s) + ' ago':>12}  {one_line(event.text)}" for event in view.events
    ]
    return [head, *(events or ["  nothing has been recorded about it here"])]


def _conflicts(given: Given) -> int:
    columns: tuple[Column[ConflictView], ...] = (
        Column(title="SUBJECT", cell=rows.conflict_subject),
        Column(title="FIELD", cell=lambda c: c.field),
        Column(title="IN FORCE", cell=lambda c: _value(c, 0)),
        Column(title="ALSO WRITTEN", cell=lambda c: "; ".join(_value(c, n) for n in range(1, len(c.values)))),
    )
    show_list(given, client_of(given).conflicts(), columns, rows.conflict_name, empty="no conflicts")
    return 0


def _value(conflict: ConflictView, number: int) -> str:
    from json import dumps

    if number >= len(conflict.values):
        return ""
    writer = conflict.writers[number] if number < len(conflict.writers) else "?"
    return f"{dumps(conflict.values[number])} by {writer}"


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
        "subject", metavar="SUBJECT", help="a name, NAME/SLOT, node/NAME, agent/NAME, cluster/NS/NAME, call/ID"
    )
    output_option(parser)


VERBS = {
    "why": Verb(options=_why_options, run=_why),
    "conflicts": Verb(options=output_option, run=_conflicts),
    "id": Verb(options=output_option, run=_id),
}
