"""What checkpoints rooms of two nodes say to each other, and the one place where it is read.

    owner -> holder   lead            "keep a copy of this unit; my chain stands here"
    holder -> owner   ack             "durable here up to there", or ask(what I have seen)
    owner -> holder   give ...        the cells the holder lacks, as one copy cut in pieces; more(...) asks for the next
    owner -> holder   append          one entry, the moment it is written
    opener -> all     ask             "what do you have of this unit beyond that?" -> give
    loser -> winner   offer           "I have seen this" -> ask or taken("so have I, durably")
    both, at a link   holdings        units held, with the hash of what was seen of each

Any letter may be lost, repeated, or answered by a node that restarted. Members are trusted with what they send as
copies: whoever may join the mesh may offer cells.
"""

import msgspec

from meshnode.checkpoints.entry import HASH_BYTES
from meshnode.checkpoints.rows import NUMBER_MAX, Delta, check_delta
from meshnode.checkpoints.seen import Seen
from meshnode.kernel.decoding import decoded
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.errors import RemoteError
from meshnode.model.ids import InstanceId, NodeId

LETTER_BYTES_MAX = 1024 * 1024
PIECE_BYTES = 256 * 1024
COPY_BYTES_MAX = 48 * 1024 * 1024
HOLDINGS_MAX = 2048  # in a letter
SEEN_MAX = 16_384
UNIT_CHARS_MAX = 256


class Past(msgspec.Struct, frozen=True, array_like=True):
    """A ``Seen`` on its way."""

    upto: list[tuple[Epoch, int]] = []
    cloud: list[Dot] = []

    def seen(self) -> Seen:
        return Seen(dict(self.upto), dict.fromkeys(self.cloud))


class Holding(msgspec.Struct, frozen=True, array_like=True):
    unit: InstanceId
    digest: bytes
    own: bool  # the sender runs it


class Holdings(msgspec.Struct, frozen=True, array_like=True, tag="holdings"):
    units: list[Holding]


class Lead(msgspec.Struct, frozen=True, array_like=True, tag="lead"):
    unit: InstanceId
    epoch: Epoch
    version: int
    head: bytes


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    unit: InstanceId
    sealed: bytes


class Ack(msgspec.Struct, frozen=True, array_like=True, tag="ack"):
    unit: InstanceId
    epoch: Epoch
    version: int


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Answered by ``Give`` with the same number, in any case."""

    unit: InstanceId
    ask_no: int
    past: Past


class Give(msgspec.Struct, frozen=True, array_like=True, tag="give"):
    """One piece of an encoded ``Copy``. ``count`` 0: nothing of it is here."""

    unit: InstanceId
    ask_no: int
    index: int = 0
    count: int = 0
    data: bytes = b""


class More(msgspec.Struct, frozen=True, array_like=True, tag="more"):
    """Pieces below ``upto`` may come."""

    ask_no: int
    upto: int


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="offer"):
    unit: InstanceId
    past: Past


class TakenOver(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    unit: InstanceId
    past: Past


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """The content of the pieces. ``own``: the giver runs the unit, and its chain stands at ``version`` and ``head``."""

    unit: InstanceId
    delta: Delta
    epoch: Epoch
    version: int
    head: bytes
    own: bool


Letter = Holdings | Lead | Append | Ack | Ask | Give | More | Offer | TakenOver

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Letter)
_copy = msgspec.msgpack.Decoder(Copy)


def past_of(seen: Seen) -> Past:
    return Past(sorted(seen.upto.items()), sorted(seen.cloud))


def send(peer: NodeId, letter: Letter) -> Send:
    return Send(peer, Channel.CHECKPOINT, _encode(letter))


def encode_copy(copy: Copy) -> bytes:
    return _encode(copy)


def decode_copy(data: bytes) -> Copy:
    """Raises ``RemoteError``."""
    copy = decoded(_copy.decode, data, "checkpoint-copy")
    check_delta(copy.delta)
    if (
        not copy.delta.final
        or _is_no_epoch(copy.epoch)
        or not 0 <= copy.version < NUMBER_MAX
        or len(copy.head) != HASH_BYTES
    ):
        raise RemoteError("checkpoint-copy", "a number out of its range, or a part that pretends to be a whole")
    return copy


def decode(body: bytes) -> Letter:
    """Raises ``RemoteError``."""
    if len(body) > LETTER_BYTES_MAX:
        raise RemoteError("checkpoint-letter-size", f"{len(body)} bytes")
    letter = decoded(_decoder.decode, body, "checkpoint-letter")
    if _is_wrong(letter):
        raise RemoteError("checkpoint-letter", "a count, an id or a number out of its range")
    return letter


def _is_wrong(letter: Letter) -> bool:
    match letter:
        case Holdings(units):
            return len(units) > HOLDINGS_MAX or any(_is_no_unit(each.unit) or len(each.digest) != 8 for each in units)
        case Lead(unit, epoch, version, head):
            return _is_no_unit(unit) or _is_no_epoch(epoch) or not 0 <= version < NUMBER_MAX or len(head) != HASH_BYTES
        case Append(unit, _):
            return _is_no_unit(unit)
        case Ack(unit, epoch, version):
            return _is_no_unit(unit) or _is_no_epoch(epoch) or not 0 <= version < NUMBER_MAX
        case Ask(unit, _, past) | Offer(unit, past) | TakenOver(unit, past):
            return _is_no_unit(unit) or len(past.upto) + len(past.cloud) > SEEN_MAX
        case Give(unit, _, index, count, data):
            too_many = count * PIECE_BYTES > COPY_BYTES_MAX + PIECE_BYTES
            return _is_no_unit(unit) or too_many or not 0 <= index <= max(count - 1, 0) or len(data) > PIECE_BYTES
        case More(_, upto):
            return upto < 0


def _is_no_unit(unit: str) -> bool:
    return not 0 < len(unit) <= UNIT_CHARS_MAX or "\0" in unit


def _is_no_epoch(epoch: Epoch) -> bool:
    return not 0 <= epoch.counter < NUMBER_MAX or len(epoch.node) > 64
