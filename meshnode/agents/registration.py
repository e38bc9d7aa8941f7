"""May this process speak for this agent? The daemon asks what the kernel says, not what the process says."""

import hmac
import re
from collections.abc import Iterable, Sequence

import msgspec

from meshnode.agents.messages import AgentRegistered, WelcomeAgent
from meshnode.kernel.effects import Effect, Note
from meshnode.model.units import agent_of
from meshnode.wire.calls import SkillDescription
from meshnode.wire.state import KEY_CHARS_MAX

SKILLS_MAX = 256
HOOKS_MAX = 256
SKILL_BYTES_MAX = 64 * 1024
_SKILL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Refusal(msgspec.Struct, frozen=True):
    """``reason`` is a name to count; ``message`` is for the agent's author."""

    reason: str
    message: str


def judge(event: AgentRegistered, *, ticket: str, pid: int | None, taken: bool) -> Refusal | None:
    """``ticket``, ``pid``: of the process that runs for the unit; ``taken``: another connection speaks for it."""
    if not hmac.compare_digest(ticket.encode(), event.header.ticket.encode()):
        return Refusal("wrong-ticket", "the ticket is not the one the daemon gave to this run")
    if pid is None or pid not in (event.pid, *event.lineage):
        return Refusal("foreign-process", f"pid {event.pid} is neither the process the daemon started nor its child")
    if taken:
        return Refusal("already-registered", "another process of this run has registered")
    return _judge_hooks(event.header.hooks) or _judge_skills(event.skills)


def refused(event: AgentRegistered, refusal: Refusal) -> list[Effect]:
    unit = event.header.instance
    text = f"{unit}: a registration by pid {event.pid} was refused: {refusal.message}"
    return [WelcomeAgent(event.conn, refusal.reason, refusal.message), Note(f"agent/{agent_of(unit)}", text)]


def _judge_hooks(hooks: Sequence[str]) -> Refusal | None:
    if len(hooks) > HOOKS_MAX:
        return Refusal("too-many-hooks", f"{len(hooks)} merge functions; the limit is {HOOKS_MAX}")
    if not all(0 < len(hook) <= KEY_CHARS_MAX for hook in hooks):
        return Refusal("hook-name", f"a key with a merge function has 1 to {KEY_CHARS_MAX} characters")
    return None


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
