"""``describe agent``: its recipe, its units, where they run, how safe their state is, and what happened last."""

import msgspec

from meshnode.cli import rows
from meshnode.cli.blocks import Pairs, aligned, block
from meshnode.cli.why import whole_story
from meshnode.cli.words import clock, one_line, size, span
from meshnode.client.client import Client
from meshnode.model.document_views import DocumentView
from meshnode.model.errors import NotFound
from meshnode.model.unit_views import UnitStateView
from meshnode.model.units import agent_of, slot_of
from meshnode.model.views import AgentView, EventView, SkillView

EVENTS_SHOWN = 6
_HASH_CHARS = 12


class AgentStory(msgspec.Struct, frozen=True):
    """All that is known here about one agent, or about one of its units. ``document``: None where nothing wants it."""

    name: str
    document: DocumentView | None
    units: list[AgentView]
    states: list[UnitStateView]
    skills: list[SkillView]
    events: list[EventView]


def agent_story(client: Client, name: str) -> AgentStory:
    """``name``: an agent, or NAME/SLOT for one unit.

    Raises:
        NotFound: neither runs, is wanted, or has left a state.
    """
    agent = agent_of(name)
    units = [unit for unit in client.agents() if unit.name == agent and _is_meant(name, unit.instance, unit.slots)]
    documents = client.documents("Agent", "", agent)
    states = [state for state in client.states(agent) if _is_meant(name, state.unit, 1)]
    if not units and not states and (not documents or name != agent):
        raise NotFound(f"no agent named {name} is known here", next_step="meshnode ps")
    return AgentStory(
        name=name,
        document=documents[0] if documents else None,
        units=units,
        states=states,
        skills=[skill for skill in client.skills() if skill.agent == agent],
        events=_events(client, name),
    )


def _events(client: Client, name: str) -> list[EventView]:
    try:
        return whole_story(client, f"agent/{name}")[0].events[-EVENTS_SHOWN:]
    except NotFound:  # it is older than the story that is kept here
        return []


def _is_meant(name: str, unit: str, slots: int) -> bool:
    slot = slot_of(name)
    return slot < 0 or unit == name or 0 <= slot - slot_of(unit) < slots


def agent_lines(story: AgentStory) -> list[str]:
    lines = aligned([("name", story.name), *_wanted(story.document)])
    if story.document is not None:
        lines += block("recipe", story.document.spec.get("run"))
    for unit in story.units:
        lines += _unit_lines(unit, [state for state in story.states if state.unit == unit.instance])
    running = {unit.instance for unit in story.units}
    lines += [_state_line(state) for state in story.states if state.unit not in running]
    lines += _skill_lines(story.skills)
    if story.events:
        lines.append("last:")
        lines += [
            f"  {clock(event.at_ms)}  {span(event.age_s) + ' ago':>12}  {one_line(event.text)}"
            for event in story.events
        ]
    return lines


def _wanted(document: DocumentView | None) -> Pairs:
    if document is None:
        return [("wanted", "no: nothing asks for it any more, or a cluster does")]
    state, reason = rows.ready(document)
    spec = document.spec
    places = [f"{key} {spec[key]}" for key in ("on", "near", "region", "labels") if spec.get(key)]
    return [
        ("state", state),
        ("reason", reason),
        ("replicas", str(spec.get("replicas", 1))),
        ("tier", str(spec.get("tier", "process"))),
        ("where", ", ".join(places) or "anywhere"),
        ("durability", str(spec.get("durability") or "auto")),
        ("updated", f"{clock(document.updated_ms)} by {document.updated_by}"),
    ]


def _unit_lines(unit: AgentView, states: list[UnitStateView]) -> list[str]:
    pid = f", pid {unit.pid}" if unit.pid else ""
    pairs: Pairs = [
        ("state", f"{unit.state} on {unit.node or '-'}{pid}"),
        ("reason", unit.reason),
        ("seen", rows.seen(unit.age_s)),
        ("epoch", unit.epoch),
        ("restarts", str(unit.restarts)),
        ("version", f"{unit.version}, {unit.durability or 'auto'}" if unit.version else ""),
        ("copies", ", ".join(unit.copies)),
    ]
    lines = [f"unit {one_line(rows.unit_words(unit))}:", *(f"  {line}" for line in aligned(pairs))]
    return [*lines, *(f"  {_state_line(state)}" for state in states)]


def _state_line(state: UnitStateView) -> str:
    checkpoint = f"checkpoint {state.checkpoint} + {state.entries} entries" if state.checkpoint else "no checkpoint"
    conflicts = f", {state.conflicts} conflicts: meshnode conflicts" if state.conflicts else ""
    return one_line(
        f"state of {state.unit} on {state.node} ({state.role}): version {state.version}, {state.keys} keys, "
        f"{size(state.size_bytes)}, {checkpoint}, hash {state.hash[:_HASH_CHARS]}, seen {rows.seen(state.age_s)}"
        f"{conflicts}"
    )


def _skill_lines(skills: list[SkillView]) -> list[str]:
    described: dict[str, str] = {}
    for skill in skills:  # several nodes may offer it, and not each of them have told its description yet
        described[skill.skill] = described.get(skill.skill) or skill.description.partition("\n")[0]
    return ["skills:", *(one_line(f"  {name}  {text}".rstrip()) for name, text in described.items())] if skills else []
