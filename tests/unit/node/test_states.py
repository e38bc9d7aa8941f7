"""Questions about what agents remember, and about their logs: answered here, by who runs the unit, or from a copy."""

import msgspec
import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import (
    CallSkill,
    FoldState,
    ForgetState,
    GetStatus,
    ListConflicts,
    ListStates,
    ReadLogs,
    RestoreState,
    RunAgent,
    Scale,
    ShowState,
    StateDiff,
    StateHistory,
    StopAgent,
    Why,
)
from meshnode.model.document_views import ConflictsView
from meshnode.model.ids import InstanceId
from meshnode.model.unit_views import HistoryView, StateDiffView, StatesView, StateView
from meshnode.model.views import CallView, Done, Failure, LogLine, LogsView, StatusView, WhyView
from meshnode.node.asking import ANSWERS
from meshnode.node.inputs import CommandDropped
from meshnode.wire.calls import CallHeader
from tests.unit.node.mesh import Box, Mesh, simulated

NOTES = RunAgent(name="notes", argv=simulated("notes.name", answer_ms=0, stateful=1))
UNIT = InstanceId("notes/0")


def put(mesh: Mesh, box: Box, key: str, value: object, **more: object) -> CallView:
    view = mesh.call(box, "notes.set", arguments={"key": key, "value": value}, **more)
    assert isinstance(view, CallView), view
    return view


def three() -> tuple[Mesh, Box, Box, Box]:
    """alpha, beta and gamma. notes run on beta and remember a = 1, then a = 2 and b = "x"."""
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    b.answer(NOTES)
    mesh.run(2 * SECOND)
    put(mesh, b, "a", 1)
    b.answer(FoldState(agent="notes"))
    mesh.run(100 * MS)
    put(mesh, b, "a", 2)
    put(mesh, b, "b", "x")
    mesh.run(3 * SECOND)
    return mesh, a, b, c


def shown(box: Box, unit: str = "notes", **more: str) -> StateView:
    view = box.answer(ShowState(unit=unit, **more))
    assert isinstance(view, StateView), view
    return view


# -- asked here and there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["alpha", "beta", "gamma"])
def test_a_state_is_shown_alike_wherever_it_is_asked_for(where: str) -> None:
    mesh, *_ = three()
    view = shown(mesh.boxes[where])
    assert (view.unit, view.node, view.role, view.version) == ("notes/0", "beta", "owner", 3)
    assert view.keys == {"a": 2, "b": "x"}
    assert shown(mesh.boxes[where], key="b").keys == {"b": "x"}


@pytest.mark.parametrize("where", ["alpha", "beta"])
def test_history_difference_and_restore_are_answered_by_who_runs_the_unit(where: str) -> None:
    mesh, *_ = three()
    box = mesh.boxes[where]
    history = box.answer(StateHistory(unit="notes/0"))
    assert isinstance(history, HistoryView) and history.node == "beta"
    assert [(row.kind, row.version) for row in history.items] == [("entry", 3), ("entry", 2), ("checkpoint", 1)]
    diff = box.answer(StateDiff(unit="notes", first=1))
    assert isinstance(diff, StateDiffView) and diff.changed == {"a": [1, 2], "b": [None, "x"]}
    restored = box.answer(RestoreState(unit="notes", version=1))
    assert isinstance(restored, StateView) and restored.keys == {"a": 1} and restored.version > 3
    mesh.run(SECOND)
    view = mesh.call(box, "notes.get", arguments={"key": "a"})
    assert isinstance(view, CallView) and view.result["value"] == 1, "the process knows as well"


@pytest.mark.parametrize("where", ["alpha", "beta"])
def test_a_version_that_is_not_kept_any_more_is_not_found_and_says_where_to_look(where: str) -> None:
    mesh, *_ = three()
    box = mesh.boxes[where]
    for command in (StateDiff(unit="notes", first=77), RestoreState(unit="notes", version=77)):
        view = box.failure(command)
        assert (view.code, view.exit_code) == ("not-found", 3)
        assert view.next_step == "meshnode state history notes/0 lists what can be read", "of who was asked"


def test_cut_off_the_copy_answers_with_its_role_and_sets_nothing() -> None:
    mesh, a, b, _ = three()
    b.answer(RunAgent(name="pinned", argv=simulated("x", answer_ms=0, stateful=1), on="beta"))
    mesh.run(2 * SECOND)
    assert isinstance(mesh.call(b, "pinned.set", arguments={"key": "k", "value": 1}), CallView)
    mesh.run(3 * SECOND)
    (holder,) = a.units()["pinned/0", "beta"].copies
    box = mesh.boxes[holder]
    mesh.isolate(b)
    for _ in range(2):  # first while beta is asked in vain, then when it is known to be silent
        view = shown(box, "pinned")
        assert (view.node, view.role, view.keys) == (holder, "copy", {"k": 1})
        mesh.run(10 * SECOND)
    refused = box.failure(RestoreState(unit="pinned", version=1))
    assert (refused.code, refused.exit_code) == ("offline", 6) and "beta" in refused.message
    assert isinstance(box.answer(StateHistory(unit="pinned")), HistoryView)


def test_what_nobody_holds_is_not_found() -> None:
    _, a, _, _ = three()
    for command in (ShowState(unit="other"), StateHistory(unit="other/3"), StateDiff(unit="other", first=1)):
        view = a.failure(command)
        assert (view.code, view.exit_code) == ("no-such-state", 3)
    assert a.failure(RestoreState(unit="other", version=1)).exit_code == 6
    a.has(FoldState(agent="other"), "not-found", 3)


@pytest.mark.parametrize("unit", ["", "/", "notes/x", "notes/0/1", "/0", "agent/", "notes/-1"])
def test_what_names_no_unit_is_invalid(unit: str) -> None:
    _, a, _, _ = three()
    a.has(ShowState(unit=unit), "invalid", 2)


def test_a_checkpoint_is_written_where_the_unit_runs_and_when_several_nodes_have_units_they_are_named() -> None:
    mesh, a, b, _ = three()
    view = a.answer(FoldState(agent="notes"))
    assert isinstance(view, StatesView) and [(row.node, row.role) for row in view.items] == [("beta", "owner")]
    mesh.run(SECOND)
    history = b.answer(StateHistory(unit="notes"))
    assert isinstance(history, HistoryView) and history.items[0].kind == "checkpoint"
    b.answer(Scale(name="notes", replicas=2))
    mesh.run(5 * SECOND)
    (without,) = [box for box in mesh.boxes.values() if not box.running()]
    refused = without.has(FoldState(agent="notes"), "not-found", 3)
    assert "beta" in refused.next_step and "ask there" in refused.next_step


def test_a_checkpoint_that_was_asked_for_is_written_when_the_answer_comes() -> None:
    mesh, _, b, _ = three()
    put(mesh, b, "c", 3)
    view = b.answer(FoldState(agent="notes"))
    assert isinstance(view, StatesView)
    assert [(row.checkpoint, row.entries) for row in view.items] == [(row.version, 0) for row in view.items]


def test_a_checkpoint_that_cannot_be_written_is_answered_all_the_same() -> None:
    mesh, _, b, _ = three()
    put(mesh, b, "c", 3)
    b.disk = "no space left"
    view = b.answer(FoldState(agent="notes"))
    assert isinstance(view, StatesView)
    assert [row.checkpoint < row.version for row in view.items] == [True]


def test_states_are_listed_by_who_holds_them() -> None:
    _, a, b, c = three()
    roles = dict[str, str]()
    for box in (a, b, c):
        view = box.answer(ListStates(agent="notes"))
        assert isinstance(view, StatesView)
        roles.update((row.node, row.role) for row in view.items)
    (holder,) = a.units()[UNIT, "beta"].copies
    assert roles == {"beta": "owner", holder: "copy"}


def test_a_state_is_forgotten_only_when_nobody_wants_it() -> None:
    mesh, a, b, c = three()
    view = b.has(ForgetState(unit="notes/0"), "invalid", 2)
    assert "is wanted" in view.message
    a.answer(StopAgent(name="notes"))
    mesh.run(3 * SECOND)
    assert shown(b).role == "resting"
    for box in (a, b, c):
        assert isinstance(box.answer(ForgetState(unit="notes")), Done)
    mesh.run(SECOND)
    assert b.failure(ShowState(unit="notes")).code == "no-such-state"
    b.answer(NOTES)
    mesh.run(2 * SECOND)
    assert mesh.call(b, "notes.get", arguments={"key": "a"}).result["value"] is None  # type: ignore[union-attr]


def test_a_stopped_agent_that_is_run_again_remembers() -> None:
    mesh, a, b, c = three()
    a.answer(StopAgent(name="notes"))
    mesh.run(3 * SECOND)
    a.answer(NOTES)
    mesh.run(3 * SECOND)
    assert len(a.running() + b.running() + c.running()) == 1
    assert mesh.call(b, "notes.get", arguments={"key": "b"}).result["value"] == "x"  # type: ignore[union-attr]


# -- concurrent values -------------------------------------------------------------------------------------------------


def test_keys_set_on_both_sides_of_a_cut_are_shown_as_conflicts_until_somebody_sets_them_again() -> None:
    mesh, a, b, c = three()
    mesh.isolate(b)
    mesh.until(lambda: bool(a.running() or c.running()))
    mesh.run(2 * SECOND)
    winner = a if a.running() else c
    put(mesh, winner, "a", "there")
    put(mesh, b, "a", "here")
    mesh.heal()
    mesh.until(lambda: not b.running(), 30 * SECOND)
    mesh.run(SECOND)
    view = winner.answer(ListConflicts())
    assert isinstance(view, ConflictsView)
    (conflict,) = view.items
    assert (conflict.kind, conflict.name, conflict.field) == ("State", "notes/0", "a")
    assert sorted(conflict.values) == ["here", "there"]
    assert sorted(conflict.writers) == sorted(["beta", winner.name])
    assert shown(winner).conflicts == ["a"]
    status = winner.answer(GetStatus())
    assert isinstance(status, StatusView) and "1 fields or keys have concurrent values" in "; ".join(status.problems)
    put(mesh, winner, "a", "both")
    mesh.run(SECOND)
    view = winner.answer(ListConflicts())
    assert isinstance(view, ConflictsView) and view.items == []


# -- logs and stories of other nodes -----------------------------------------------------------------------------------


def line(number: int, unit: str = "notes/0") -> LogLine:
    return LogLine(hlc=number, at_ms=number, node="beta", unit=unit, stream="out", text=f"line {number}")


def test_logs_are_read_on_the_node_where_they_lie() -> None:
    mesh, a, b, _ = three()
    b.log = [line(1), line(2), line(3, "other/0")]
    for box in (a, b):
        view = box.answer(ReadLogs(agent="notes", node="beta"))
        assert isinstance(view, LogsView) and [each.text for each in view.items] == ["line 1", "line 2"]
        view = box.answer(ReadLogs(node="beta", after=1, limit=1))
        assert isinstance(view, LogsView) and ([each.hlc for each in view.items], view.more) == ([2], True)
    assert a.answer(ReadLogs(agent="notes")) == LogsView(items=[]), "its own"
    a.has(ReadLogs(node="omega"), "not-found", 3)
    for limit in (0, -1, 10**6):
        for node in ("", "beta"):
            view = a.failure(ReadLogs(node=node, limit=limit))
            assert (view.code, view.exit_code) == ("invalid", 2)
    mesh.kill(b)
    mesh.run(3 * SECOND)
    a.has(ReadLogs(node="beta"), "offline", 6)


def test_a_story_is_told_by_the_node_that_lived_it() -> None:
    mesh, a, b, _ = three()
    view = a.answer(Why(subject="notes", node="beta"))
    assert isinstance(view, WhyView) and any("started, pid" in event.text for event in view.events)
    assert a.failure(Why(subject="nothing", node="beta")).code == "not-found"
    mesh.kill(b)
    mesh.run(3 * SECOND)
    a.has(Why(subject="notes", node="beta"), "offline", 6)


def test_questions_leave_nothing_behind() -> None:
    mesh, a, b, _ = three()
    for box in (a, b):
        box.answer(ReadLogs(agent="notes", node="beta"))
        box.answer(StateDiff(unit="notes", first=1))
        box.failure(StateDiff(unit="notes", first=77))
        box.answer(ShowState(unit="notes"))
        number = box.ask(ReadLogs(agent="notes", node="beta"))
        box.tell(CommandDropped(number))
        number = box.ask(StateDiff(unit="notes", first=1))
        box.tell(CommandDropped(number))
    mesh.run(30 * SECOND)
    for box in (a, b):
        desk = box.core.desk
        assert desk._calls == {} and desk._states._fetching == {} and desk._states._waiting == {}
        assert box.core.switch.in_flight == 0


# -- between nodes -----------------------------------------------------------------------------------------------------


def test_every_question_between_nodes_has_a_view_it_is_answered_with() -> None:
    for command, view in ANSWERS.items():
        assert isinstance(command.__name__, str) and view.__name__.endswith("View")


def ask_raw(mesh: Mesh, box: Box, payload: bytes, to: Box, skill: str = "mesh.ask") -> Failure | CallView:
    """What a node of another version, or a bad one, may send."""
    number = box.ask(CallSkill(skill="mesh.ping", to=to.name, deadline_s=9))  # takes the door's number
    mesh.run(SECOND)
    box.replies.pop(number)
    box.core.desk._calls[number] = CallSkill(skill=skill)
    header = CallHeader(call_id=b"", skill=skill, deadline_ms=9_000)
    box.take(box.core._settle(box.core.switch.ask(number, header, payload, box.now, node=to.node), box.now))
    mesh.run(2 * SECOND)
    (view,) = box.replies[number]
    assert isinstance(view, Failure | CallView)
    return view


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'{"ask":"down"}', b'{"ask":"state"}', b'{"ask":"state","unit":"\xff"}', b"[" * 100_000,
     b'{"ask":"run","name":"x"}', b'{"ask":"state","unit":"notes","more":1}'],
)  # fmt: skip
def test_what_is_no_question_between_nodes_is_invalid_and_not_the_end(payload: bytes) -> None:
    mesh, a, b, _ = three()
    view = ask_raw(mesh, a, payload, b)
    assert isinstance(view, Failure) and view.code == "invalid"
    assert b.exit is None and b.core.counters["ask-junk"] == 1
    assert b.running() == ["notes/0"]


def test_what_no_node_answers_is_said_so() -> None:
    mesh, a, b, _ = three()
    view = ask_raw(mesh, a, b"{}", b, skill="mesh.steal")
    assert isinstance(view, Failure) and view.code == "not-found"


def test_a_state_too_long_for_one_answer_is_told_so_and_is_shown_where_it_is() -> None:
    mesh, a, b, _ = three()
    for number in range(3):
        put(mesh, b, f"big/{number}", "x" * 500_000)
    view = a.failure(ShowState(unit="notes"))
    assert view.code == "result-too-long" and "ask for less" in view.message
    assert len(shown(b).keys) == 5
    assert shown(a, key="big/1").keys == {"big/1": "x" * 500_000}


def test_an_answer_that_makes_no_sense_is_a_bad_answer() -> None:
    _, a, b, _ = three()
    replied = b.core.desk.ask_for_peer
    for payload in (b"[]", b"\xff", msgspec.json.encode({"code": "x", "message": "y", "exit_code": 4_000})):
        b.core.desk.ask_for_peer = (  # type: ignore[method-assign]
            lambda number, command, peer, now, payload=payload: b.core.switch.answer(-number, "", "", payload, now)
        )
        assert a.failure(ShowState(unit="notes")).code == "bad-answer"
    b.core.desk.ask_for_peer = replied  # type: ignore[method-assign]
    assert shown(a).node == "beta"
