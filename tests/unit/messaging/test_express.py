"""The express lane decides nothing: whatever happens, it does what the slow path would."""

import msgspec
import pytest
from hypothesis import given, settings

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.messages import Post
from meshnode.messaging import letters
from meshnode.messaging.calls import Plan
from meshnode.messaging.express import Express
from meshnode.messaging.local import LocalUnits
from meshnode.messaging.plans import Plans, Source
from meshnode.model.ids import AgentConn, NodeId
from meshnode.registry.index import Index
from meshnode.registry.offers import SkillOffer
from meshnode.wire.frame import Frame, Kind
from tests.unit.messaging.town import (
    START_US,
    House,
    Town,
    call_frame,
    call_header,
    call_of,
    cancel_frame,
    node_id,
    result_frame,
    result_of,
    state_frame,
)
from tests.unit.messaging.twins import STEPS, Step, play

PEER = node_id(2)


def lean_rows(house: House) -> int:
    return house.switch._calls.lean_count  # pyright: ignore[reportPrivateUsage]


def plans(house: House) -> int:
    return len(house.switch._express.plans)  # pyright: ignore[reportPrivateUsage]


def cancel_frame_of(call: Frame) -> Frame:
    return letters.cancel_frame(call_of(call).call_id)


@settings(max_examples=400, deadline=None)
@given(script=STEPS)
def test_calls_by_the_express_lane_and_by_the_slow_path_are_not_to_be_told_apart(script: list[Step]) -> None:
    play(script)


# Calls of a peer and of a door, answered in one turn; the second ones go by the express lane.
MIXED: list[Step] = [("peer calls", 0, 0, 0), ("door calls", 0, 0, 0), ("answer many", 0, 0, 0)] * 2


def test_answers_for_peers_and_for_doors_in_one_turn_keep_their_order() -> None:
    play(MIXED)


class Forgetful(Index):
    """A planted fault: what it learns is not counted."""

    def learn(self, node: NodeId, key: str, value: bytes) -> None:
        super().learn(node, key, value)
        self.changes = 0


# A peer's call is answered here; then another agent of this node, that does not run, takes the skill over.
TAKEN_OVER: list[Step] = [("peer calls", 0, 0, 0), ("offer", 2, 0, 0), ("peer calls", 0, 0, 0)]


LONE: list[Step] = [
    ("agent calls", 0, 0, 0), ("answer", 0, 0, 0), ("peer calls", 0, 3, 0), ("peer calls", 0, 0, 0),
    ("answer", 0, 0, 0), ("far calls", 1, 0, 0), ("answer", 0, 0, 0), ("answer", 0, 0, 0), ("door calls", 0, 0, 0),
    ("answer", 0, 0, 0),
]  # fmt: skip


def test_frames_that_come_alone_go_straight_as_soon_as_there_is_a_plan() -> None:
    """Calls of an agent and of a peer, pings of a peer, calls to a peer, and the answers of both, for doors, too."""
    steps, two_of_an_agent, of_a_door = len(LONE), 1, 1
    assert play(LONE * 3).alone - play(LONE * 2).alone == steps + two_of_an_agent - of_a_door


@pytest.mark.parametrize(("owner", "counts"), [(Express, "_took"), (LocalUnits, "gave_back")])
def test_a_lone_answer_that_is_not_counted_is_found_out(
    monkeypatch: pytest.MonkeyPatch, owner: type, counts: str
) -> None:
    """A planted fault of that way alone: what comes with others is counted as ever."""
    answer = Express._answer  # pyright: ignore[reportPrivateUsage]

    def uncounted(self: Express, source: Source, header: bytes, payload: bytes, now: Instant) -> Effect | None:
        with monkeypatch.context() as planted:
            planted.setattr(owner, counts, _uncounted)
            return answer(self, source, header, payload, now)

    monkeypatch.setattr(Express, "_answer", uncounted)
    with pytest.raises(AssertionError):
        play(LONE * 3)


def _uncounted(*_: object) -> None:
    """Nothing is."""


PEERS_CALL, DOORS_CALL = ("peer calls", 0, 0, 0), ("door calls", 0, 0, 0)
# What the lane must not take as it comes, behind another one that has shown the way; one byte of arguments may come.
JUDGED: dict[str, list[Step]] = {
    "a deadline beyond what is allowed": [PEERS_CALL, ("peer calls", 0, 0, 21)],
    "the id of a call in flight": [PEERS_CALL, PEERS_CALL, ("peer calls", 0, 0, 28)],
    "arguments that are too long": [PEERS_CALL, ("peer calls", 0, 0, 17)],
    "a ping that is too long": [("peer calls", 0, 3, 0), ("peer calls", 0, 3, 17)],
    "an answer in another's name": [PEERS_CALL, PEERS_CALL, ("answer", 0, 2, 1)],
}


@pytest.mark.parametrize("what", JUDGED)
def test_what_comes_alone_is_judged_as_what_comes_with_others(what: str) -> None:
    play(JUDGED[what], payload_bytes_max=1)


def test_a_door_hears_who_answered_alone_from_this_node_not_from_the_agent() -> None:
    play([DOORS_CALL, DOORS_CALL, ("answer", 0, 2, 1)])


@pytest.mark.parametrize(("limit", "most"), [("held_bytes_max", 16), ("calls_max", 8)])
def test_calls_that_come_together_have_no_more_room_than_one_by_one(limit: str, most: int) -> None:
    five_at_once, limits = ("many call", 0, 4, 17), {limit: most}
    play([five_at_once] * 2, Index, **limits)


def test_an_answer_that_is_too_long_is_left_to_the_slow_path_alone_and_among_others() -> None:
    house = House(1)
    conn, town = house.agent(), Town(house)
    for number in (1, 2, 3):
        town.hears(house, PEER, call_frame(number.to_bytes(16)))
    _, first, second = (call_of(frame).call_id for frame in house.asked_of_agents())
    too_long = result_frame(second, payload=bytes(letters.RESULT_BYTES_MAX + 1))
    assert house.switch.lone(conn, too_long, town.now) is None and lean_rows(house) == 2
    longest = result_frame(first, payload=too_long.payload[1:])
    (post,) = house.switch.from_agent(conn, (longest, too_long), town.now)
    assert isinstance(post, Post)
    assert [result_of(frame).code for frame in post.frames] == ["", "result-too-long"]


def test_an_index_that_does_not_count_what_it_learns_is_found_out() -> None:
    play(TAKEN_OVER)
    with pytest.raises(AssertionError, match=r"express|straight"):
        play(TAKEN_OVER, index=Forgetful)


def test_plain_calls_and_their_answers_go_by_the_express_lane() -> None:
    """Two at a time: the first shows the way, and both ends of the second are cut."""
    house = House(1)
    conn, town = house.agent(), Town(house)
    for number in (1, 2):
        town.hears(house, PEER, call_frame(number.to_bytes(16), payload=b"[1]"))
    first, second = (call_of(frame) for frame in house.asked_of_agents())
    assert lean_rows(house) == 1
    assert msgspec.structs.replace(second, call_id=first.call_id) == first
    answers = tuple(result_frame(each.call_id, instance="liar/7") for each in (first, second))
    (post,) = house.switch.from_agent(conn, answers, town.now)
    assert isinstance(post, Post) and post.peer == PEER
    assert [result_of(frame).instance for frame in post.frames] == ["words/0", "words/0"]
    assert house.switch.in_flight == lean_rows(house) == 0


@pytest.mark.parametrize("plans_max", [0, 1024])
def test_of_pings_in_a_row_one_under_the_id_of_a_call_in_flight_is_repeated_and_a_too_long_one_is_refused(
    plans_max: int,
) -> None:
    house = House(1, plans_max=plans_max, payload_bytes_max=100)
    house.agent()
    town = Town(house)
    taken, pings = call_frame((9).to_bytes(16)), [call_frame(n.to_bytes(16), "mesh.ping") for n in range(1, 6)]
    town.hears(house, PEER, taken, pings[0])
    too_long = call_frame((7).to_bytes(16), "mesh.ping", payload=b"x" * 101)
    row = (*pings[1:3], call_frame((9).to_bytes(16), "mesh.ping"), pings[3], too_long, pings[4])
    (post,) = house.switch.from_peer(PEER, row, town.now)
    assert isinstance(post, Post)
    ends = [result_of(frame) for frame in post.frames]
    assert [(end.call_id[-1], bool(end.code)) for end in ends] == [
        (2, False), (3, False), (4, False), (7, True), (5, False),
    ]  # fmt: skip
    assert house.switch.counters["call-repeated"] == 1 and house.switch.in_flight == 1


def test_a_plain_answer_ends_a_lean_call_and_anything_else_makes_it_whole() -> None:
    house = House(1)
    conn, town = house.agent(), Town(house)
    for number in (1, 2, 3):
        town.hears(house, PEER, call_frame(number.to_bytes(16)))
    _, *leans = (call_of(frame).call_id for frame in house.asked_of_agents())
    express = house.switch._express  # pyright: ignore[reportPrivateUsage]
    slow: list[Frame] = []

    def says(source: NodeId | AgentConn, frame: Frame) -> None:
        express.turn(source, (frame,), town.now, lambda _, each: slow.append(each) or [])

    says(conn, result_frame(leans[0], "own.sorry"))
    says(PEER, result_frame(leans[0]))
    assert len(slow) == 2, "another code, and somebody who was not asked"
    says(conn, result_frame(leans[0]))
    assert len(slow) == 2
    assert (house.switch.in_flight, lean_rows(house)) == (2, 1)
    town.says(house, conn, state_frame(leans[1]), result_frame(leans[1]))
    assert (house.switch.in_flight, lean_rows(house)) == (2, 0)


@pytest.mark.parametrize(
    "more",
    [
        {"idempotency_key": "k"}, {"session": "s"}, {"slot": 0}, {"stream": True}, {"trace": "t"}, {"hlc": 7},
        {"trace": "\u00e9" * 27 + "x"},
    ],
)  # fmt: skip
def test_what_is_not_plain_takes_the_slow_path(more: dict[str, object]) -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    for number in (1, 2):
        town.hears(house, PEER, call_frame(number.to_bytes(16), **more))  # pyright: ignore[reportArgumentType]
    assert house.switch.in_flight == 2 and lean_rows(house) == 0


@pytest.mark.parametrize("deadline_ms", [1, 20, 127, 128, 255, 256, 70_000])
@pytest.mark.parametrize("traced", [False, True])
def test_calls_with_little_time_and_calls_with_a_trace_of_their_own_go_by_the_express_lane(
    deadline_ms: int, *, traced: bool
) -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    for number in (1, 2, 3):
        trace = f"00-{number:032x}-{number:016x}-01" if traced else ""
        town.hears(house, PEER, call_frame(number.to_bytes(16), deadline_ms=deadline_ms, trace=trace))
    first, *others = (call_of(frame) for frame in house.asked_of_agents())
    assert lean_rows(house) == len(others) == 2
    for number, asked in enumerate(others, start=2):
        trace = f"00-{number:032x}-{number:016x}-01" if traced else ""
        assert asked == msgspec.structs.replace(first, call_id=asked.call_id, trace=trace)


def test_a_mark_of_a_trace_with_no_trace_behind_it_is_junk_also_where_traced_calls_have_a_plan() -> None:
    """Whoever sent it would have this node pass on what no other can read."""
    house = House(1)
    house.agent()
    town = Town(house)
    calls = [call_frame(number.to_bytes(16), trace=f"00-{number:032x}-{1:016x}-01") for number in (1, 2)]
    town.hears(house, PEER, *calls)
    assert house.switch.in_flight == 2
    header = calls[0].header
    town.hears(house, PEER, Frame(Kind.CALL, header=header[:3] + (3).to_bytes(16) + header[19:-61] + header[-6:]))
    assert house.switch.in_flight == 2 and house.switch.counters["call-junk"] == 1


# Two nodes offer a skill, and the nearer one is called; its link breaks, and when it is back it is the further one.
NEARER: list[Step] = [("second", 1, 1, 0), ("link", 0, 0, 0), ("link", 0, 0, 7), ("far calls", 1, 0, 0)]


def test_where_several_answer_each_call_goes_to_whom_the_slow_path_would_choose() -> None:
    twins = play(NEARER)
    assert len({who for who, _ in twins.asked}) == 2


def test_an_express_lane_that_keeps_to_whom_it_chose_first_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    toward = Plans.toward

    def loyal(self: Plans, plan: Plan, node: NodeId, offer: SkillOffer) -> Plan:
        return next(iter(plan.towards.values()), None) or toward(self, plan, node, offer)

    monkeypatch.setattr(Plans, "toward", loyal)
    with pytest.raises(AssertionError, match="express"):
        play(NEARER)


def test_where_several_answer_calls_have_lean_rows() -> None:
    house = House(1)
    town = Town(house)
    for peer in (PEER, node_id(3)):
        house.offer(peer, "far.see", "far")
        house.views.heard[peer], house.views.rtt[peer] = START_US, 1_000
    for ticket in (1, 2, 3):
        town.ask(house, ticket, call_header("far.see"))
    assert (house.switch.in_flight, lean_rows(house)) == (3, 2)


def test_plans_are_bounded_however_many_ways_of_calling_there_are() -> None:
    house = House(1, plans_max=8)
    house.agent()
    town = Town(house)
    for number in range(100):
        town.hears(house, PEER, call_frame(number.to_bytes(16), caller=f"agent/a{number}/n2"))
    assert house.switch.in_flight == 100
    assert plans(house) <= 8


def test_a_lean_call_is_cancelled_at_its_callee_and_ends_at_its_deadline() -> None:
    house = House(1)
    conn, town = house.agent(), Town(house)
    for number in (1, 2, 3):
        town.hears(house, PEER, call_frame(number.to_bytes(16)))
    assert lean_rows(house) == 2
    town.hears(house, PEER, cancel_frame((2).to_bytes(16)))
    assert house.to_agents[-1] == (conn, cancel_frame_of(house.asked_of_agents()[1]))
    town.run(2 * SECOND)
    assert house.switch.in_flight == 0
    ends = [frame for _, frame in house.to_agents if frame.kind is Kind.CANCEL]
    assert len(ends) == 3


def test_a_thousand_lean_calls_wake_nobody_but_twenty_times_a_second() -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(deadline_ms=60_000))
    for ticket in range(2, 1_000):
        town.ask(house, ticket, call_header(deadline_ms=60_000))
    assert lean_rows(house) == 998
    town.run(59 * SECOND)
    assert lean_rows(house) == 998, "none is due"
    town.run(2 * SECOND)
    assert house.switch.in_flight == 0 and len(house.ended) == 999
