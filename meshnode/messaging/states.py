"""What an agent says about its state: read, and turned into facts.

A STATE stands before the RESULT of the call that caused it, in the same message: so the answer is known when the change
is handed on, and both are kept together.
"""

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.messaging import letters
from meshnode.messaging.calls import Call
from meshnode.messaging.local import Unit
from meshnode.messaging.messages import Emitted, MergeDone, StateWritten
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import Change, StateHeader, decode_changes

EMITS_BURST = 512  # of the 4,000 events that a node keeps
EMITS_PER_S = 16


def read(frame: Frame) -> tuple[StateHeader, tuple[Change, ...]]:
    """Raises ``RemoteError``."""
    return letters.read_state(frame), tuple(decode_changes(frame.payload))


def written(
    unit: Unit, header: StateHeader, changes: tuple[Change, ...], call: Call | None, follows: Frame | None
) -> StateWritten:
    """The fact. ``call``: the row whose answer waits for it, if there is one; ``follows``: the frame after it."""
    key = call.header.idempotency_key if call is not None else header.idempotency_key
    answer = _answer(header.call_id, follows) if key else b""
    call_id = call.call_id if call is not None else b""
    return StateWritten(
        unit.name, unit.conn, call_id, changes, header.seq, header.merge_no, key if answer else "", answer
    )


def merged(unit: Unit, frame: Frame) -> list[Effect]:
    """Raises ``RemoteError``."""
    header = letters.read_merged(frame)
    return [MergeDone(unit.name, unit.conn, header.merge_no, header.seq, tuple(decode_changes(frame.payload)))]


def emitted(unit: Unit, frame: Frame, now: Instant) -> list[Effect]:
    """Raises ``RemoteError``, also when one process emits so much that nothing else would be left in the journal."""
    told = letters.read_emit(frame)
    since_us = EMITS_BURST * SECOND if unit.emits_us is None else now.mono_us - unit.emits_us
    earned = since_us * EMITS_PER_S // SECOND
    if earned:
        unit.emits_left, unit.emits_us = min(EMITS_BURST, unit.emits_left + earned), now.mono_us
    if not unit.emits_left:
        raise RemoteError("emit-flood", f"more than {EMITS_PER_S} events a second")
    unit.emits_left -= 1
    return [Emitted(unit.name, *told)]


def answered_id(follows: Frame | None) -> bytes:
    """Which call the frame after a STATE answers, b"" if none."""
    if follows is None or follows.kind is not Kind.RESULT:
        return b""
    try:
        return letters.read_result(follows).call_id
    except RemoteError:
        return b""


def _answer(call_id: bytes, follows: Frame | None) -> bytes:
    """The JSON to keep under the key: that of a call that succeeded, and can be passed on. Bytes are none."""
    if follows is None or follows.kind is not Kind.RESULT or len(follows.payload) > letters.RESULT_BYTES_MAX:
        return b""
    try:
        result = letters.read_result(follows)
    except RemoteError:
        return b""
    return follows.payload if result.call_id == call_id and not (result.code or result.raw) else b""
