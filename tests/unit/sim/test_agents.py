"""Simulated processes: they speak the bus as agents do, and outlive a daemon but not a power cut."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.agents.messages import (
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    RunUnit,
    Shutdown,
    SkillsOffered,
    StartProcess,
    StopProcess,
    StopUnit,
)
from meshnode.messaging.calls import CREDIT
from meshnode.model.ids import InstanceId
from meshnode.model.recipe import Recipe
from meshnode.sim.agents import ORPHAN_US
from meshnode.sim.cells import Tally
from meshnode.wire.calls import CancelHeader, ChunkHeader, GrantHeader
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import MergedCell, MergedHeader, MergeHeader, RestoredCell, decode_changes
from tests.unit.sim.daemons import UNIT, Daemon, Machine

_encode = msgspec.msgpack.Encoder().encode


def told(daemon: Daemon, kind: type) -> list:
    return [event for event in daemon.told if isinstance(event, kind)]


def asked(daemon: Daemon, kind: type) -> list:
    return [effect for effect in daemon.effects if isinstance(effect, kind)]


def test_a_call_that_changes_the_state_sends_the_change_and_its_answer_together() -> None:
    machine = Machine()
    daemon = machine.daemon
    call = daemon.call("till.add", id="a", n=5, under="k1")
    machine.time.run(1)
    assert daemon.answer(call) == {"total": 5, "by": UNIT}
    assert [frame.kind for frame in daemon.frames] == [Kind.STATE, Kind.RESULT]
    assert (daemon.states[0].call_id, daemon.states[0].seq, daemon.states[0].idempotency_key) == (call, 1, "k1")
    assert daemon.tally() == machine.processes.states()[UNIT] == Tally(5, {"a": 5})


def test_calls_take_turns_and_none_is_lost() -> None:
    machine = Machine()
    daemon = machine.daemon
    calls = [daemon.call("till.add", id=f"i{n}", n=n) for n in range(1, 6)]
    look = daemon.call("till.get")
    machine.time.run(2)
    assert [daemon.answer(call)["total"] for call in calls] == [1, 3, 6, 10, 15]
    assert daemon.answer(look)["total"] == 15
    assert [state.seq for state in daemon.states] == [1, 2, 3, 4, 5]


def test_a_value_that_was_set_is_got_again() -> None:
    machine = Machine()
    daemon = machine.daemon
    daemon.call("till.set", key="colour", value=["red"])
    look = daemon.call("till.get", key="colour")
    nothing = daemon.call("till.get", key="size")
    machine.time.run(1)
    assert daemon.answer(look) == {"total": 0, "by": UNIT, "value": ["red"]}
    assert daemon.answer(nothing) == {"total": 0, "by": UNIT, "value": None}


def test_what_a_call_with_the_same_key_gets_is_the_first_answer_once_that_is_kept() -> None:
    machine = Machine()
    daemon = machine.daemon
    daemon.keeps = False
    first = daemon.call("till.add", id="a", n=5, under="k")
    machine.time.run(0.2)
    second = daemon.call("till.add", id="a", n=5, under="k")
    machine.time.run(1)
    assert first in daemon.results and second not in daemon.results
    daemon.keep(daemon.conns[UNIT], 1)
    machine.time.run(0.1)
    header, payload = daemon.results[second]
    assert header.replayed and header.version == 1 and payload == daemon.results[first][1]
    assert len(daemon.states) == 1 and daemon.tally().total == 5


def test_a_cancelled_call_changes_nothing_and_the_next_with_its_key_runs() -> None:
    machine = Machine("till.hello", "stateful=1", "answer_ms=100")
    daemon = machine.daemon
    first = daemon.call("till.add", id="a", n=5, under="k")
    second = daemon.call("till.add", id="a", n=5, under="k")
    machine.time.run(0.01)
    daemon.send(daemon.conns[UNIT], Frame(Kind.CANCEL, header=_encode(CancelHeader(first))))
    machine.time.run(1)
    assert first not in daemon.results and daemon.answer(second) == {"total": 5, "by": UNIT}
    assert len(daemon.states) == 1


def test_a_deadline_that_passes_in_the_queue_ends_the_call_unseen() -> None:
    machine = Machine("till.hello", "stateful=1", "answer_ms=4000")
    daemon = machine.daemon
    calls = [daemon.call("till.add", id=f"i{n}", n=1) for n in range(8)]
    machine.time.run(60)
    done = [call for call in calls if call in daemon.results]
    assert 0 < len(done) < 8
    assert machine.processes.states()[UNIT].total == len(done)


@pytest.mark.parametrize(
    ("skill", "arguments", "code"),
    [
        ("till.add", {"id": "a"}, "invalid"),
        ("till.add", {"id": "a" * 600, "n": 1}, "invalid"),
        ("till.add", {"id": "a", "n": "many"}, "invalid"),
        ("till.nothing", {}, "not-found"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_by_name_and_changes_nothing(
    skill: str, arguments: dict[str, object], code: str
) -> None:
    machine = Machine()
    call = machine.daemon.call(skill, **arguments)
    machine.time.run(1)
    assert machine.daemon.results[call][0].code == code
    assert not machine.daemon.states


def test_a_stream_gives_as_many_items_as_its_reader_takes() -> None:
    machine = Machine("till.items")
    daemon = machine.daemon
    call = daemon.call("till.items", n=30, stream=True)
    machine.time.run(1)
    assert len(daemon.frames) == CREDIT, "so many need no grant"
    for total in (20, 99):
        daemon.send(daemon.conns[UNIT], Frame(Kind.GRANT, header=_encode(GrantHeader(call, total))))
        machine.time.run(0.1)
        chunks = [f for f in daemon.frames if f.kind is Kind.CHUNK]
        assert len(chunks) == min(total, 30)
    numbers = [msgspec.msgpack.decode(f.header, type=ChunkHeader).number for f in chunks]
    assert numbers == list(range(30)) and daemon.frames[-1].kind is Kind.RESULT


def test_a_new_process_begins_with_what_is_restored() -> None:
    cells = (RestoredCell("total", b"40", counter=True), RestoredCell("id/a", b"40"))
    machine = Machine(cells=cells)
    call = machine.daemon.call("till.add", id="b", n=2)
    machine.time.run(1)
    assert machine.daemon.answer(call)["total"] == 42
    assert machine.processes.states()[UNIT] == Tally(42, {"a": 40, "b": 2})


def test_a_merge_is_applied_and_answered_with_what_the_agent_decides() -> None:
    machine = Machine("till.hello", "stateful=1", "merge=1")
    daemon = machine.daemon
    assert asked(daemon, SkillsOffered)[0].hooks == ("*",)
    cells = [
        MergedCell("total", b"9", counter=True),
        MergedCell("gone", b"", deleted=True),
        MergedCell("colour", b'"blue"', ask=True, mine=b'"blue"', theirs=b'"red"'),
    ]
    frame = Frame(Kind.MERGE, header=_encode(MergeHeader(7)), payload=_encode(cells))
    daemon.send(daemon.conns[UNIT], frame)
    machine.time.run(0.1)
    [answer] = daemon.frames
    assert msgspec.msgpack.decode(answer.header, type=MergedHeader) == MergedHeader(7, 1)
    assert [(c.key, c.value) for c in decode_changes(answer.payload)] == [("colour", b'"red"')]
    daemon.call("till.add", id="a", n=1)
    machine.time.run(1)
    assert (daemon.states[0].seq, daemon.states[0].merge_no) == (2, 7)
    assert machine.processes.states()[UNIT].total == 10


# -- lives of the daemon ----------------------------------------------------------------------------------------------


def test_a_killed_daemon_s_processes_come_back_to_the_next_one_with_their_state_and_what_was_not_kept() -> None:
    machine = Machine()
    former = machine.daemon
    former.call("till.add", id="a", n=1)
    machine.time.run(1)
    former.keeps = False
    former.call("till.add", id="b", n=2, under="kb")
    machine.time.run(1)
    late = former.call("till.add", id="c", n=4)
    machine.time.run(0.001)
    former.kill()
    machine.time.run(1)
    daemon = machine.next_life()
    machine.time.run(1)
    [found] = told(daemon, ProcessesFound)
    assert [p.instance for p in found.found] == [UNIT]
    assert not asked(daemon, StartProcess)
    [offered] = asked(daemon, SkillsOffered)
    assert offered.resumed
    assert [(s.seq, s.idempotency_key) for s in daemon.states] == [(2, "kb"), (3, "")]
    assert late in daemon.results, "what was in work when the daemon died is done, once"
    assert machine.processes.states()[UNIT] == Tally(7, {"a": 1, "b": 2, "c": 4})


def test_a_key_that_was_not_kept_before_the_crash_does_not_run_twice_after_it() -> None:
    machine = Machine()
    machine.daemon.keeps = False
    machine.daemon.call("till.add", id="a", n=5, under="k")
    machine.time.run(1)
    machine.daemon.kill()
    daemon = machine.next_life()
    daemon.keeps = False
    machine.time.run(1)
    again = daemon.call("till.add", id="a", n=5, under="k")
    machine.time.run(1)
    daemon.keep(daemon.conns[UNIT], 1)
    machine.time.run(1)
    assert daemon.answer(again)["total"] == 5 and len(daemon.states) == 1
    assert machine.processes.states()[UNIT].total == 5


def test_processes_nobody_comes_for_end_by_themselves() -> None:
    machine = Machine()
    machine.daemon.kill()
    machine.time.run(ORPHAN_US / 1e6 - 1)
    assert machine.processes.running()
    machine.time.run(2)
    assert not machine.processes.running() and machine.processes.states() == {}


def test_a_power_cut_takes_them_all() -> None:
    machine = Machine()
    machine.daemon.alive = False
    machine.processes.power_off()
    assert not machine.processes.running()
    daemon = machine.next_life()
    machine.time.run(1)
    assert told(daemon, ProcessesFound) == [ProcessesFound(())]
    assert len(asked(daemon, StartProcess)) == 1


def test_found_processes_that_are_not_wanted_are_stopped() -> None:
    machine = Machine()
    machine.daemon.kill()
    daemon = machine.next_life(wanted=False)
    machine.time.run(6)
    assert not machine.processes.running()
    assert [event.instance for event in told(daemon, ProcessExited)] == [UNIT]


def test_what_was_just_being_started_when_the_daemon_died_never_runs() -> None:
    machine = Machine()
    machine.daemon.run("other.hello", unit=InstanceId("other/0"))
    machine.time.run(0.01)
    machine.daemon.kill()
    machine.time.run(1)
    assert [unit for unit, _ in machine.processes.running()] == [UNIT]


def test_a_process_that_dies_while_there_is_no_daemon_is_not_found() -> None:
    machine = Machine()
    [offered] = asked(machine.daemon, SkillsOffered)
    assert machine.processes.crash_one() and offered
    machine.daemon.kill()
    daemon = machine.next_life()
    machine.time.run(1)
    assert told(daemon, ProcessesFound) == [ProcessesFound(())]


# -- bad luck ---------------------------------------------------------------------------------------------------------


def test_a_crash_loses_what_was_not_sent_and_the_unit_starts_again() -> None:
    machine = Machine("till.hello", "stateful=1", "crash_every=2")
    daemon = machine.daemon
    first = daemon.call("till.add", id="a", n=1)
    second = daemon.call("till.add", id="b", n=2)
    machine.time.run(1)
    assert first in daemon.results and second not in daemon.results
    assert [event.signal for event in told(daemon, ProcessExited)] == ["SIGKILL"]
    assert len(asked(daemon, StartProcess)) == 2 and machine.processes.crashes == 1


def test_one_that_crashes_at_its_start_fails_in_the_end() -> None:
    machine = Machine("till.hello", "start=crash")
    machine.time.run(600)
    info = machine.daemon.room.instance(UNIT)
    assert info is not None and info.state.value == "failed" and "ImportError" in info.reason


def test_one_that_hangs_at_its_start_serves_nobody() -> None:
    machine = Machine("till.hello", "start=hang")
    machine.time.run(60)
    info = machine.daemon.room.instance(UNIT)
    assert info is not None and info.reason == "runs without skills: it has not registered"


@pytest.mark.parametrize(("words", "signal", "within_s"), [((), "", 0.1), (("deaf=1",), "SIGKILL", 5.1)])
def test_a_stop_ends_it_and_a_deaf_one_is_killed(words: tuple[str, ...], signal: str, within_s: float) -> None:
    machine = Machine("till.hello", *words)
    daemon = machine.daemon
    daemon.act(daemon.room.handle(StopUnit(UNIT, "asked to stop"), daemon.now()))
    machine.time.run(within_s)
    [exited] = told(daemon, ProcessExited)
    assert exited.signal == signal and not machine.processes.running()
    assert len(asked(daemon, StopProcess)) == 1


def test_a_stop_lets_calls_in_work_end() -> None:
    machine = Machine("till.hello", "stateful=1", "answer_ms=500")
    daemon = machine.daemon
    call = daemon.call("till.add", id="a", n=1)
    machine.time.run(0.01)
    daemon.act(daemon.room.handle(Shutdown(), daemon.now()))
    machine.time.run(2)
    assert call in daemon.results and not machine.processes.running()


def test_a_program_that_is_not_there_fails() -> None:
    machine = Machine()
    daemon = machine.daemon
    daemon.act(daemon.room.handle(RunUnit(InstanceId("other/0"), Recipe(("python", "x.py"))), daemon.now()))
    machine.time.run(0.5)
    assert told(daemon, ProcessFailed)[0].error == "no such program: python"


STEPS = ["add", "again", "kill", "power", "crash", "wait", "wait long", "keep", "mute"]


@given(steps=st.lists(st.sampled_from(STEPS), max_size=30), seed=st.integers(0, 1000))
def test_what_a_process_holds_is_what_it_told_whatever_dies(steps: list[str], seed: int) -> None:
    """Every STATE that reached any daemon, counted once by its number and process, is what the process holds."""
    machine = Machine(seed=seed)
    keys = 0
    for step in steps:
        daemon = machine.daemon
        match step:
            case "add" | "again" if UNIT in daemon.conns:
                keys += step == "add"
                daemon.call("till.add", id=f"k{keys}", n=1, under=f"k{keys}")
            case "kill":
                daemon.kill()
                machine.next_life()
            case "power":
                daemon.alive = False
                machine.processes.power_off()
                machine.next_life()
            case "crash":
                machine.processes.crash_one()
            case "wait":
                machine.time.run(0.05)
            case "wait long":
                machine.time.run(3)
            case "keep" | "mute":
                daemon.keeps = step == "keep"
        for tally in machine.processes.states().values():
            assert tally.total == sum(tally.ids.values()) == len(tally.ids), "no key ran twice in one process"
        assert len(machine.processes.running()) <= 1
    machine.time.run(60)
    state = machine.daemon.room.instance(UNIT)
    assert state is not None and state.state.value in ("running", "failed")
