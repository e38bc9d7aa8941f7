"""``ctx.state``: a mapping that changes as a whole or not at all."""

import asyncio
import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk import Ctx, StateError, Unavailable
from meshnode.sdk import cells as cells_module
from meshnode.sdk.cells import Cells
from meshnode.sdk.commits import UNKEPT_MAX, Commits
from meshnode.sdk.state import State, Turn
from meshnode.wire.frame import Frame
from meshnode.wire.state import (
    CHANGES_MAX,
    VALUE_BYTES_MAX,
    Change,
    KeptHeader,
    Op,
    RestoredCell,
    decode_changes,
    encode,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "c"])
STEP = st.tuples(st.sampled_from(["set", "delete", "setdefault", "mutate", "read"]), NAMES, JSON)


def begun(*given: RestoredCell) -> tuple[Cells, Turn, State]:
    cells = Cells()
    cells.restore(given)
    turn = Turn(cells)
    return cells, turn, State(turn)


def played(state: State | dict[str, object], step: tuple[str, str, object]) -> object:
    what, name, value = step
    match what:
        case "set":
            state[name] = copy.deepcopy(value)
        case "delete":
            return state.pop(name, "none")
        case "setdefault":
            return state.setdefault(name, copy.deepcopy(value))
        case "mutate":
            found = state.get(name)
            if isinstance(found, list):
                found.append(copy.deepcopy(value))
            elif isinstance(found, dict):
                found["new"] = copy.deepcopy(value)
        case _:
            return state.get(name, "none")
    return None


@given(turns=st.lists(st.tuples(st.lists(STEP, max_size=8), st.booleans()), max_size=5))
def test_it_is_a_dict_whose_turns_commit_or_drop(turns: list[tuple[list[tuple[str, str, object]], bool]]):
    cells, copied = Cells(), Cells()
    model: dict[str, object] = {}
    for steps, commit in turns:
        turn = Turn(cells)
        state, draft = State(turn), copy.deepcopy(model)
        for step in steps:
            assert played(state, step) == played(draft, step)
            assert dict(state) == draft and len(state) == len(draft) and set(state) == set(draft)
        if commit:
            changes = turn.settle()
            cells.apply(changes)
            copied.apply(decode_changes(encode(changes)))
            model = draft
        turn.drop()
        assert dict(State(Turn(cells))) == model == dict(State(Turn(copied)))
        assert cells.size_bytes == copied.size_bytes
        assert cells.size_bytes == sum(
            len(key.name) + len(cell) for key, cell in cells.all() if isinstance(cell, bytes)
        )


def test_what_was_only_read_is_no_change_however_it_was_spaced():
    _, turn, state = begun(RestoredCell("a", b'{"x": [1, 2.0]}'), RestoredCell("b", b"[true]"))
    assert state["a"] == {"x": [1, 2.0]} and state["b"] == [True]
    assert turn.settle() == []


def test_a_change_that_python_takes_for_equal_is_found():
    _, turn, state = begun(RestoredCell("a", b"[1]"))
    state["a"][0] = True
    assert turn.settle() == [Change("a", Op.SET, b"[true]")]


def test_counters_add_and_are_read_with_what_the_turn_added():
    cells, turn, state = begun(RestoredCell("hits", b"5", counter=True))
    hits = state.counter("hits")
    hits.add()
    hits.add(-3)
    assert hits.value == state["hits"] == 3
    changes = turn.settle()
    assert changes == [Change("hits", Op.ADD, amount=-2)]
    cells.apply(changes)
    assert Turn(cells).cell("", "hits") == 3


def test_a_counter_deleted_and_counted_again_begins_at_nothing():
    cells, turn, state = begun(RestoredCell("hits", b"5", counter=True))
    del state["hits"]
    state.counter("hits").add(2)
    changes = turn.settle()
    assert changes == [Change("hits", Op.DELETE), Change("hits", Op.ADD, amount=2)]
    cells.apply(changes)
    assert Turn(cells).cell("", "hits") == 2


def test_sessions_are_states_of_their_own():
    ctx = Ctx.for_test({"a": 1}, session="bench")
    ctx.session()["a"] = 2
    ctx.session("other")["b"] = 3
    assert (dict(ctx.state), dict(ctx.session("bench")), dict(ctx.session("other"))) == ({"a": 1}, {"a": 2}, {"b": 3})


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("", 1, "state-key"),
        ("\x1d1\x1dx", 1, "state-key"),
        ("\x1ex", 1, "state-key"),
        ("\ud800", 1, "state-key"),
        ("k" * 497, 1, "state-key"),
        (7, 1, "state-key"),
        ("a", object(), "state-not-json"),
        ("a", {1: object()}, "state-not-json"),
        ("a", "\ud800", "state-not-json"),
        ("a", "x" * VALUE_BYTES_MAX, "state-value-too-big"),
        ("hits", 1, "state-counter"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_where_it_is_written(name: str, value: object, code: str):
    _, turn, state = begun(RestoredCell("hits", b"5", counter=True), RestoredCell("a", b"1"))
    with pytest.raises(StateError) as refused:
        state[name] = value
    assert refused.value.code == code
    assert turn.settle() == [], "nothing of it is left"


def test_a_list_that_grew_too_big_in_place_is_refused_at_the_end():
    _, turn, state = begun()
    state["a"] = []
    state["a"].append("x" * VALUE_BYTES_MAX)
    with pytest.raises(StateError, match="state-value-too-big"):
        turn.settle()


def test_a_loop_of_lists_is_refused():
    _, turn, state = begun()
    state["a"] = loop = []
    loop.append(loop)
    with pytest.raises(StateError, match="state-not-json"):
        turn.settle()


@pytest.mark.parametrize("wrong", [1.5, True, "1", None])
def test_a_counter_takes_whole_numbers_only(wrong: object):
    with pytest.raises(TypeError, match="whole numbers"):
        Ctx.for_test().state.counter("a").add(wrong)  # type: ignore[arg-type]


def test_a_counter_stays_in_its_range_and_a_value_is_no_counter():
    state = Ctx.for_test({"a": 1}).state
    with pytest.raises(StateError, match="62 bits"):
        state.counter("b").add(2**63)
    with pytest.raises(StateError, match="holds a value"):
        state.counter("a").add(1)
    with pytest.raises(StateError, match="holds a value"):
        _ = state.counter("a").value


def test_too_many_keys_in_one_call_are_refused():
    _, turn, state = begun()
    for number in range(CHANGES_MAX + 1):
        state[str(number)] = number
    with pytest.raises(StateError, match="state-too-many-changes"):
        turn.settle()


def test_a_full_state_takes_nothing_more_but_may_shrink(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cells_module, "STATE_BYTES_MAX", 100)
    cells, turn, state = begun(RestoredCell("a", b'"' + b"x" * 90 + b'"'))
    state["b"] = "0123456789"
    with pytest.raises(StateError, match="state-full"):
        turn.settle()
    turn.drop()
    turn.begin()
    state["a"] = "short"
    cells.apply(turn.settle())
    assert cells.size_bytes == 8


def test_a_turn_that_is_over_takes_nothing():
    _, turn, state = begun(RestoredCell("a", b"[1]"))
    turn.settle()
    for wrong in (lambda: state.update(b=1), lambda: state.pop("a"), lambda: state.counter("c").add(1)):
        with pytest.raises(StateError, match="state-no-turn"):
            wrong()
    assert state["a"] == [1], "reading is allowed"


# Commits


def test_unconfirmed_changes_are_bounded_and_leave_when_they_are_kept():
    async def check() -> None:
        sent: list[tuple[Frame, ...]] = []
        told: list[int] = []
        commits = Commits(Cells(), lambda *frames: sent.append(frames))
        for _ in range(UNKEPT_MAX):
            assert commits.room.is_set()
            commits.commit([Change("a", Op.ADD, amount=1)], on_kept=told.append)
        assert not commits.room.is_set()
        commits.kept(KeptHeader(2, 7))
        assert commits.room.is_set() and told == [7, 7]
        sent.clear()
        commits.resend()
        assert len(sent) == UNKEPT_MAX - 2

    asyncio.run(check())


def test_changes_that_fit_no_frame_are_refused_and_change_nothing():
    async def check() -> None:
        cells = Cells()
        commits = Commits(cells, lambda *frames: None)
        big = msgspec.json.encode("x" * (VALUE_BYTES_MAX - 2))
        with pytest.raises(StateError, match="state-value-too-big"):
            commits.commit([Change("a", Op.SET, big), Change("b", Op.SET, big)])
        assert cells.size_bytes == 0
        commits.commit([Change("a", Op.SET, big)])

    asyncio.run(check())


# For tests of authors


def test_a_context_for_tests_answers_calls_and_remembers_events():
    async def items(n: int) -> object:
        return n + 1

    async def check() -> None:
        ctx = Ctx.for_test(calls={"one.plain": lambda n: n, "one.async": items, "one.many": lambda n: [*range(n)]})
        assert await ctx.call("one.plain", n=1) == 1
        assert await ctx.call("one.async", n=1) == 2
        assert [item async for item in ctx.stream("one.many", n=3)] == [0, 1, 2]
        with pytest.raises(Unavailable, match="no answer for one"):
            await ctx.call("one.other")
        ctx.emit("x.y", {"a": 1})
        assert ctx.emitted == [("x.y", {"a": 1})] and ctx.deadline_s == float("inf")

    asyncio.run(check())
    assert Ctx.for_test(calls={"one.plain": lambda: 5}).call("one.plain") == 5, "as in a skill's thread"


def test_log_lines_are_one_line_with_fields(capsys: pytest.CaptureFixture[str]):
    log = Ctx.for_test(slot=3).log
    log.info("two\nlines", ok=True, score=0.5, what=object)
    log.error("bad", part="a b")
    out, err = capsys.readouterr()
    assert out == ('level=info text="two\\nlines" instance="test/3" ok=true score=0.5 what="<class \'object\'>"\n')
    assert err == 'level=error text="bad" instance="test/3" part="a b"\n'
