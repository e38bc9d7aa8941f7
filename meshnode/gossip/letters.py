"""What gossip rooms write to each other: one letter a control message, msgpack arrays with a small tag.

``decode`` is the only way in. It checks shape, lengths and ranges; who may say what is judged by the machine concerned.
Rows, alerts and soft facts are carried as the bytes their author signed; nobody encodes them again.
"""

from typing import Annotated

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.repair import RepairMessage
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

LETTER_BYTES_MAX = 512 * 1024
BATCH_BYTES = 32 * 1024  # a letter of rows or facts is closed at this size
LINKS_MAX = 300
IDS_MAX = 256
UNREADY_MAX = 1024
ID_BYTES = 16  # of a rumour
SIGNATURE_BYTES = 64
ALIAS_BYTES = 8  # of a node, where a collision does no harm

Id = Annotated[NodeId, msgspec.Meta(min_length=32, max_length=32)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
RumourId = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
RumourIds = Annotated[list[RumourId], msgspec.Meta(max_length=IDS_MAX)]
Root = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
REGIONS_MAX = 256
Region = Annotated[str, msgspec.Meta(max_length=64)]
IndexNumber = Annotated[int, msgspec.Meta(ge=0, le=4)]
Links = Annotated[list[Id], msgspec.Meta(max_length=LINKS_MAX)]


ROW_BYTES_MAX = 8 * 1024


class SignedRow(msgspec.Struct, frozen=True, array_like=True):
    """A directory row as its node signed it, beside what an admin signed about that node."""

    body: Annotated[bytes, msgspec.Meta(max_length=ROW_BYTES_MAX)]
    signature: Signature
    member: Annotated[bytes, msgspec.Meta(max_length=8 * 1024)]


class SignedFact(msgspec.Struct, frozen=True, array_like=True):
    """A soft fact as its owner signed it. ``age_ms``: since the owner last stood by it, as far as the sender knows."""

    age_ms: Count
    body: Annotated[bytes, msgspec.Meta(max_length=1400)]
    signature: Signature


class Greeting(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first letter on a link. ``demanded``: opened for calls only; ``links``: the sender's other neighbours.

    ``role``: what it was dialled for (``wishes.Role``, others are plain); ``client``: nobody can dial the sender;
    ``whole``: it holds the soft facts of all regions; ``pace_ms``: it pings after so much quiet, 0 = not told;
    ``dials_back``: it may be asked to dial the sender's addresses, see ``gossip/dialback.py``.
    """

    demanded: bool
    links: Links
    role: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    client: bool = False
    whole: bool = False
    pace_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
    dials_back: bool = False


class Neighbours(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The sender's neighbours changed: they are its observers, and need no copy of what it hands to all of them."""

    links: Links


class Rows(msgspec.Struct, frozen=True, array_like=True, tag=3):
    rows: Annotated[list[SignedRow], msgspec.Meta(max_length=1024)]


class Roots(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Opens the repair dialogue of all indexes; silence means that all are equal.

    ``soft``: of all soft facts in a small mesh, of those of scope mesh in a large one. ``regions`` are the parts of a
    large mesh the sender holds; empty, and ``catalogue`` too, in a small one: only those who agree on that compare.
    """

    rows: Root
    tombstones: Root
    soft: Root
    regions: Annotated[dict[Region, Root], msgspec.Meta(max_length=REGIONS_MAX)] = {}
    catalogue: Annotated[bytes, msgspec.Meta(max_length=8)] = b""


class Repair(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """``region``: of a soft index of one."""

    index: IndexNumber
    step: RepairMessage
    region: Region = ""


class Pull(msgspec.Struct, frozen=True, array_like=True, tag=6):
    index: IndexNumber
    keys: Annotated[list[bytes], msgspec.Meta(max_length=4096)]
    region: Region = ""


class Push(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """An urgent rumour in full."""

    rumour: Annotated[bytes, msgspec.Meta(max_length=20 * 1024)]


class IHave(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """``recent``: what was new lately, told on a new link. Who lacks some of it has a tree all the same."""

    ids: RumourIds
    recent: bool = False


class Graft(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Send these, and be an eager neighbour from now on. ``only``: send these."""

    ids: RumourIds
    only: bool = False


class Prune(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Only tell me what you have: another neighbour is faster. ``soon``: but tell it soon, see ``broadcast.py``."""

    soon: bool = False


class SoftBatch(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """``wish``: what the sender wants of the link, see ``paths.py``; 0 = nothing."""

    facts: Annotated[list[SignedFact], msgspec.Meta(max_length=1024)]
    wish: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class SoftRefresh(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """All facts of one boot of one node still hold: one signature instead of every value again."""

    age_ms: Count
    body: Annotated[bytes, msgspec.Meta(max_length=128)]
    signature: Signature


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Have you heard ``subject``? A peer that is asked about itself shows how soon it reads."""

    subject: Id


class ProbeAck(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """``age_ms`` since a byte of ``subject`` arrived here; -1 without a link to it."""

    subject: Id
    age_ms: Annotated[int, msgspec.Meta(ge=-1, le=2**53)]


class Standing(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Who of the directory is not ready in the sender's eyes; it vouches for the others it knows if not ``partial``."""

    unready: Annotated[list[tuple[Annotated[bytes, msgspec.Meta(max_length=ALIAS_BYTES)], str]], msgspec.Meta(max_length=UNREADY_MAX)]  # fmt: skip  # noqa: E501
    partial: bool = False


class Doubt(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """You were reported lost under this boot and incarnation: raise it, so that all may forget the report."""

    boot: Count
    incarnation: Count


class RegionRows(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Rows of the catalogue, each with the time since it was heard, see ``gossip/catalogue.py``."""

    rows: Annotated[list[SignedFact], msgspec.Meta(max_length=1024)]


class Dialback(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Dial the addresses in my row, and tell me whether I answered. Only to those whose greeting offers it."""

    number: Count


class Tried(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """``outcome`` of that: 0 it says nothing, 1 you answered, 2 nobody did."""

    number: Count
    outcome: Annotated[int, msgspec.Meta(ge=0, le=255)]


Letter = (
    Greeting | Neighbours | Rows | Roots | Repair | Pull | Push | IHave | Graft | Prune | SoftBatch | SoftRefresh
    | Probe | ProbeAck | Standing | Doubt | RegionRows | Dialback | Tried
)  # fmt: skip


class RowRumour(msgspec.Struct, frozen=True, array_like=True, tag=1):
    row: SignedRow


class AlertRumour(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A signed ``Alert``, see ``gossip/alerts.py``."""

    body: Annotated[bytes, msgspec.Meta(max_length=1024)]
    signature: Signature


class AlertsRumour(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """Several alerts of one observer under one signature, see ``gossip/alerts.py``. Older nodes refuse it."""

    body: Annotated[bytes, msgspec.Meta(max_length=16 * 1024)]
    signature: Signature


class RegionRumour(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """One row of the catalogue, or a region's summary."""

    body: Annotated[bytes, msgspec.Meta(max_length=1024)]
    signature: Signature


Rumour = RowRumour | AlertRumour | AlertsRumour | RegionRumour

_encoder = msgspec.msgpack.Encoder()
_letters: msgspec.msgpack.Decoder[Letter] = msgspec.msgpack.Decoder(Letter)
_rumours: msgspec.msgpack.Decoder[Rumour] = msgspec.msgpack.Decoder(Rumour)


def encode(message: Letter | Rumour) -> bytes:
    return _encoder.encode(message)


def post(peer: NodeId, letter: Letter, *, patient: bool = False) -> Send:
    """``patient``: it may wait for something to ride on."""
    body = encode(letter)
    assert len(body) <= LETTER_BYTES_MAX
    return Send(peer, Channel.GOSSIP, body, patient)


def is_row(rumour: bytes) -> bool:
    """Whether an encoded rumour is a row of the directory: an array of two, tagged 1."""
    return rumour[:2] == b"\x92\x01"


def is_alert(rumour: bytes) -> bool:
    """Whether an encoded rumour is an alert, or several."""
    return rumour[:1] == b"\x93" and rumour[1:2] in (b"\x02", b"\x17")


def decode(body: bytes) -> Letter:
    """The letter in ``body``.

    Raises:
        RemoteError: it is too long, or no letter.
    """
    if len(body) > LETTER_BYTES_MAX:
        raise RemoteError("letter-too-long", f"{len(body)} bytes")
    return decoded(_letters.decode, body, "letter-malformed")


def decode_rumour(body: bytes) -> Rumour:
    """The rumour in ``body``; raises ``RemoteError`` if it is none."""
    return decoded(_rumours.decode, body, "rumour-malformed")
