"""What nodes of different regions ask each other: who offers this there. A question is a call of ``mesh.find``.

In JSON. Fields are only added, with defaults. An older node refuses the skill by name; the next bridge is asked then.
"""

from typing import Annotated

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.registry.offers import VALUE_BYTES_MAX

FIND_SKILL = "mesh.find"
OFFERS_MAX = 10
WHY_CHARS_MAX = 300
ADDRESS_CHARS_MAX = 160
WHERE_CHARS_MAX = 1024
AGE_MS_MAX = 2**53

Id = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Question(msgspec.Struct, frozen=True):
    """``address``: a skill, or ``cap/TAG``. ``where``: constraints on its nodes."""

    address: Annotated[str, msgspec.Meta(min_length=1, max_length=ADDRESS_CHARS_MAX)]
    where: Annotated[str, msgspec.Meta(max_length=WHERE_CHARS_MAX)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=OFFERS_MAX)] = OFFERS_MAX


class OfferTold(msgspec.Struct, frozen=True):
    """One node's offer. ``value``: as in soft state; ``age_ms``: since the asked node heard of it."""

    node: Id
    skill: Annotated[str, msgspec.Meta(min_length=1, max_length=ADDRESS_CHARS_MAX)]
    value: Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]
    age_ms: Annotated[int, msgspec.Meta(ge=0, le=AGE_MS_MAX)]


class Detail(msgspec.Struct, frozen=True):
    """Who may be called now, best first in the eyes of the asked node. ``why``: there is nobody, and this is why."""

    offers: Annotated[list[OfferTold], msgspec.Meta(max_length=OFFERS_MAX)]
    why: Annotated[str, msgspec.Meta(max_length=WHY_CHARS_MAX)] = ""


_questions = msgspec.json.Decoder(Question)
_details = msgspec.json.Decoder(Detail)
encode = msgspec.json.Encoder().encode


def decode_question(payload: bytes) -> Question:
    """Raises ``RemoteError``: it is none."""
    return decoded(_questions.decode, payload, "find-malformed")


def decode_detail(payload: bytes) -> Detail:
    """Raises ``RemoteError``: it is none."""
    return decoded(_details.decode, payload, "detail-malformed")
