"""Why a call is not tried, as far as the call itself tells."""

import re

from meshnode.messaging import letters
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import TEXT_CHARS_MAX
from meshnode.wire.calls import CallHeader

_SKILL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def objection(header: CallHeader, payload: bytes, config: SwitchConfig) -> tuple[str, str] | None:
    """Code and message of what is wrong with a call, ``None`` if nothing is."""
    if field := letters.overlong(header):
        return "invalid", f"{field} has more than {TEXT_CHARS_MAX} characters"
    if not _SKILL.fullmatch(header.skill):
        return "invalid", f"{header.skill!r} cannot be the name of a skill"
    if header.deadline_ms <= 0:
        return "timeout", "the deadline had passed when the call arrived"
    if len(payload) > config.payload_bytes_max:
        return "invalid", f"the arguments are {len(payload)} bytes, the limit is {config.payload_bytes_max}"
    return None


def wanted(header: CallHeader) -> str:
    """What is looked for, in words."""
    return f"the skill {header.skill}" + (f" of agent {header.agent}" if header.agent else "")
