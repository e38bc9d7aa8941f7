"""What is wanted against what is there: plan and scale."""

from collections.abc import Sequence

from meshnode.cli.output import show_list, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.rows import applied_name
from meshnode.cli.run import replicas
from meshnode.cli.table import Column
from meshnode.cli.words import one_line
from meshnode.client.client import Client
from meshnode.model.errors import Invalid
from meshnode.model.view_parts import PlanRow
from meshnode.model.views import PlanView

_COLUMNS: tuple[Column[PlanRow], ...] = (
    Column(title="UNIT", cell=lambda p: p.unit),
    Column(title="ACTION", cell=lambda p: p.action),
    Column(title="NODE", cell=lambda p: p.node),
    Column(title="NOW ON", cell=lambda p: p.now_on, optional=True),
    Column(title="REASON", cell=lambda p: p.reason),
)


def plan_name(row: PlanRow) -> str:
    return f"unit/{row.unit}"


def _plan(given: Given) -> int:
    client = client_of(given)
    plans = _of_files(client, given.files) if given.files else [client.plan()]
    rows = [row for plan in plans for row in plan.items]
    show_list(given, rows, _COLUMNS, plan_name, empty="nothing is wanted")
    if given.output in ("table", "wide"):
        for note in (note for plan in plans for note in plan.notes):
            warn(one_line(note))
        if given.files and any(row.action != "keep" for row in rows):
            warn(one_line(" -> " + command(given, f"apply -f {' '.join(given.files)}")))
    return 0


def _of_files(client: Client, files: Sequence[str]) -> list[PlanView]:
    from meshnode.cli.documents import checked  # YAML is slow to start, and most plans are without a file

    plans: list[PlanView] = []
    for source in checked(files):
        try:
            plans.append(client.plan(source.manifest))
        except Invalid as error:
            raise source.placed(error) from error
    return plans


def _scale(given: Given) -> int:
    name: str = given.name
    view = client_of(given).scale(name, given.replicas, given.agent)

    def lines() -> list[str]:
        head = f"{applied_name(view)} {view.action}: {given.replicas} wanted ({view.durability})"
        return [one_line(head), *(one_line(f"  {note}") for note in view.notes)]

    show_one(given, view, lines, applied_name(view))
    return 0


def _plan_options(parser: Parser) -> None:
    parser.add_argument(
        "-f", dest="files", metavar="FILE", nargs="+", action="extend", default=[], help="YAML or JSON; changes nothing"
    )
    output_option(parser)


def _scale_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="an agent, or cluster/NAMESPACE/NAME")
    parser.add_argument("replicas", metavar="N", type=replicas)
    parser.add_argument("--agent", metavar="AGENT", default="", help="which one, in a cluster of several")
    output_option(parser)


VERBS = {
    "plan": Verb(options=_plan_options, run=_plan),
    "scale": Verb(options=_scale_options, run=_scale),
}
