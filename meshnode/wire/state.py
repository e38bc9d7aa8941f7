"""What passes between an agent and its daemon about the agent's state.

The order on the socket is the order of what happened: a STATE stands before the RESULT of the call that caused it, in
the same message. Keys are text; the keys of a session and, where one process is many instances, of a slot carry a
prefix.
"""

import enum

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.model.errors import RemoteError

VALUE_BYTES_MAX = 1024 * 1024  # of one key, as JSON
KEY_CHARS_MAX = 512  # prefixes included
CHANGES_MAX = 4096  # of one STATE
AMOUNT_MAX = (1 << 62) - 1  # of one ADD, either way; a counter bears no more in all

_SLOT, _SESSION = "\x1d", "\x1e"


class Op(enum.IntEnum):
    """What happens to a key."""

    SET = 0
    DELETE = 1
    ADD = 2  # to a counter


class Change(msgspec.Struct, frozen=True, array_like=True):
    """``value``: JSON for SET; ``amount`` for ADD."""

    key: str
    op: Op
    value: bytes = b""
    amount: int = 0


class StateHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload: msgpack list of ``Change``. ``seq`` counts the STATE frames of one process, from 1.

    ``call_id`` empty: the agent changed it by itself. ``merge_no``: the last MERGE this process had applied before.
    """

    call_id: bytes
    seq: int
    merge_no: int = 0
    idempotency_key: str = ""  # of the call: also a daemon that has forgotten the call keeps the answer under it


class KeptHeader(msgspec.Struct, frozen=True, array_like=True):
    """All STATE frames up to ``seq`` are as durable as the agent asked for; ``version``: of the state."""

    seq: int
    version: int = 0


class RestoredCell(msgspec.Struct, frozen=True, array_like=True):
    """One key. A counter's ``value`` is its total; ``siblings``: concurrent values not chosen (JSON each)."""

    key: str
    value: bytes
    counter: bool = False
    siblings: tuple[bytes, ...] = ()


class RestoreHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload: msgpack list of ``RestoredCell``. At least one frame comes after every REGISTERED that is no resume; the
    last one tells of the whole.

    ``age_ms``: since the newest restored change, -1 = there is no state. ``gap``: versions known to exist somewhere and
    not restored. ``source``: where it came from, for people.
    """

    last: bool
    version: int = 0
    age_ms: int = -1
    gap: int = 0
    source: str = ""


class MergedCell(msgspec.Struct, frozen=True, array_like=True):
    """A key as it is after a merge. ``deleted``: it is gone. ``ask``: the agent's merge function is to decide between
    ``mine`` and ``theirs``, which both came from ``base`` (empty = it was not there); until then ``value`` is in force.
    """

    key: str
    value: bytes
    counter: bool = False
    deleted: bool = False
    ask: bool = False
    base: bytes = b""
    mine: bytes = b""
    theirs: bytes = b""


class MergeHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload: msgpack list of ``MergedCell``, answered by MERGED with the same number once applied.

    ``seq``: the last STATE or MERGED of the process that is in these cells; what it wrote later stands upon them. -1:
    not told (an older daemon).
    """

    merge_no: int
    seq: int = -1


class MergedHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload: msgpack list of ``Change``: what the merge functions decided. ``seq`` as in ``StateHeader``."""

    merge_no: int
    seq: int


class EmitHeader(msgspec.Struct, frozen=True, array_like=True):
    """Payload: JSON. ``type`` in the manner of CloudEvents, e.g. "quality.verdict"."""

    type: str


encode = msgspec.msgpack.Encoder().encode
_changes = msgspec.msgpack.Decoder(list[Change])


def decode_changes(payload: bytes) -> list[Change]:
    """Raises ``RemoteError``; what a process sends is checked before anything of it is believed."""
    changes = decoded(_changes.decode, payload, "state-junk")
    if len(changes) > CHANGES_MAX:
        raise RemoteError("state-changes", f"{len(changes)}, the limit is {CHANGES_MAX}")
    for change in changes:
        if not -AMOUNT_MAX <= change.amount <= AMOUNT_MAX:
            raise RemoteError("state-amount", f"{change.key[:60]}: {change.amount}, the limit is {AMOUNT_MAX}")
        if not 0 < len(change.key) <= KEY_CHARS_MAX:
            raise RemoteError("state-key", f"{len(change.key)} characters, the limit is {KEY_CHARS_MAX}")
        if len(change.value) > VALUE_BYTES_MAX:
            raise RemoteError(
                "state-value", f"{change.key[:60]}: {len(change.value)} bytes, the limit is {VALUE_BYTES_MAX}"
            )
    return changes


class Key(msgspec.Struct, frozen=True):
    """A state key taken apart. ``slot`` -1: the process is one instance. ``session`` "": the instance's own state."""

    name: str
    session: str = ""
    slot: int = -1

    def text(self) -> str:
        slot = f"{_SLOT}{self.slot}{_SLOT}" if self.slot >= 0 else ""
        session = f"{_SESSION}{self.session}{_SESSION}" if self.session else ""
        return slot + session + self.name

    def shown(self) -> str:
        """For people: ``slot 7, session bench, count``."""
        words = [f"slot {self.slot}"] if self.slot >= 0 else []
        words += [f"session {self.session}"] if self.session else []
        return ", ".join([*words, self.name])


def read_key(text: str) -> Key:
    """The parts of a key; a text without well-formed prefixes is a plain name."""
    slot, session, rest = -1, "", text
    if rest.startswith(_SLOT):
        number, mark, after = rest[1:].partition(_SLOT)
        if mark and number.isdecimal():
            slot, rest = int(number), after
    if rest.startswith(_SESSION):
        name, mark, after = rest[1:].partition(_SESSION)
        if mark and name:
            session, rest = name, after
    return Key(rest, session, slot)
