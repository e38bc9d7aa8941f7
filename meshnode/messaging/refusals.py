"""Why a call is not tried, as far as the call itself tells."""

import functools
import re

from meshnode.messaging import letters
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import TEXT_CHARS_MAX
from meshnode.registry.index import CAP_PREFIX
from meshnode.wire.calls import CallHeader

MESH_PREFIX = "mesh."
PING_SKILL = "mesh.ping"
ASK_SKILL = "mesh.ask"
_SKILL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SLOT_MAX = 2**31


def objection(header: CallHeader, payload: bytes, config: SwitchConfig, *, own: bool) -> tuple[str, str] | None:
    """Code and message of what is wrong with a call, ``None`` if nothing is. ``own``: it begins on this node, so that
    it may still ask for a capability."""
    if field := letters.overlong(header):
        return "invalid", f"{field} has more than {TEXT_CHARS_MAX} characters"
    if not _is_skill(header.skill.removeprefix(CAP_PREFIX) if own else header.skill):
        return "invalid", f"{header.skill!r} cannot be the name of a skill"
    if header.deadline_ms <= 0:
        return "timeout", "the deadline had passed when the call arrived"
    if len(payload) > config.payload_bytes_max:
        return "invalid", f"the arguments are {len(payload)} bytes, the limit is {config.payload_bytes_max}"
    if not -1 <= header.slot < _SLOT_MAX:
        return "invalid", f"{header.slot} is no slot; slots count from 0, and -1 means any"
    return None


@functools.lru_cache(maxsize=1024)  # the same few names, call after call
def _is_skill(name: str) -> bool:
    return _SKILL.fullmatch(name) is not None


def wanted(header: CallHeader) -> str:
    """What is looked for, in words."""
    if header.skill.startswith(CAP_PREFIX):
        what = f"the capability {header.skill.removeprefix(CAP_PREFIX)}"
    else:
        what = f"the skill {header.skill}"
    return what + (f" of agent {header.agent}" if header.agent else "")
