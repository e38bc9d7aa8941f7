"""Fuzz target: what an authenticated peer says beside gossip and documents. The first byte chooses the parser:

    0 a frame of a call: its kind, its header, its payload   1 a letter about bundles   2 an offer of a skill
    3 an agent's units   4 the facts of a machine   5 a load   6 a question to this node   7 an answer to one of ours
    8 arguments of which some are bytes, as an agent of ours reads them

Property beside "no exception but RemoteError": what is refused quietly is ``None`` or nothing, what is accepted is
within its bounds and may be passed on.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from meshnode.deployments.bundles import Bundles
from meshnode.kernel.effects import Channel, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.messages import ControlReceived
from meshnode.messaging import letters
from meshnode.messaging.messages import CallEnded
from meshnode.model import commands
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.model.loads import load_view
from meshnode.node import asking, snapshot
from meshnode.registry import offers
from meshnode.sdk.skills import BadArguments, Skill
from meshnode.wire import plain
from meshnode.wire.frame import Frame, Kind

CORPUS = Path(__file__).parent / "corpus" / "peers"
PEER = NodeId(bytes(32))
NOW = Instant(10 * SECOND, 1_800_000_000_000)
QUESTIONS = (commands.ListStates(), commands.ReadLogs(), commands.Why(subject="x"), commands.ListLinks())
HeaderT = TypeVar("HeaderT")
_questions: msgspec.json.Decoder[asking.Askable] = msgspec.json.Decoder(asking.Askable)

_READERS: dict[Kind, Callable[[Frame], object]] = {
    Kind.CALL: letters.read_call, Kind.RESULT: letters.read_result, Kind.CANCEL: letters.read_cancel,
    Kind.CHUNK: letters.read_chunk, Kind.GRANT: letters.read_grant, Kind.STATE: letters.read_state,
    Kind.MERGED: letters.read_merged, Kind.EMIT: letters.read_emit,
}  # fmt: skip


class Alone:
    """Links to the one peer."""

    def peers(self) -> Sequence[NodeId]:
        return (PEER,)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return NOW.mono_us

    def rtt_us(self, peer: NodeId) -> int | None:
        return None


def _frame(data: bytes) -> None:
    kinds = tuple(_READERS)
    kind, length = kinds[(data[0] if data else 0) % len(kinds)], data[1] if len(data) > 1 else 0
    frame = Frame(kind, header=data[2 : 2 + length], payload=data[2 + length :])
    cut_as_read(frame)
    read = _READERS[kind](frame)
    if isinstance(read, letters.CallHeader):
        letters.overlong(read)
    if isinstance(read, letters.ResultHeader):
        assert len(letters.result_frame(read, b"").header) < letters.HEADER_BYTES_MAX


def cut_as_read(frame: Frame) -> None:
    """What the express lane cuts out of a header is what the decoder reads in it."""
    if frame.kind is Kind.CALL and (cut := plain.cut_call(frame.header)) is not None:
        header = _read(letters.read_call, frame)
        if header is not None and plain.as_written(header, frame.header):
            assert b"".join(plain.split(header)) == cut[0] and cut[3] == header.deadline_ms
    if frame.kind is Kind.RESULT and (written := plain.instance(frame.header)) is not None:
        header = _read(letters.read_result, frame)
        if header is None:  # then only a name that is none may be at fault, which is looked at before it is believed
            assert _text(written) is None, "an answer the decoder would refuse"
        else:
            assert (header.code, header.message, header.durability, header.version) == ("", "", "", 0)
            assert header.instance == _text(written) and not header.replayed


def _read(read: Callable[[Frame], HeaderT], frame: Frame) -> HeaderT | None:
    try:
        return read(frame)
    except RemoteError:
        return None


def _text(written: bytes) -> str | None:
    try:
        return msgspec.msgpack.decode(written, type=str)
    except ValueError:
        return None


def _bundle(data: bytes) -> None:
    for effect in Bundles(Alone()).handle(ControlReceived(PEER, Channel.BUNDLE, data), NOW):
        if isinstance(effect, Reject):
            raise RemoteError(effect.reason)


def _skill(data: bytes) -> None:
    offer = offers.decode_skill(data)
    if offer is None:
        raise RemoteError("no-offer")
    assert len(offers.encode_offer(offer)) <= offers.VALUE_BYTES_MAX


def _agent(data: bytes) -> None:
    if offers.decode_agent(data) is None:
        raise RemoteError("no-units")


def _machine(data: bytes) -> None:
    snapshot.machine(data)
    snapshot.json_object(data)


def _load(data: bytes) -> None:
    msgspec.json.encode(load_view(data))


def _question(data: bytes) -> None:
    try:
        _questions.decode(data)
    except (ValueError, RecursionError):  # as ``asking.asked`` answers it
        raise RemoteError("ask-junk") from None


def _answer(data: bytes) -> None:
    question = QUESTIONS[(data[0] if data else 0) % len(QUESTIONS)]
    try:
        view = asking.answer_of(question, CallEnded(1, b"", "", "", data[1:], PEER, "", 0, 1))
    except (ValueError, RecursionError):
        raise RemoteError("answer-junk") from None
    msgspec.json.encode(view)


def _takes(image: bytes, word: str = "", few: bytes | None = None) -> None:
    """A skill of this type."""


_TAKES = Skill("fuzz.takes", _takes)


def _arguments(data: bytes) -> None:
    try:
        took = _TAKES.arguments(data, raw=True)
    except BadArguments:
        raise RemoteError("arguments-bad") from None
    image, word, few = took["image"], took["word"], took["few"]
    assert isinstance(image, bytes) and isinstance(word, str) and isinstance(few, bytes | None)
    assert len(image) + len(few or b"") <= len(data)


PARSERS = (_frame, _bundle, _skill, _agent, _machine, _load, _question, _answer, _arguments)


def one_input(data: bytes) -> None:
    PARSERS[data[0] % len(PARSERS) if data else 0](data[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("peers", one_input, CORPUS))
