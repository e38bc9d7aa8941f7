"""What nodes say about their agents and skills in soft state: the encoding of its keys and values.

Keys: ``agent/NAME`` for an instance, ``skill/NAME`` for an offered skill, ``load`` for the live load vector.
"""

import msgspec

from meshnode.wire.calls import SkillDescription

AGENT_PREFIX = "agent/"
SKILL_PREFIX = "skill/"
LOAD_KEY = "load"
# A soft value is at most 1 KiB (gossip's bound); what does not fit loses its schemas, never its name.
VALUE_BYTES_MAX = 1000
DESCRIPTION_CHARS_MAX = 160


class InstanceOffer(msgspec.Struct, frozen=True, array_like=True):
    """One running copy of an agent, as its node reports it."""

    instance: str
    state: str
    reason: str = ""
    restarts: int = 0
    pid: int = 0


class SkillOffer(msgspec.Struct, frozen=True, array_like=True):
    """One skill of one agent on one node."""

    agent: str
    instance: str
    description: str = ""
    input_schema: str = ""
    output_schema: str = ""


_encoder = msgspec.msgpack.Encoder()
_instances = msgspec.msgpack.Decoder(InstanceOffer)
_skills = msgspec.msgpack.Decoder(SkillOffer)


def encode_instance(offer: InstanceOffer) -> bytes:
    short = msgspec.structs.replace(offer, reason=offer.reason[:DESCRIPTION_CHARS_MAX])
    return _encoder.encode(short)


def encode_skill(agent: str, instance: str, skill: SkillDescription) -> bytes:
    """As much of the description as fits: schemas go first, then the text, never the name."""
    description = skill.description[:DESCRIPTION_CHARS_MAX]
    for schemas in ((skill.input_schema, skill.output_schema), (skill.input_schema, ""), ("", "")):
        value = _encoder.encode(SkillOffer(agent, instance, description, *schemas))
        if len(value) <= VALUE_BYTES_MAX:
            return value
    return _encoder.encode(SkillOffer(agent, instance))


def decode_instance(value: bytes) -> InstanceOffer | None:
    """``None``: another node published what is no offer."""
    try:
        return _instances.decode(value)
    except ValueError:  # MsgspecError is one, and text that is no UTF-8 raises UnicodeDecodeError
        return None


def decode_skill(value: bytes) -> SkillOffer | None:
    """``None``: another node published what is no offer."""
    try:
        return _skills.decode(value)
    except ValueError:
        return None
