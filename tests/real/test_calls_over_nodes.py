"""Calls from node to node: streams, cancelling, deadlines, capabilities, places, sessions, and calls gone wrong."""

import itertools
import signal
from pathlib import Path

import pytest

from meshnode.model.commands import CallSkill
from meshnode.model.errors import Invalid, LocalError, NotFound, TimedOut
from meshnode.model.views import CallView, StreamItem
from tests.real.daemon_kit import Daemon, Ended, cli, typed, until
from tests.real.mesh_kit import ROGUE, Gate, beside, call, run, spread, units, value

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pair(mesh: list[Daemon]) -> tuple[Daemon, Daemon]:
    """Whoever calls, and who runs ``calls`` and ``rogue-calls``."""
    alpha, beta, _ = mesh
    run(beta, "calls", "--on", "beta", known=(alpha,))
    run(beta, "rogue-calls", "--on", "beta", file=ROGUE, known=(alpha,))
    return alpha, beta


@pytest.fixture(autouse=True)
def nobody_else_is_harmed(pair: tuple[Daemon, Daemon]):
    yield
    here, there = pair
    for name in ("calls", "rogue-calls"):
        (unit,) = units(there, name).values()
        assert unit.restarts == 0
    assert value(here, "calls.total") >= 0


def test_a_stream_comes_item_by_item_in_order_with_its_end(pair: tuple[Daemon, Daemon]) -> None:
    heard = list(pair[0].ask.call_stream(CallSkill(skill="calls.numbers", arguments={"n": 1000})))
    items, end = heard[:-1], heard[-1]
    assert [(item.number, item.item) for item in items if isinstance(item, StreamItem)] == [(n, n) for n in range(1000)]
    assert isinstance(end, CallView) and (end.node, end.instance) == ("beta", "calls/0")
    shown = cli(pair[0].directory, "call", "calls.numbers", "n=3", "--stream")
    assert (shown.code, shown.out) == (0, "0\n1\n2\n"), shown.err


def test_ctrl_c_ends_the_generator_on_the_other_node(pair: tuple[Daemon, Daemon], tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    words = ("call", "calls.endless", f"mark={mark}", "--stream", "--deadline", "60")
    with typed(pair[0].directory, *words) as streaming:
        assert streaming.stdout is not None
        assert [streaming.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
        assert not mark.exists()
        streaming.send_signal(signal.SIGINT)
        streaming.communicate(timeout=10)
    assert streaming.returncode == 130
    until(mark.exists, "the generator has ended")
    assert int(mark.read_text()) < 100_000, "nobody read on: credit ended"


def test_a_deadline_reaches_the_callee_and_the_caller_is_told_in_time(
    pair: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    mark = tmp_path / "ended"
    ended = cli(pair[0].directory, "call", "rogue-calls.hang", f"mark={mark}", "--deadline", "0.5")
    ended.refused(124, "rogue-calls.hang", "deadline")
    until(mark.exists, "it was cancelled")


def test_a_call_whose_deadline_passes_before_its_turn_comes_is_never_begun(
    pair: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    here = pair[0]
    before = value(here, "calls.total")
    with Gate(tmp_path) as gate, beside(call, here, "calls.gated", {"gate": str(gate.path), "n": 10}) as first:
        until(lambda: gate.runs == 1, "one call has the turn")
        with pytest.raises(TimedOut, match="deadline"):
            call(here, "calls.add", {"n": 5}, deadline_s=0.3)
        with pytest.raises(TimedOut, match="deadline"):  # by its end the agent has heard that the first is off
            call(here, "calls.add", {"n": 0}, deadline_s=0.3)
        gate.open()
        assert first.result(10).result == before + 10
    assert value(here, "calls.total") == before + 10
    with pytest.raises((TimedOut, Invalid), match="deadline"):
        call(here, "calls.total", deadline_s=0.0)


def test_a_reply_after_its_call_was_cancelled_reaches_nobody_and_harms_nobody(
    pair: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    with Gate(tmp_path) as gate:
        words = ("call", "rogue-calls.late", f"gate={gate.path}", "--deadline", "60")
        with typed(pair[0].directory, *words) as waiting:
            until(lambda: gate.runs == 1, "it works")
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=10)
        assert (waiting.returncode, out) == (130, ""), err
        gate.open()
        until(lambda: gate.runs == 2, "it has answered all the same")
    assert value(pair[0], "rogue-calls.take", number=1, names=["a"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"number": "one", "names": []}, ("number", "int")),
        ({"number": 1, "names": ["a", 2]}, ("names[1]", "str")),
        ({"number": 1}, ("names", "missing")),
        ({"number": 1, "names": [], "more": 1}, ("more",)),
    ],
    ids=["a type", "a type within", "missing", "too many"],
)
def test_wrong_arguments_are_refused_with_the_path_to_the_field(
    pair: tuple[Daemon, Daemon], arguments: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(Invalid) as refused:
        call(pair[0], "rogue-calls.take", arguments)
    for word in ("rogue-calls.take", *words):
        assert word in refused.value.message, refused.value.message


def test_a_result_that_the_schema_forbids_is_the_agents_fault_and_says_so(pair: tuple[Daemon, Daemon]) -> None:
    with pytest.raises(LocalError) as refused:
        value(pair[0], "rogue-calls.lie")
    assert refused.value.code == "bad-result", refused.value.code
    assert "rogue-calls.lie" in refused.value.message and "int" in refused.value.message, refused.value.message


def test_an_error_in_the_middle_of_a_stream_comes_after_the_items_before_it(pair: tuple[Daemon, Daemon]) -> None:
    stream = pair[0].ask.call_stream(CallSkill(skill="rogue-calls.midway", arguments={"n": 5}))
    assert [one.item for one in itertools.islice(stream, 5) if isinstance(one, StreamItem)] == [0, 1, 2, 3, 4]
    with pytest.raises(LocalError, match="in the middle") as failed:
        next(stream)
    assert failed.value.code == "skill-failed", failed.value.code


def test_a_capability_finds_whoever_has_it(pair: tuple[Daemon, Daemon]) -> None:
    answer = call(pair[0], "cap/books.total", to="agent/calls")
    assert (answer.node, answer.instance) == ("beta", "calls/0")
    with pytest.raises(NotFound, match=r"capability books\.nothing"):
        call(pair[0], "cap/books.nothing")
    assert {skill.skill for skill in pair[0].ask.skills("cap/books.total")} >= {"calls.total"}


def test_find_with_constraints_ranks_who_fits_and_says_why_others_do_not(pair: tuple[Daemon, Daemon]) -> None:
    def found(where: str) -> list[tuple[int, str, str]]:
        items = cli(pair[0].directory, "find", "calls.total", "--where", where, "-o", "json").json["items"]
        return [(item["rank"], item["node"], item["excluded"]) for item in items]

    until(lambda: found("cpus>=1") == [(1, "beta", "")], "alpha knows beta's machine")
    assert found("node=beta,region=home") == [(1, "beta", "")]
    ((_, node, why),) = found("cpus>=1000")
    assert node == "beta" and "less than 1000" in why
    ((_, _, why),) = found("gpu_mem>=2Gi")
    assert "gpu_mem" in why
    cli(pair[0].directory, "find", "calls.total", "--where", "cpus>>2").refused(2, "cpus>>2", "NAME>=NUMBER")


def test_calls_of_one_session_meet_in_one_instance_from_whichever_node(mesh: list[Daemon]) -> None:
    run(mesh[0], "sessions", "--replicas", "3", known=mesh)
    for node in mesh:
        spread(node, "sessions", 3)
    met: dict[str, list[tuple[str, int]]] = {}
    for name in (f"customer-{n}" for n in range(8)):
        for node in mesh:
            ended: Ended = cli(node.directory, "call", "sessions.visit", "--session", name)
            assert ended.code == 0, ended.err
            instance, visits = call(node, "sessions.visit", session=name).result
            met.setdefault(name, []).append((instance, visits))
    for name, answers in met.items():
        assert len({instance for instance, _ in answers}) == 1, f"{name}: {answers}"
        assert [visits for _, visits in answers] == [2, 4, 6]
    assert len({instance for answers in met.values() for instance, _ in answers}) > 1


def test_a_call_to_one_instance_or_one_node_goes_there_and_nowhere_else(mesh: list[Daemon]) -> None:
    run(mesh[0], "aimed", "--replicas", "3", known=mesh)
    for node in mesh:
        spread(node, "aimed", 3)
    for slot in range(3):
        assert call(mesh[1], "aimed.add", to=f"agent/aimed/{slot}").instance == f"aimed/{slot}"
    for node in mesh:
        assert call(mesh[2], "aimed.add", to=node.directory.name).node == node.directory.name
    with pytest.raises(LocalError, match="slot 7 of aimed"):
        call(mesh[1], "aimed.add", to="agent/aimed/7")
