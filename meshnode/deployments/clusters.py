"""How far the mesh is from what a document wants: counts, and the reasons for what is missing.

Judged from what this node knows right now; a node it cannot reach runs nothing, as far as it can tell.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from meshnode.deployments.wants import CONTRADICTION, Declared, Problem, Reading, Row, rows, subject_of
from meshnode.model.agent import KIND as AGENT
from meshnode.model.agent import parse_agent_spec
from meshnode.model.agentcluster import parse_spec
from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentName
from meshnode.model.view_parts import Condition
from meshnode.scheduler.views import PENDING, RUNNING, STARTING, AgentStanding, UnitStanding

# Conditions are for people: past this many reasons the rest is counted.
_REASONS_MAX = 8
StandingOf = Callable[[AgentName], AgentStanding]


class Tally(msgspec.Struct, frozen=True):
    """A row of a document, and how many of its instances run or are about to."""

    row: Row
    running: int
    starting: int


def status_of(document: Declared, reading: Reading, standing_of: StandingOf) -> JsonObject:
    """The counts, as shown under ``status``; empty while the spec says nothing that could be counted."""
    try:
        found = _tally(document, reading, standing_of)
    except Invalid:
        return {}
    wanted, running = _totals(found)
    return {
        "wanted": wanted,
        "running": running,
        "pending": wanted - running,
        "agents": [
            {
                "agent": each.row.agent,
                "region": each.row.region,
                "wanted": each.row.count,
                "running": each.running,
                "starting": each.starting,
            }
            for each in found
        ],
    }


def conditions(document: Declared, reading: Reading, standing_of: StandingOf) -> list[Condition]:
    """Accepted, Schedulable, Ready, Pending: in this order, each with its reason. ``Leaving``, where some of it is on a
    node that is drained and cannot leave."""
    problems = reading.problems.get(subject_of(document), ())
    refused = next((problem for problem in problems if problem.reason == CONTRADICTION), None)
    if refused is not None:
        return [Condition(type="Accepted", status="False", reason=refused.reason, message=refused.message)]
    try:
        found = _tally(document, reading, standing_of)
    except Invalid as error:  # the reading is older than the document
        return [Condition(type="Accepted", status="False", reason=CONTRADICTION, message=error.message)]
    missing = [each.row.agent for each in found if each.running < each.row.count]
    waiting = [
        unit
        for agent in dict.fromkeys(missing)
        for unit in standing_of(AgentName(agent)).units
        if unit.state != RUNNING
    ]
    agents = dict.fromkeys(each.row.agent for each in found)
    staying = [unit for agent in agents for unit in standing_of(AgentName(agent)).units if unit.stays]
    return [
        _accepted(document, reading, _totals(found)[0]),
        _schedulable(problems, waiting),
        _ready(found),
        _pending(found, problems, waiting),
        *([_leaving(staying)] if staying else []),
    ]


def _tally(document: Declared, reading: Reading, standing_of: StandingOf) -> list[Tally]:
    """Rows with what runs of each; of instances that two rows could count each is counted once."""
    spare: dict[tuple[str, str], dict[str, int]] = {}
    found: list[Tally] = []
    for row in _rows(document, reading):
        for region, states in _by_region(standing_of(AgentName(row.agent)).units).items():
            spare.setdefault((row.agent, region), states)
        running = _taken(spare, row, RUNNING, row.count)
        found.append(Tally(row, running, _taken(spare, row, STARTING, row.count - running)))
    return found


def _rows(document: Declared, reading: Reading) -> list[Row]:
    if document.kind != AGENT:
        return rows(parse_spec(document.spec))
    intent = parse_agent_spec(document.spec)
    if document.name in reading.governed:  # clusters say how many
        want = next((want for want in reading.wants if want.agent == document.name), None)
        return [Row(document.name, "", want.replicas if want is not None else 0)]
    return [Row(document.name, intent.region, intent.replicas, intent.resources)]


def _by_region(units: Sequence[UnitStanding]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for unit in units:
        states = counts.setdefault(unit.region, {})
        states[unit.state] = states.get(unit.state, 0) + unit.slots
    return counts


def _taken(spare: dict[tuple[str, str], dict[str, int]], row: Row, state: str, most: int) -> int:
    """Its own region's first; a row without a region takes from any."""
    places = sorted(
        (place for place in spare if place[0] == row.agent and row.region in ("", place[1])),
        key=lambda place: place[1] != row.region,
    )
    taken = 0
    for place in places:
        some = min(spare[place].get(state, 0), most - taken)
        if some > 0:
            spare[place][state] -= some
            taken += some
    return taken


def _accepted(document: Declared, reading: Reading, wanted: int) -> Condition:
    message = f"{wanted} instances are wanted"
    if document.kind == AGENT and (by := reading.governed.get(document.name)):
        message += f", as {', '.join(by)} says"
    return Condition(type="Accepted", status="True", reason="Valid", message=message)


def _schedulable(problems: Sequence[Problem], waiting: Sequence[UnitStanding]) -> Condition:
    blocked = [unit for unit in waiting if unit.state == PENDING and unit.obstacle]
    if problems:
        reason, texts = problems[0].reason, [problem.message for problem in problems]
    elif blocked:
        reason, texts = blocked[0].obstacle, [f"agent {unit.unit.partition('/')[0]}: {unit.reason}" for unit in blocked]
    else:
        message = "every missing instance has a node that could take it"
        return Condition(type="Schedulable", status="True", reason="NodesFound", message=message)
    return Condition(type="Schedulable", status="False", reason=reason, message=_cut(texts))


def _ready(found: Sequence[Tally]) -> Condition:
    wanted, running = _totals(found)
    if not wanted:
        return Condition(type="Ready", status="True", reason="NothingWanted", message="no instances are wanted")
    message = f"{running} of {wanted} wanted instances run"
    if running == wanted:
        return Condition(type="Ready", status="True", reason="AllRunning", message=message)
    return Condition(type="Ready", status="False", reason="InstancesMissing", message=message)


def _pending(found: Sequence[Tally], problems: Sequence[Problem], waiting: Sequence[UnitStanding]) -> Condition:
    wanted, running = _totals(found)
    if running == wanted:
        return Condition(type="Pending", status="False", reason="NothingPending", message="nothing is missing")
    starting = sum(each.starting for each in found)
    texts = [problem.message for problem in problems]
    texts += [f"{unit.unit}: {unit.reason or 'it starts'}" for unit in waiting]
    reason = problems[0].reason if problems else "Starting" if starting == wanted - running else "Waiting"
    if not problems and any(unit.obstacle for unit in waiting):
        reason = "NoNodeTakesIt"
    message = f"{wanted - running} instances are pending, {starting} of them start"
    return Condition(
        type="Pending", status="True", reason=reason, message=f"{message}: {_cut(texts)}" if texts else message
    )


def _leaving(staying: Sequence[UnitStanding]) -> Condition:
    message = _cut(f"{unit.unit} stays on {unit.node}: {unit.stays}" for unit in staying)
    return Condition(type="Leaving", status="False", reason="NoOtherNode", message=message)


def _cut(texts: Iterable[str]) -> str:
    told = list(dict.fromkeys(texts))
    shown = "; ".join(told[:_REASONS_MAX])
    return shown + (f"; and {len(told) - _REASONS_MAX} more" if len(told) > _REASONS_MAX else "")


def _totals(found: Sequence[Tally]) -> tuple[int, int]:
    return sum(each.row.count for each in found), sum(each.running for each in found)
