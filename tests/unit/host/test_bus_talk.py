"""What a local connection may say, and what of it goes up, however the bytes were cut."""

import os
import socket
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.bus_outbox import CALLS_BYTES_MAX, OTHERS_BYTES_MAX, Outbox
from meshnode.host.bus_talk import HELD_FRAMES_MAX, Phase, Talk
from meshnode.host.ipcpeer import peer_by_number, peer_of
from meshnode.model.errors import RemoteError
from meshnode.wire import state
from meshnode.wire.bus import FROM_AGENT
from meshnode.wire.calls import RegisterHeader, ResultHeader, encoded_result
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.parts import BUS_PART_BYTES, PART_BYTES, Assembly, part
from tests.fuzz.driver import Mutator, replay
from tests.fuzz.fuzz_state import CORPUS, one_input

CALL_IDS = st.sampled_from((b"a" * 16, b"b" * 16))
REGISTER = Frame(Kind.REGISTER, header=state.encode(RegisterHeader("a", "a/0", "t", 1)), payload=b"[]")


def state_of(call_id: bytes, seq: int = 1) -> Frame:
    return Frame(Kind.STATE, header=state.encode(state.StateHeader(call_id, seq)), payload=b"\x90")


def result_of(call_id: bytes) -> Frame:
    return Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id)), payload=b"1")


def welcomed() -> Talk:
    talk = Talk()
    talk.register([REGISTER])
    talk.phase = Phase.WELCOME
    return talk


# What an agent says at a time: a call's end with or without changes, a change of its own, other things.
CALL_END = CALL_IDS.map(lambda call_id: [state_of(call_id), result_of(call_id)])
SENTENCES = st.one_of(
    CALL_END,
    CALL_IDS.map(lambda call_id: [state_of(call_id, 1), state_of(call_id, 2), result_of(call_id)]),
    st.just([state_of(b"")]),
    st.just([Frame(Kind.CALL, header=b"x")]),
    st.just([Frame(Kind.PONG)]),
)


@given(sentences=st.lists(SENTENCES, max_size=12), cuts=st.lists(st.integers(1, 90), min_size=1, max_size=40))
def test_a_state_goes_up_with_the_result_of_its_call_however_the_stream_is_cut(
    sentences: list[list[Frame]], cuts: list[int]
) -> None:
    stream = memoryview(b"".join(encode(frame) for sentence in sentences for frame in sentence))
    talk, batches, at = welcomed(), list[list[Frame]](), 0
    while at < len(stream):
        step = cuts[len(batches) % len(cuts)]
        frames = talk.hear(stream[at : at + step])
        batches.append(talk.take(frames)[0] if frames else [])
        at += step
    assert not talk.holds, "every call was ended"
    said = [frame for sentence in sentences for frame in sentence if frame.kind is not Kind.PONG]
    assert [frame for batch in batches for frame in batch] == said
    for batch in batches:
        assert not batch or batch[-1].kind is not Kind.STATE or batch[-1] == state_of(b"")


def test_a_state_that_waits_goes_up_with_whatever_comes_next() -> None:
    talk = welcomed()
    assert talk.take([state_of(b"a" * 16)]) == ([], []) and talk.holds
    assert talk.take([Frame(Kind.PONG)]) == ([state_of(b"a" * 16)], []) and not talk.holds


def test_states_of_different_calls_do_not_wait_for_one_another() -> None:
    talk = welcomed()
    told, _ = talk.take([state_of(b"a" * 16), state_of(b"b" * 16)])
    assert told == [state_of(b"a" * 16)]


def test_states_wait_within_a_bound_of_frames_and_of_bytes() -> None:
    talk = welcomed()
    assert talk.take([state_of(b"a" * 16)] * HELD_FRAMES_MAX) == ([], [])
    with pytest.raises(RemoteError, match="bus-held"):
        talk.take([state_of(b"a" * 16)])
    large = Frame(Kind.STATE, header=state_of(b"a" * 16).header, payload=bytes(1024 * 1024))
    with pytest.raises(RemoteError, match="bus-held"):
        welcomed().take([large] * 21)


@given(kind=st.sampled_from(Kind))
def test_only_what_an_agent_may_say_is_taken(kind: Kind) -> None:
    if kind in FROM_AGENT or kind in (Kind.PING, Kind.PONG):
        assert welcomed().take([Frame(kind)])[0] == [Frame(kind)][: kind in FROM_AGENT]
    else:
        with pytest.raises(RemoteError, match="bus-kind"):
            welcomed().take([Frame(kind)])


@given(kind=st.sampled_from(Kind))
def test_nothing_but_one_registration_is_taken_before_the_welcome(kind: Kind) -> None:
    talk = Talk()
    if kind is not Kind.REGISTER:
        with pytest.raises(RemoteError, match="bus-unregistered"):
            talk.register([Frame(kind), REGISTER])
    with pytest.raises(RemoteError, match="bus-early"):
        talk.register([REGISTER, Frame(kind)])
    talk.register([REGISTER])
    with pytest.raises(RemoteError, match=r"bus-early|bus-kind"):
        talk.take([Frame(kind)])


def test_half_a_frame_is_no_sign_of_life() -> None:
    talk = welcomed()
    talk.missed = 2
    data = memoryview(encode(Frame(Kind.PONG)))
    talk.hear(data[:-1])
    assert talk.missed == 2 and talk.cut
    talk.hear(data[-1:])
    assert talk.missed == 0 and not talk.cut


# What waits


@given(sizes=st.lists(st.tuples(st.sampled_from((Kind.CALL, Kind.RESULT)), st.integers(1, 3_000_000)), max_size=40))
def test_what_waits_is_bounded_keeps_its_order_and_leaves_no_trace(sizes: list[tuple[Kind, int]]) -> None:
    outbox, kept = Outbox(), list[bytes]()
    for n, (kind, size) in enumerate(sizes):
        data = b"%c" % n * size
        if outbox.add(kind, data):
            kept.append(data)
    assert outbox.waiting_bytes <= CALLS_BYTES_MAX + OTHERS_BYTES_MAX
    taken = list[bytes]()
    while outbox:
        taken.append(outbox.take(100_000))
        assert len(taken[-1]) <= 100_000 or taken[-1] in kept
    assert b"".join(taken) == b"".join(kept)
    assert outbox.waiting_bytes == 0


PIECES = st.tuples(
    st.sampled_from((Kind.CALL, Kind.GRANT, Kind.RESULT, Kind.CHUNK, Kind.KEPT)),
    st.integers(0, 3),
    st.sampled_from((1, 500, BUS_PART_BYTES + 1, 300_000, 1_000_000)),
)


@given(said=st.lists(PIECES, max_size=40), taken_every=st.integers(1, 9))
def test_what_waits_in_parts_keeps_the_order_of_its_call_and_leaves_no_trace(
    said: list[tuple[Kind, int, int]], taken_every: int
) -> None:
    outbox, reader, assembly, kept = Outbox(), FrameReader(), Assembly(), list[Frame]()
    came = list[Frame]()

    def take() -> None:
        for frame in reader.feed(outbox.take(100_000)):
            whole = assembly.take(frame) if frame.kind is Kind.PART else frame
            came.extend([whole] if whole is not None else [])

    for number, (kind, call, size) in enumerate(said):
        frame = Frame(kind, header=state.encode([bytes([call]) * 16, number]), payload=b"%c" % number * size)
        if outbox.add_in_parts(frame):
            kept.append(frame)
        assert outbox.waiting_bytes <= CALLS_BYTES_MAX + OTHERS_BYTES_MAX
        if outbox and number % taken_every == 0:
            take()
    while outbox:
        take()
    assert outbox.waiting_bytes == 0 and not assembly
    for call in range(4):
        mine = [frame for frame in kept if frame.header[3:4] == bytes([call]) and frame.kind is not Kind.KEPT]
        assert [frame for frame in came if frame in mine] == mine
    assert len(came) == len(kept)


def test_of_long_frames_a_part_leaves_with_each_take_whatever_is_short() -> None:
    outbox = Outbox()
    result = Frame(Kind.RESULT, header=encoded_result(ResultHeader(b"a" * 16)), payload=bytes(1_000_000))
    assert outbox.add_in_parts(result)
    kept = encode(Frame(Kind.KEPT, payload=bytes(60_000)))
    for _ in range(40):
        assert outbox.add(Kind.KEPT, kept)
    for _ in range(8):
        assert [frame.kind for frame in FrameReader().feed(outbox.take(100_000))] == [Kind.KEPT, Kind.PART]


def welcomed_in_parts() -> Talk:
    talk = Talk()
    talk.register(
        [Frame(Kind.REGISTER, header=state.encode(RegisterHeader("a", "a/0", "t", 1, parts=True)), payload=b"[]")]
    )
    talk.phase = Phase.WELCOME
    return talk


def parts_of(frame: Frame, number: int = 1) -> list[Frame]:
    return [part(frame, number, at) for at in range(0, len(frame.payload), PART_BYTES)]


def test_long_frames_in_parts_go_up_whole_and_others_between_them() -> None:
    talk = welcomed_in_parts()
    large = Frame(Kind.RESULT, header=encoded_result(ResultHeader(b"a" * 16)), payload=bytes(range(250)) * 400)
    first, *more, last = parts_of(large)
    assert talk.take([first, result_of(b"b" * 16), *more]) == ([result_of(b"b" * 16)], [])
    assert talk.cut
    assert talk.take([last]) == ([large], []) and not talk.cut


def test_a_state_held_back_waits_for_its_result_though_parts_of_others_come() -> None:
    talk = welcomed_in_parts()
    first, *_ = parts_of(Frame(Kind.RESULT, header=encoded_result(ResultHeader(b"a" * 16)), payload=bytes(100_000)))
    assert talk.take([first, state_of(b"b" * 16)]) == ([], []) and talk.holds
    assert talk.take([first_of_another()]) == ([], []) and talk.holds
    assert talk.take([result_of(b"b" * 16)]) == ([state_of(b"b" * 16), result_of(b"b" * 16)], [])


def first_of_another() -> Frame:
    return parts_of(Frame(Kind.RESULT, header=encoded_result(ResultHeader(b"c" * 16)), payload=bytes(90_000)), 2)[0]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([Frame(Kind.PART, header=b"\xc1")], "part-malformed"),
        ([first_of_another(), first_of_another()], "part-again"),
        ([part(Frame(Kind.CHUNK, payload=bytes(90_000)), 1, PART_BYTES)], "part-unknown"),
        ([part(Frame(Kind.STATE, payload=bytes(90_000)), 1, 0)], "part-kind"),
        ([part(Frame(Kind.REGISTER, payload=bytes(90_000)), 1, 0)], "part-kind"),
        ([part(Frame(Kind.CALL, payload=bytes(2_000_000)), 1, 0)], "part-total"),
        ([part(Frame(Kind.CALL, payload=bytes(1_000_000)), n, 0) for n in range(9)], "part-many"),
    ],
)  # fmt: skip
def test_parts_of_nothing_are_refused_by_name(frames: list[Frame], reason: str) -> None:
    with pytest.raises(RemoteError) as refused:
        welcomed_in_parts().take(frames)
    assert refused.value.reason == reason


def test_who_did_not_say_that_it_knows_parts_sends_none() -> None:
    with pytest.raises(RemoteError, match="PART"):
        welcomed().take([first_of_another()])
    talk = welcomed_in_parts()
    talk.phase = Phase.ASKING
    with pytest.raises(RemoteError, match="PART"):
        talk.take([first_of_another()])


def test_calls_have_a_bound_of_their_own() -> None:
    outbox = Outbox()
    while outbox.add(Kind.CALL, bytes(100_000)):
        pass
    assert not outbox.add(Kind.PING, bytes(100_000))
    assert outbox.add(Kind.RESTORE, bytes(1_000_000)), "an agent's state is not turned away by calls that wait"


def test_many_tiny_frames_are_charged_for_what_they_cost() -> None:
    outbox, count = Outbox(), 0
    while outbox.add(Kind.PONG, bytes(12)):
        count += 1
    assert count < 40_000


# Who is there


def test_the_peer_of_a_socket_is_the_process_that_made_it() -> None:
    one, two = socket.socketpair()
    with one, two:
        peer = peer_of(one)
    assert peer is not None
    os.close(peer.pidfd)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert not peer.lineage or peer.lineage[0] == os.getppid()


def test_a_process_that_has_ended_is_nobody() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert peer_by_number(ended.pid, 0) is None


def test_a_process_nobody_has_waited_for_yet_has_ended_all_the_same() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert peer_by_number(ended.pid, 0) is None
    ended.wait()


def test_without_a_descriptor_nobody_is_taken_for_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        peer_by_number(os.getpid(), 0)


# Junk


def test_every_input_of_the_corpus_is_read_or_refused_by_name() -> None:
    assert replay(one_input, CORPUS) >= 30


def test_a_thousand_mutations_are_read_or_refused_by_name() -> None:
    mutator = Mutator([path.read_bytes() for path in sorted(CORPUS.iterdir())], seed=1)
    refused = dict[str, int]()
    for _ in range(1000):
        try:
            one_input(mutator.breed())
        except RemoteError as error:
            refused[error.reason] = refused.get(error.reason, 0) + 1
    assert {"bus-registration", "bus-kind", "state-junk", "emit-junk", "state-key"} <= refused.keys()
