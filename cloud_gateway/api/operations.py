"""The table of the API: which request is which question. Routes, parameters and OpenAPI are all made from it."""

import dataclasses
from collections.abc import Awaitable, Callable

import msgspec

from cloud_gateway.api import answers
from cloud_gateway.api.desk import Desk
from cloud_gateway.api.parameters import (
    AFTER,
    LIMIT,
    MS_MAX,
    Asked,
    Parameter,
    fields_parameter,
    listing_parameters,
)
from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import AgentCount, RegionCount
from cloud_gateway.model.rows import CURRENT, CommandRow, InstanceRow, NodeRow, OfferRow, WishRow
from meshnode.model.views import WhyView

BASE = "/api/v1"
COMMANDS, WATCH = f"{BASE}/commands", f"{BASE}/watch"
Handle = Callable[[Desk, Asked], Awaitable[msgspec.Struct]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One question. ``kind``: of the rows, where it lists some. ``shared``: who asks at the same time gets the
    same answer, with an ETag. ``of_mesh``: is asked of the mesh now, and waits for it."""

    path: str
    summary: str
    answer: object
    handle: Handle
    parameters: tuple[Parameter, ...] = ()
    kind: str = ""
    shared: bool = False
    of_mesh: bool = False

    @property
    def path_shown(self) -> str:
        """The path as OpenAPI writes it."""
        return BASE + self.path.replace(":path}", "}")


def _list(kind: str, path: str = "") -> Operation:
    listing = LISTINGS[kind]

    async def handle(desk: Desk, asked: Asked) -> msgspec.Struct:
        return await desk.listed(kind, asked, listing.filters)

    return Operation(
        path=path or f"/{kind}",
        summary=listing.summary,
        answer=answers.Page[CURRENT[kind]],
        handle=handle,
        parameters=listing_parameters(listing),
        kind=kind,
    )


def _row(kind: str, path: str, names: tuple[str, ...], answer: object, summary: str) -> Operation:
    async def handle(desk: Desk, asked: Asked) -> msgspec.Struct:
        return await desk.row(kind, asked, names)

    parameters = tuple(_in_path(name) for name in names)
    return Operation(path=path, summary=summary, answer=answer, handle=handle, parameters=parameters)


def _in_path(name: str, example: str = "") -> Parameter:
    return Parameter(
        name=name, summary=f"the {name}", place="path", required=True, chars_max=512, example=example or None
    )


def _query(name: str, summary: str, *, many: bool = False, required: bool = False) -> Parameter:
    return Parameter(name=name, summary=summary, many=many, required=required)


def _time(name: str, summary: str) -> Parameter:
    return Parameter(name=name, summary=f"{summary}, wall clock ms", maximum=MS_MAX)


_NODE = _in_path("name", "beta")
_AGENTS = (
    LIMIT,
    AFTER,
    Parameter(name="sort", summary="the column to order by", choices=("agent",), default="agent"),
    _query("q", "a part of the agent's name, in any case"),
    dataclasses.replace(fields_parameter(InstanceRow), choices=AgentCount.__struct_fields__),
    _query("agent", "only these agents", many=True),
    _query("region", "only units in these regions", many=True),
)
_STEP = Parameter(
    name="step", summary="ms of a point, at least", minimum=1_000, maximum=366 * 86_400_000, default=60_000
)
OPERATIONS = (
    Operation(
        path="/overview", summary="The fleet at one glance, problems first", answer=answers.OverviewAnswer,
        handle=Desk.overview, shared=True,
    ),
    Operation(
        path="/regions", summary="Counts by region", answer=answers.All[RegionCount], handle=Desk.regions, shared=True,
    ),
    Operation(
        path="/grid", summary="All nodes, small: [name, state, cpu percent or -1, units that are not well]",
        answer=answers.GridAnswer, handle=Desk.grid, shared=True,
    ),
    _list("nodes"),
    _list("instances"),
    _list("skills"),
    _list("wishes", "/clusters"),
    _list("conflicts"),
    _list("problems"),
    _list("cursors"),
    _list("gaps"),
    _list("commands"),
    Operation(
        path="/agents", summary="Agents: their units together", answer=answers.Page[AgentCount], handle=Desk.agents,
        parameters=_AGENTS, kind="agents",
    ),
    Operation(
        path="/skills/search", summary="Who offers a skill, best first", answer=answers.Page[OfferRow],
        handle=Desk.search,
        parameters=(
            LIMIT, AFTER, _query("skill", "a name, or a glob: words.*"),
            _query("where", "what must hold of the node: gpu_mem>=2Gi,site=plant-7"),
            _query("region", "only nodes of this region"),
        ),
    ),
    Operation(
        path="/nodes/{name}", summary="One node, by its name or its id", answer=answers.One[NodeRow],
        handle=Desk.node, parameters=(_NODE,),
    ),
    Operation(
        path="/nodes/{name}/load", summary="History of a node's load", answer=answers.LoadAnswer, handle=Desk.load,
        parameters=(_NODE, _time("from", "since; an hour before to"), _time("to", "until; now"), _STEP),
    ),
    Operation(
        path="/nodes/{name}/links", summary="The node's neighbours and peers, asked now", answer=answers.LinksAnswer,
        handle=Desk.links, parameters=(_NODE,), of_mesh=True,
    ),
    Operation(
        path="/instances/{agent}/{slot}", summary="One unit: a row for each node that runs it",
        answer=answers.All[InstanceRow], handle=Desk.instance,
        parameters=(_in_path("agent", "words"), _in_path("slot", "0")),
    ),
    Operation(
        path="/agents/{name}", summary="One agent", answer=answers.One[AgentCount], handle=Desk.agent,
        parameters=(_in_path("name", "words"),),
    ),
    _row(
        "wishes", "/clusters/{kind}/{namespace}/{name}", ("kind", "namespace", "name"), answers.One[WishRow],
        "What one document wants, and how far it is",
    ),
    _row("commands", "/commands/{command_id}", ("command_id",), answers.One[CommandRow], "What became of one request"),
    Operation(
        path="/events", summary="Events of all nodes, newest first", answer=answers.EventsAnswer, handle=Desk.events,
        parameters=(
            LIMIT, AFTER, _query("node", "only of this node"), _query("region", "only of this region"),
            _query("subject", "KIND/NAME, or KIND/ for all of a kind"), _query("q", "a part of the text, in any case"),
            _time("from", "since"), _time("to", "until; now"),
        ),
    ),
    Operation(
        path="/journal", summary="One node's journal, oldest first, with its gaps", answer=answers.JournalAnswer,
        handle=Desk.journal, parameters=(LIMIT, AFTER, _query("node", "whose", required=True)),
    ),
    Operation(
        path="/why/{subject:path}", summary="The story of a node, agent or cluster, asked now",
        answer=answers.One[WhyView], handle=Desk.why, parameters=(_in_path("subject", "node/beta"),), of_mesh=True,
    ),
)  # fmt: skip
