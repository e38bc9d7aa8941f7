"""May this process speak for this agent? The daemon asks what the kernel says, not what the process says."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from meshnode.agents.messages import AgentRegistered
from meshnode.wire.calls import SkillDescription

SKILLS_MAX = 256
SKILL_BYTES_MAX = 64 * 1024
_SKILL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Refusal(msgspec.Struct, frozen=True):
    """``reason`` is a name to count; ``message`` is for the agent's author."""

    reason: str
    message: str


def judge(event: AgentRegistered, *, ticket_fits: bool, pid: int | None, taken: bool) -> Refusal | None:
    """``pid``: of the process the daemon started for this run; ``taken``: another connection speaks for it already."""
    if not ticket_fits:
        return Refusal("wrong-ticket", "the ticket is not the one the daemon gave to this run")
    if pid is None or pid not in (event.pid, *event.lineage):
        return Refusal("foreign-process", f"pid {event.pid} is neither the process the daemon started nor its child")
    if taken:
        return Refusal("already-registered", "another process of this run has registered")
    return _judge_skills(event.skills)


def _judge_skills(skills: Sequence[SkillDescription]) -> Refusal | None:
    if len(skills) > SKILLS_MAX:
        return Refusal("too-many-skills", f"{len(skills)} skills; the limit is {SKILLS_MAX}")
    for skill in skills:
        if not _SKILL_NAME.fullmatch(skill.name):
            return Refusal("skill-name", f"{skill.name[:80]!r}: use 1 to 128 letters, digits, '_', '-' and '.'")
        if _size(skill) > SKILL_BYTES_MAX:
            return Refusal("skill-too-long", f"{skill.name}: its description is over {SKILL_BYTES_MAX} bytes")
    double = _first_double(skill.name for skill in skills)
    return Refusal("skill-twice", f"{double} is offered twice") if double else None


def _size(skill: SkillDescription) -> int:
    texts = (skill.name, skill.description, skill.input_schema, skill.output_schema, *skill.tags)
    return sum(len(text) for text in texts)


def _first_double(names: Iterable[str]) -> str:
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            return name
        seen[name] = None
    return ""
