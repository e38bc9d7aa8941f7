"""The room of the journals alone: many nodes asked for many readers, in bounds, each question ended once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.messages import CallEnded
from meshnode.model.commands import GatherJournals, JournalCursor, ReadJournal
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.ids import NodeId
from meshnode.model.views import Failure, JournalsView, JournalView
from meshnode.node import gathering
from meshnode.node.gathering import ASK_WAIT_MS, KEPT_BYTES_MAX, LINGER_US, REST_US
from meshnode.node.journals import FORGET_US, GATHERINGS_MAX, NODES_MAX
from meshnode.node.readers import LIMIT_MAX, READERS_MAX, WAIT_MS_MAX, WAITS_MAX
from tests.unit.node.journal_house import NOWHERE, RUN, House, cursors, entry, view


def test_news_of_one_node_is_answered_after_a_moment_for_the_others() -> None:
    house = House("b", "c", "d")
    house.gather(1, cursors(a=0, b=0, c=0, d=0))
    assert {put.question.wait_ms for put in house.put.values()} == {ASK_WAIT_MS}
    house.run(SECOND)
    house.answers("b", view(entry(1), entry(2)))
    house.run(LINGER_US // 2)
    house.answers("c", view(entry(5)))
    assert 1 not in house.replies
    house.run(LINGER_US)
    assert house.numbers(1) == {"b": [1, 2], "c": [5]}
    assert [item.node_id for item in house.told(1).items] == [(b"b" * 32).hex(), (b"c" * 32).hex()]
    assert house.told(1).missing == {}


def test_when_nobody_else_can_have_news_the_answer_is_at_once() -> None:
    house = House("b")
    house.gather(1, cursors(b=0))
    house.answers("b", view(entry(1)))
    house.run(0)
    assert house.numbers(1) == {"b": [1]}


def test_without_news_the_answer_is_empty_when_the_time_is_over_and_questions_go_on() -> None:
    house = House("b")
    house.gather(1, cursors(a=0, b=0), wait_ms=2_000)
    house.run(2 * SECOND)
    assert house.numbers(1) == {} and house.told(1).missing == {}
    house.gather(2, cursors(a=0, b=0), wait_ms=2_000)
    assert house.puts == 1, "the next request finds the question that is under way"
    house.answers("b", view(entry(1)))
    house.run(LINGER_US)
    assert house.numbers(2) == {"b": [1]}


def test_an_answer_between_two_requests_is_kept_for_the_next() -> None:
    house = House("b")
    house.gather(1, cursors(b=0), wait_ms=0)
    house.run(0)
    house.answers("b", view(entry(1)))
    house.gather(2, cursors(b=0))
    house.run(0)
    assert (house.numbers(2), house.puts) == ({"b": [1]}, 1)
    house.gather(3, cursors(b=0), wait_ms=0)
    assert house.puts == 2, "the reader has not got it: it is asked for again"


def test_a_cursor_that_moved_voids_what_was_asked_and_kept_for_the_old_one() -> None:
    house = House("b", "c")
    house.gather(1, cursors(b=0, c=0), wait_ms=0)
    house.run(0)
    house.answers("b", view(entry(1)))
    old = house.put["r", house.nodes["c"]].ticket
    house.gather(2, cursors(b=9, c=9), wait_ms=0)
    assert house.given_up == [old]
    assert {put.question.cursor.number for put in house.put.values()} == {9}
    late = CallEnded(old, b"", "", "", msgspec.json.encode(view(entry(1))), house.nodes["c"], "", 0, 1)
    assert house.room.ended(late, house.now) == []
    house.run(0)
    assert house.numbers(2) == {} and house.told(2).missing == {}, "the question under way is another one"


def test_a_node_the_reader_does_not_name_any_more_is_asked_no_more() -> None:
    house = House("b", "c")
    house.gather(1, cursors(b=0, c=0), wait_ms=0)
    house.run(0)
    house.gather(2, cursors(b=0), wait_ms=0)
    assert list(house.put) == [("r", house.nodes["b"])] and len(house.given_up) == 1


def test_its_own_journal_is_read_directly_and_news_of_it_end_the_wait() -> None:
    house = House()
    house.happens()
    house.gather(1, cursors(a=0))
    house.run(0)
    assert house.numbers(1) == {"a": [1]}
    house.gather(2, cursors(a=1))
    house.run(SECOND)
    assert 2 not in house.replies
    house.happens()
    house.run(0)
    assert house.numbers(2) == {"a": [2]} and house.puts == 0


def test_a_node_without_news_is_asked_again_while_somebody_waits_and_else_not() -> None:
    house = House("b")
    house.gather(1, cursors(b=0))
    house.run(ASK_WAIT_MS * MS)
    house.answers("b", view())
    assert house.puts == 2
    house.run(2 * SECOND)
    assert house.numbers(1) == {}
    house.run(4 * SECOND)
    house.answers("b", view())
    assert house.puts == 2 and not house.put


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (b"", "unreachable", "unreachable: why"),
        (Failure(code="denied", message="no", exit_code=4), "", "denied: no"),
        (b"[]", "", "bad-answer: it cannot be read: "),
        (b'"\xff"', "", "bad-answer: it cannot be read: "),
        (b"[" * 50_000, "", "bad-answer: it cannot be read: "),
        (Failure(code="x", message="y", exit_code=4_000), "", "bad-answer: it cannot be read: "),
        (view(entry(2), entry(2)), "", "bad-answer: its events are not in order"),
        (view(entry(1), anew=True, run="<script>"), "", "bad-answer: its run is no run"),
        (view(entry(1 << 60)), "", "bad-answer: a number in it is none"),
        (view(entry(-1)), "", "bad-answer: a number in it is none"),
        (view(entry(1, boot=-1)), "", "bad-answer: a number in it is none"),
        (view(entry(1, "x" * 5_000)), "", "bad-answer: a text in it has more than 4096 characters"),
        (view(*(entry(n) for n in range(1, 19))), "", "bad-answer: it has 18 events, 17 were asked for"),
        (view(), "", "it does not wait for news"),
    ],
)
def test_whatever_a_node_answers_it_is_missing_with_the_reason_and_rests(answer: object, code: str, why: str) -> None:
    house = House("b")
    house.gather(1, cursors(b=0), wait_ms=1_000, limit=17)
    house.answers("b", answer, code)
    house.run(SECOND)
    assert house.told(1).items == [] and house.told(1).missing["b"].startswith(why)
    house.gather(2, cursors(b=0), wait_ms=1_000)
    assert house.puts == 1
    house.run(REST_US)
    house.gather(3, cursors(b=0), wait_ms=1_000)
    assert house.puts == 2


def test_what_is_behind_the_cursor_already_is_refused() -> None:
    house = House("b")
    house.gather(1, cursors(b=7), wait_ms=1_000)
    house.answers("b", view(entry(7), entry(8)))
    house.run(SECOND)
    assert house.told(1).missing == {"b": "bad-answer: its events are not in order"}
    house.run(REST_US)
    house.gather(2, cursors(b=7))
    house.answers("b", view(entry(1), anew=True))
    house.run(0)
    assert house.told(2).items[0].anew and house.numbers(2) == {"b": [1]}


def test_who_cannot_be_asked_is_missing_and_is_asked_as_soon_as_it_is_back() -> None:
    house = House("b")
    house.down["b"] = "unreachable: silent"
    house.gather(1, cursors(b=0, z=0))
    house.run(SECOND)
    assert house.puts == 0
    del house.down["b"]
    house.take(house.room.reachable(house.nodes["b"], house.now))
    assert house.puts == 1
    house.down["b"] = "unreachable: silent"
    house.run(8 * SECOND)
    assert house.told(1).missing == {"z": "no node of that name is known here"}, "b is being asked"
    house.answers("b", b"", "timeout")
    house.gather(2, cursors(b=0), wait_ms=0)
    house.run(0)
    assert house.told(2).missing == {"b": "unreachable: silent"}
    assert house.room.reachable(NodeId(b"q" * 32), house.now) == []


def test_whose_turn_has_not_come_is_not_missing_and_is_asked_by_the_next_request() -> None:
    house = House("b", "c")
    house.later = {"c"}
    house.gather(1, cursors(b=0, c=0), wait_ms=1_000)
    house.run(SECOND)
    assert house.puts == 1 and house.told(1).missing == {}
    house.later.clear()
    house.gather(2, cursors(b=0, c=0), wait_ms=1_000)
    assert house.puts == 2


def test_a_reader_that_does_not_come_back_is_forgotten_with_its_questions() -> None:
    house = House("b")
    house.gather(1, cursors(b=0), wait_ms=0)
    house.run(FORGET_US - 1)
    assert house.put
    house.run(2)
    assert not house.put and house.room.deadline() is None
    house.gather(2, cursors(b=0))
    house.room.dropped(2, house.now)
    house.run(9 * SECOND)
    assert 2 not in house.replies and house.put, "its asker is gone, the reader may come again"
    house.run(FORGET_US)
    assert not house.put and house.room.deadline() is None


def test_a_second_request_of_a_reader_ends_the_first() -> None:
    house = House("b")
    house.gather(1, cursors(b=0))
    house.gather(2, cursors(b=0))
    first = house.replies[1]
    assert isinstance(first, Failure) and first.code == "superseded" and first.next_step
    house.gather(3, cursors(b=0), reader="other")
    assert 2 not in house.replies


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_and_what_is_not_kept_is_asked_for_again() -> None:
    names = [f"n{number}" for number in range(60)]
    house = House()
    house.nodes |= {name: NodeId(name.encode().ljust(32)) for name in names}
    house.gather(1, cursors(**dict.fromkeys(names, 0)), wait_ms=0, limit=LIMIT_MAX)
    house.run(0)
    share = house.put["r", house.nodes["n0"]].question.limit
    assert len(names) * share * gathering.EVENT_BYTES <= KEPT_BYTES_MAX, "what most events take fits for all nodes"
    long = [entry(number, "x" * 400) for number in range(1, share + 1)]
    for name in names:
        house.answers(name, view(*long))
    house.gather(2, cursors(**dict.fromkeys(names, 0)), limit=LIMIT_MAX)
    house.run(LINGER_US)
    told = house.told(2)
    assert 0 < len(msgspec.json.encode(told)) <= KEPT_BYTES_MAX + 100_000
    assert 0 < len(told.items) < len(names) and told.missing == {}
    assert len(house.put) == len(names) - len(told.items), "the others are asked again"


def test_requests_beyond_the_bounds_are_refused_and_change_nothing() -> None:
    house = House("b")
    many = {f"n{number}": NOWHERE for number in range(NODES_MAX + 1)}
    bad: list[GatherJournals] = [
        GatherJournals(reader="r", cursors=many),
        GatherJournals(reader="r", cursors={"b": NOWHERE}, limit=LIMIT_MAX + 1),
        GatherJournals(reader="r", cursors={"b": NOWHERE}, limit=0),
        GatherJournals(reader="r", cursors={"b": NOWHERE}, wait_ms=WAIT_MS_MAX + 1),
        GatherJournals(reader="r", cursors={"b": NOWHERE}, wait_ms=-1),
        GatherJournals(reader="", cursors={"b": NOWHERE}),
        GatherJournals(reader="a\nb", cursors={"b": NOWHERE}),
        GatherJournals(reader="r" * 65, cursors={"b": NOWHERE}),
        GatherJournals(reader="r", cursors={"b": JournalCursor(-1, 0, "")}),
        GatherJournals(reader="r", cursors={"b": JournalCursor(1, 1 << 53, "")}),
        GatherJournals(reader="r", cursors={"b": JournalCursor(1, 1, "not hex")}),
    ]
    for command in bad:
        with pytest.raises(Invalid) as raised:
            house.room.gather(1, command, house.now)
        assert raised.value.next_step
    assert house.room.deadline() is None and house.room.committed(house.now) == {}


def test_only_so_many_readers_gather_wait_and_are_remembered() -> None:
    house = House("b")
    for number in range(GATHERINGS_MAX):
        house.gather(number, cursors(b=0), reader=f"r{number}")
    with pytest.raises(LocalError, match="already"):
        house.room.gather(99, GatherJournals(reader="late", cursors={"b": NOWHERE}), house.now)
    house.run(9 * SECOND + FORGET_US)
    for number in range(WAITS_MAX):
        house.take(house.room.read(1_000 + number, ReadJournal(reader=f"r{number}", wait_ms=8_000), "", house.now))
    with pytest.raises(LocalError, match="already"):
        house.room.read(1, ReadJournal(reader="late", wait_ms=1), "", house.now)
    assert len(house.room.committed(house.now)) == READERS_MAX
    house.happens()
    assert all(isinstance(house.replies[1_000 + number], JournalView) for number in range(WAITS_MAX))
    assert house.room.deadline() is None


# -- readers of this node ----------------------------------------------------------------------------------------------


def test_a_node_that_asks_again_for_a_reader_has_given_up_what_it_asked_before() -> None:
    house = House()
    for number in (-1, -2):
        house.take(house.room.read(number, ReadJournal(reader="r", wait_ms=6_000), "b", house.now))
    house.take(house.room.read(-3, ReadJournal(reader="r", wait_ms=6_000), "c", house.now))
    house.take(house.room.read(4, ReadJournal(reader="r", wait_ms=6_000), "", house.now))
    house.take(house.room.read(5, ReadJournal(reader="r", wait_ms=6_000), "", house.now))
    assert list(house.replies) == [-1]
    house.room.dropped(4, house.now)
    house.happens()
    assert sorted(house.replies) == [-3, -2, -1, 5]


def test_how_far_readers_are_is_told_in_words() -> None:
    house = House()
    for _ in range(3):
        house.happens()
    house.take(house.room.read(1, ReadJournal(reader="r"), "", house.now))
    house.take(house.room.read(-2, ReadJournal(reader="r", cursor=JournalCursor(1, 2, RUN)), "b", house.now))
    house.take(house.room.read(-3, ReadJournal(reader="x", cursor=JournalCursor(9, 2, RUN)), "b", house.now))
    house.run(2 * SECOND)
    assert house.room.committed(house.now) == {
        "r": "nothing of this journal is committed yet, asked 2 s ago",
        "r@b": "events up to 2 of 3 are committed, 2 s ago",
        "x@b": "nothing of this journal is committed yet, asked 2 s ago",
    }


# -- whatever happens --------------------------------------------------------------------------------------------------

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.sampled_from("abc")),
        st.tuples(st.just("answer"), st.sampled_from("bc")),
        st.tuples(st.just("fail"), st.sampled_from("bc")),
        st.tuples(st.just("gather"), st.sampled_from((0, 100, 8_000))),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("time"), st.sampled_from((1, 30_000, 2 * SECOND, 61 * SECOND))),
    ),
    max_size=50,
)


class Player:
    """A reader that commits what it is told, and two nodes with journals of their own."""

    def __init__(self) -> None:
        self.house = House("b", "c")
        self.journals: dict[str, int] = {"a": 0, "b": 0, "c": 0}  # how many events each has
        self.cursors = cursors(a=0, b=0, c=0)
        self.committed: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.number = 0

    def event(self, name: str) -> None:
        self.journals[name] += 1
        if name == "a":
            self.house.happens()

    def answer(self, name: str) -> None:
        put = self.house.put.get(("r", self.house.nodes[name]))
        if put is not None:
            fresh = range(put.question.cursor.number + 1, self.journals[name] + 1)
            self.house.answers(name, view(*map(entry, fresh), node=name))

    def fail(self, name: str) -> None:
        if ("r", self.house.nodes[name]) in self.house.put:
            self.house.answers(name, b"", "unreachable")

    def gather(self, wait_ms: int) -> None:
        self.commit()
        self.number += 1
        self.house.gather(self.number, dict(self.cursors), wait_ms)

    def leave(self, _: int) -> None:
        self.house.room.dropped(self.number, self.house.now)

    def time(self, for_us: int) -> None:
        self.house.run(for_us)

    def commit(self) -> None:
        answer = self.house.replies.pop(self.number, None)
        for item in answer.items if isinstance(answer, JournalsView) else ():
            self.committed[item.node] += [event.number for event in item.items]
            self.cursors[item.node] = JournalCursor(1, item.items[-1].number, RUN)


@given(acts=ACTS)
def test_every_event_is_committed_once_whatever_comes_between(acts: list[tuple[str, int | str]]) -> None:
    player = Player()
    for act, what in acts:
        getattr(player, act)(what)
    for _ in range(4):
        player.time(REST_US)
        player.gather(8_000)
        player.answer("b")
        player.answer("c")
        player.time(8 * SECOND)
        player.commit()
    assert player.committed == {name: list(range(1, count + 1)) for name, count in player.journals.items()}
    assert len(player.house.put) <= 2
    player.time(FORGET_US)
    assert player.house.room.deadline() is None and not player.house.put
