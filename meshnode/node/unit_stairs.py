"""The stairs of units: claimed -> its state is open -> its process runs -> it offers skills -> it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.agents.messages import InstanceState, RestartUnit, RunUnit, StopUnit
from meshnode.gossip.messages import Publish
from meshnode.kernel.effects import Note
from meshnode.kernel.instant import MS
from meshnode.messaging.messages import Reach
from meshnode.model.units import agent_of, slot_of
from meshnode.node import drains
from meshnode.registry.offers import SKILL_PREFIX, encode_skill, skill_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.agents.messages import InstanceChanged, SkillsOffered, SkillsWithdrawn
    from meshnode.checkpoints.messages import HandedOver, StateKept, StateMerged, StateReady, StateRefused
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.epochs import Epoch
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import Emitted
    from meshnode.model.ids import AgentName, InstanceId
    from meshnode.node.core import Core
    from meshnode.scheduler.messages import UnitChanged, UnitClaimed, UnitReleased, Want

AT_WORK = ("running", "stopping")
EMITTED_CHARS_MAX = 300
JOURNAL_FAILED = "journal-failed"
# Refusals of what came too late: no process is ahead of what is kept.
UNTROUBLED = ("not-open", "closed")
# A unit that was given up ends once no call goes on in it, or after so many looks.
WAIT_US, WAITS_MAX = 50 * MS, 50
UNSTORED = "the journal of this node takes nothing"


class Home(msgspec.Struct):
    """A unit of this node, from its claim until its process is gone. ``leaving``: it was given up. ``lacks``: it should
    have begun and its file was not here. ``waits``: how often a call that goes on put off its end."""

    want: Want
    slots: int
    epoch: Epoch
    leaving: bool = False
    back: bool = False  # it was being given up when it was claimed again: its process serves an epoch that is over
    lacks: bool = False
    waits: int = 0


def claimed(core: Core, fact: UnitClaimed, now: Instant) -> Sequence[Effect]:
    """Taken on, or taken back: the winner it was being given to is gone, and its process still runs."""
    unit, before = fact.unit, core.homes.get(fact.unit)
    core.homes[unit] = Home(fact.want, fact.slots, fact.epoch, back=before is not None)
    closed = core.checkpoints.close(unit, now) if before is not None else ()
    # In a large mesh most nodes are not linked: who may have its state is.
    keepers = [node for node in core.scheduler.keepers(unit) if node not in core.linked and core.gossip.reachable(node)]
    opened = core.checkpoints.open(unit, fact.epoch, fact.want.durability, now)
    return [*closed, *(Reach(node) for node in keepers), *opened]


def state_ready(core: Core, fact: StateReady, now: Instant) -> Sequence[Effect]:
    home = core.homes.get(fact.unit)
    if home is None or home.leaving:
        return ()
    gap = f"; {fact.gap} newer versions exist and cannot be reached" if fact.gap else ""
    version = f"state version {fact.version} from {fact.source}" if fact.version else "no state yet"
    epoch = f"epoch {home.epoch.counter}@{core.config.name}"
    return [
        Note(f"agent/{agent_of(fact.unit)}", f"{fact.unit}: {version}{gap}; {epoch}"),
        *_begin(core, fact.unit, home, now),
    ]


def _begin(core: Core, unit: InstanceId, home: Home, now: Instant) -> Sequence[Effect]:
    """As it is wanted now. Its file may still be on its way here; what runs so already goes on."""
    recipe = home.want.recipe
    home.lacks = bool(recipe.bundle) and not core.bundles.here(recipe.bundle)
    if core.bundles.coming(recipe.bundle):
        return ()
    effects = core.agents.handle(RunUnit(unit, recipe, slot_of(unit), home.slots), now)
    if home.back:
        home.back = False
        effects += core.agents.handle(RestartUnit(unit, "taken back: begins again under the new epoch"), now)
    info = core.agents.instance(unit)
    works = info is not None and info.state is InstanceState.RUNNING
    return [*effects, *(core.scheduler.unit_running(unit, running=True, now=now) if works else ())]


def bundle(core: Core, digest: str, now: Instant) -> list[Effect]:
    """The file that units wait for is here, or nobody has it: then it may lie here under its own name."""
    effects: list[Effect] = []
    for unit, home in list(core.homes.items()):
        if home.lacks and not home.leaving and home.want.recipe.bundle == digest:
            effects += _begin(core, unit, home, now)
    return effects


def changed(core: Core, fact: UnitChanged, now: Instant) -> Sequence[Effect]:
    """A unit that is not open yet begins as it is wanted then."""
    unit, home = fact.unit, core.homes.get(fact.unit)
    if home is None:
        return ()
    again = fact.want.generation != home.want.generation and fact.want.recipe == home.want.recipe
    home.want, home.slots = fact.want, fact.slots
    effects = core.checkpoints.open(unit, home.epoch, fact.want.durability, now)
    if again:
        effects += core.agents.handle(RestartUnit(unit, "asked to restart"), now)
    return effects


def released(core: Core, fact: UnitReleased, now: Instant) -> Sequence[Effect]:
    """No new calls from here on. With a winner the state goes there first, and the process when that is done.

    A unit that never began here was found running elsewhere at the start: what this node remembers of it goes there.
    """
    home = core.homes.get(fact.unit)
    if home is None:
        return core.checkpoints.hand_over(fact.unit, fact.winner, now) if fact.winner is not None else ()
    home.leaving = True
    core.switch.agent_closing(fact.unit)
    note = Note(f"agent/{agent_of(fact.unit)}", f"{fact.unit}: {fact.reason}")
    if fact.winner is not None:
        return [note, *core.checkpoints.hand_over(fact.unit, fact.winner, now)]
    return [note, *_stop(core, fact.unit, fact.reason, now)]


def handed_over(core: Core, fact: HandedOver, now: Instant) -> Sequence[Effect]:
    home = core.homes.get(fact.unit)
    if home is not None and not home.leaving:
        return ()  # taken back meanwhile
    if home is not None and core.switch.busy(fact.unit) and home.waits < WAITS_MAX:
        home.waits += 1  # what the call changes is to go there, too, or it would be refused with its process gone
        core.checkpoints.hand_later(fact.unit, WAIT_US, now)
        return ()
    reason = f"its work goes on with {core.names.of(fact.winner)}"
    return [
        Note(f"agent/{agent_of(fact.unit)}", f"{fact.unit}: all of its state is with {core.names.of(fact.winner)}"),
        *core.scheduler.handed_over(fact.unit, now),
        *_stop(core, fact.unit, reason, now),
    ]


def _stop(core: Core, unit: InstanceId, reason: str, now: Instant) -> list[Effect]:
    effects = [*core.agents.handle(StopUnit(unit, reason), now)]
    if core.agents.instance(unit) is None:
        effects += _gone(core, unit, now)
    return effects


def _gone(core: Core, unit: InstanceId, now: Instant) -> list[Effect]:
    """Its process is no more and is not wanted any more: what it left behind rests, until somebody wants it."""
    core.homes.pop(unit, None)
    return [*core.checkpoints.close(unit, now), *core.offering.changed(agent_of(unit), now), *drains.gone(core)]


def instance(core: Core, fact: InstanceChanged, now: Instant) -> Sequence[Effect]:
    effects: list[Effect] = []
    unit, home = fact.instance, core.homes.get(fact.instance)
    if fact.state not in AT_WORK:
        effects += core.switch.agent_down(unit, now)
        core.checkpoints.detached(unit)
        core.succession.detached(unit)
    effects += core.scheduler.unit_running(unit, running=fact.state == "running", now=now)
    if fact.state == InstanceState.FAILED:
        effects += core.scheduler.failed(unit, fact.reason, now)
    if home is not None and home.leaving and fact.state == InstanceState.STOPPED:
        effects += _gone(core, unit, now)
    return [*effects, *core.offering.changed(agent_of(unit), now)]


def offered(core: Core, fact: SkillsOffered, now: Instant) -> Sequence[Effect]:
    unit, agent = fact.instance, agent_of(fact.instance)
    home = core.homes.get(unit)
    slots = home.slots if home is not None else 1
    effects = [*core.succession.attached(fact, now)]
    core.switch.agent_up(unit, fact.conn, slot_of(unit), slots)
    if home is not None and home.leaving:
        core.switch.agent_closing(unit)
    for skill in fact.skills:
        key = SKILL_PREFIX + _skill_name(core, skill.name, agent)
        effects += core.gossip.handle(Publish(key, encode_skill(agent, skill)), now)
    return [*effects, *core.switch.offers_changed(now)]


def withdrawn(core: Core, fact: SkillsWithdrawn, now: Instant) -> Sequence[Effect]:
    """An agent asked to stop may still answer what it works on; one that is gone may not. Its skills stay known while
    another unit of it is here, and while it is wanted here: a restart is no reason to tell the mesh twice."""
    unit, agent = fact.instance, agent_of(fact.instance)
    info = core.agents.instance(unit)
    effects: list[Effect] = []
    if info is not None and info.state is InstanceState.STOPPING:
        core.switch.agent_closing(unit)
    else:
        effects += core.switch.agent_down(unit, now)
        core.checkpoints.detached(unit)
        core.succession.detached(unit)
    if any(agent_of(other) == agent and not home.leaving for other, home in core.homes.items()):
        return effects
    for skill in core.index.skills_of(core.config.node, agent):
        key = SKILL_PREFIX + _skill_name(core, skill, agent)
        effects += core.gossip.handle(Publish(key, b""), now)
    return effects


def _skill_name(core: Core, skill: str, agent: AgentName) -> str:
    """A second agent of this node with a skill of that name has it under a longer key."""
    holder = core.index.plain_holder(core.config.node, skill)
    return skill_key(skill, "" if holder in ("", agent) else agent).removeprefix(SKILL_PREFIX)


def kept(core: Core, fact: StateKept, now: Instant) -> Sequence[Effect]:
    return core.switch.kept(fact.call_id, fact.durability, fact.version, now) if fact.call_id else ()


def refused(core: Core, fact: StateRefused, now: Instant) -> Sequence[Effect]:
    """What the process holds in memory is ahead of what is kept: it starts again from what is.

    A disk that takes nothing is no fault of the process, and the unit goes to another node while there is one.
    """
    effects: list[Effect] = [Note(f"agent/{agent_of(fact.unit)}", f"{fact.unit}: {fact.message}")]
    if fact.call_id:
        effects += core.switch.refused(fact.call_id, fact.code, fact.message, now)
    if fact.code in UNTROUBLED:
        return effects
    unstored = fact.code == JOURNAL_FAILED
    effects += core.agents.handle(RestartUnit(fact.unit, fact.message, at_fault=not unstored), now)
    return [*effects, *core.scheduler.failed(fact.unit, UNSTORED, now)] if unstored else effects


def merged(core: Core, fact: StateMerged) -> Sequence[Effect]:
    words = [
        f"{count} {what}"
        for count, what in (
            (fact.taken, "keys taken"), (fact.added, "counters added"), (fact.asked, "keys left to its merge function"),
            (fact.siblings, "keys with siblings (meshnode conflicts)"), (fact.undone, "calls counted twice taken back"),
        )
        if count
    ]  # fmt: skip
    text = f"{fact.unit}: merged with {core.names.of(fact.sender)}: {', '.join(words) or 'nothing new'}"
    return [Note(f"agent/{agent_of(fact.unit)}", text)]


def emitted(fact: Emitted) -> Sequence[Effect]:
    return [Note(f"agent/{agent_of(fact.instance)}", f"{fact.type} {fact.data[:EMITTED_CHARS_MAX]}")]
