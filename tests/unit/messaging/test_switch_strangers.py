"""Whatever strangers send: refused by name, bounded, and never the end of the node."""

import msgspec
import pytest

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import MS
from meshnode.messaging.switch import SwitchConfig
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind, size
from tests.unit.messaging.town import (
    ID,
    SKILL,
    answer,
    call_frame,
    call_header,
    call_of,
    pair,
    result_frame,
    result_of,
    trio,
)

# -- strangers ---------------------------------------------------------------------------------------------------------


def test_a_result_of_somebody_who_was_not_asked_is_refused() -> None:
    town, a, b, c, there, _ = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    call_id = call_of(b.asked_of_agents()[0]).call_id
    eavesdropper = a.agent("my.own", agent="mine")
    sent = a.switch.counters.snapshot()
    assert sent == {}
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    town.hears(a, c.node, result_frame(ours, payload=b"lies"))
    town.says(a, eavesdropper, result_frame(ours, payload=b"lies"))
    town.hears(a, b.node, result_frame(call_id, payload=b"lies"))  # the callee's own id means nothing here
    assert a.ended == []
    assert a.told(Reject) == [Reject(c.node, "result-foreign")]
    assert a.switch.counters.snapshot() == {"result-foreign": 2, "result-late": 1}
    answer(town, b, there)
    assert [ended.payload for ended in a.ended] == [b"42"]


def test_a_second_result_is_late() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    answer(town, b, conn)
    answer(town, b, conn, payload=b"again")
    assert [ended.payload for ended in a.ended] == [b"42"]
    assert b.switch.counters["result-late"] == 1


def test_a_repeated_call_of_a_peer_or_an_agent_does_not_run_twice() -> None:
    town, a, b, conn = pair()
    town.hears(b, a.node, call_frame(ID), call_frame(ID))
    town.hears(b, a.node, call_frame(ID))
    assert len(b.asked_of_agents()) == 1
    town.says(b, conn, call_frame(ID, skill=SKILL), call_frame(ID, skill=SKILL))
    assert len(b.asked_of_agents()) == 2, "the same id of another caller is another call"
    assert b.switch.counters["call-repeated"] == 3


_JUNK = {
    "empty": lambda _: b"",
    "never-used": lambda _: b"\xc1",
    "types": lambda _: msgspec.msgpack.encode([ID, 5]),
    "not-utf8": lambda rest: msgspec.msgpack.encode([ID, "words.count", *rest]).replace(b"count", b"c\xff\xfent"),
    "short-id": lambda rest: msgspec.msgpack.encode([ID[:15], "words.count", *rest]),
    "long-id": lambda rest: msgspec.msgpack.encode([b"x" * 15_000, "words.count", *rest]),
}


@pytest.mark.parametrize("junk", _JUNK)
@pytest.mark.parametrize(("kind", "rest"), [(Kind.CALL, [5]), (Kind.RESULT, []), (Kind.CANCEL, [])])
def test_junk_of_peers_is_refused_and_junk_of_agents_counted(kind: Kind, rest: list[int], junk: str) -> None:
    town, a, b, conn = pair()
    frame = Frame(kind, header=_JUNK[junk](rest))
    town.hears(b, a.node, frame)
    town.says(b, conn, frame)
    (reject,) = b.told(Reject)
    assert isinstance(reject, Reject)
    assert reject.reason == f"{kind.name.lower()}-{'id' if junk.endswith('-id') else 'junk'}"
    assert b.switch.counters["agent-junk"] == 1
    assert b.switch.in_flight == 0


def test_a_frame_that_is_no_call_is_refused() -> None:
    town, a, b, conn = pair()
    town.hears(b, a.node, Frame(Kind.CONTROL))
    town.says(b, conn, Frame(Kind.REGISTER))
    assert b.told(Reject) == [Reject(a.node, "call-frame-kind", "call-frame-kind: CONTROL")]
    assert b.switch.counters["agent-frame-kind"] == 1


@pytest.mark.parametrize("field", ["skill", "agent", "idempotency_key", "trace"])
def test_a_text_too_long_to_be_passed_on_is_answered_as_invalid(field: str) -> None:
    """A frame that does not fit would end the node: nobody may bring that about."""
    town, a, b, _ = pair()
    mine = a.agent("my.own", agent="mine")
    town.ask(a, 1, msgspec.structs.replace(call_header(), **{field: "x" * 100_000}))
    (ended,) = a.ended
    assert ended.code == "invalid" and field in ended.message
    long = msgspec.structs.replace(call_header(call_id=ID), **{field: "\U0001f600" * 4_000})
    town.says(a, mine, Frame(Kind.CALL, header=msgspec.msgpack.encode(long)))
    ((_, frame),) = a.to_agents
    assert result_of(frame).code == "invalid"
    assert b.to_agents == []


@pytest.mark.parametrize("skill", ["", "*", "words.*", "words count", ".hidden", "a/b", "ä"])
def test_what_cannot_be_the_name_of_a_skill_is_invalid(skill: str) -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(skill))
    assert [ended.code for ended in a.ended] == ["invalid"]
    assert b.to_agents == []


def test_long_words_of_an_agent_are_cut_and_its_name_is_what_the_daemon_knows() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    call_id = call_of(b.asked_of_agents()[0]).call_id
    town.says(b, conn, result_frame(call_id, "c" * 3_000, b"null", "\U0001f600" * 3_000, "eyes/n9"))
    town.run(5 * MS)
    (ended,) = a.ended
    assert (len(ended.code), len(ended.message), ended.instance) == (100, 1_000, "words/0")
    assert a.switch.counters.snapshot() == {"calls-failed": 1}, "an agent invents no names of counters"


def test_a_result_that_would_not_fit_into_a_frame_again_is_an_error() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    bare = result_frame(call_of(b.asked_of_agents()[0]).call_id)
    full = msgspec.structs.replace(bare, payload=b"1" * (FRAME_BYTES_MAX - HEADER_BYTES_MAX))
    assert size(full) <= FRAME_BYTES_MAX
    town.says(b, conn, full)
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["result-too-long"]


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    town, a, b, conn = pair(calls_max=3)
    for ticket in range(5):
        town.ask(a, ticket)
    assert [(ended.ticket, ended.code) for ended in a.ended] == [(3, "overloaded"), (4, "overloaded")]
    town.run(5 * MS)
    answer(town, b, conn)
    town.ask(a, 5)
    assert len(a.ended) == 3, "there is room again"


def test_no_more_bytes_are_held_than_allowed() -> None:
    town, a, b, conn = pair(held_bytes_max=1_000, payload_bytes_max=600)
    town.ask(a, 1, payload=b"x" * 601)
    town.ask(a, 2, payload=b"x" * 600)
    town.ask(a, 3, payload=b"x" * 401)
    town.ask(a, 4, payload=b"x" * 400)
    assert [(ended.ticket, ended.code) for ended in a.ended] == [(1, "invalid"), (3, "overloaded")]
    town.run(5 * MS)
    answer(town, b, conn)
    town.ask(a, 5, payload=b"x" * 300)
    assert len(a.ended) == 3


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        SwitchConfig(calls_max=0)
    with pytest.raises(ValueError, match="positive"):
        SwitchConfig(held_bytes_max=-1)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_what_one_turn_sends_to_one_peer_leaves_as_one_post() -> None:
    town, a, b, _ = pair()
    frames = tuple(call_frame(bytes([n]) * 16, skill="see.cats", payload=b"%d" % n) for n in range(50))
    (post,) = b.switch.from_peer(a.node, frames, town.now)
    assert [result_of(frame).call_id[0] for frame in post.frames] == list(range(50)), "in order"
