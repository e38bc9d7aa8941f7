"""An enrolled member with a program of its own calls, answers and streams at a real daemon: what people see of it.

Its certificate, its link and the daemon are real. After each story an agent of that daemon still answers.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from meshnode.host import keystore
from meshnode.links.hello import Total, frame_of
from meshnode.messaging import letters
from meshnode.model.commands import CallSkill
from meshnode.wire.calls import CallHeader, ResultHeader
from meshnode.wire.events import event_frame
from meshnode.wire.frame import Flag, Frame, Kind
from tests.real.daemon_kit import Daemon, Daemons, cli, run_echo, typed, until
from tests.real.links_kit import Rogue
from tests.real.mesh_kit import ROGUE, run
from tests.unit.messaging.town import chunk_frame, grant_frame

pytestmark = pytest.mark.real
ID = b"of the rogue %03d"
SHARE = 5_000  # of the table that is open to batch calls
HELLOS = iter(range(1, 1_000))  # each link of the one process is a later one


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemons(tmp_path_factory.mktemp("hostile")) as daemons:
        started = daemons.start("alpha")
        run_echo(started)
        yield started


@pytest.fixture
def rogue(alpha: Daemon) -> Iterator[Rogue]:
    """Linked."""
    folder = alpha.directory.parent / "mallory"
    if not folder.exists():
        joined = cli(folder, "join", alpha.ask.invite("mallory").token)
        assert joined.code == 0, joined.err
    number = next(HELLOS)
    made = Rogue(keystore.load(folder), int(alpha.listen.rpartition(":")[2]))
    made.come_up(hello_no=number, fresh=number.to_bytes(8))
    yield made
    made.close()
    answered = alpha.ask.call(CallSkill(skill="echo.say", arguments={"text": "still here"}))
    assert answered.result == "still here"


def sequenced(frame: Frame) -> Frame:
    return Frame(frame.kind, Flag.SEQUENCED.value, frame.stream, frame.header, frame.payload)


def call(number: int, skill: str = "echo.say", payload: bytes = b'{"text": "x"}', **more: object) -> Frame:
    header = CallHeader(ID % number, skill, 5_000, **more)  # pyright: ignore[reportArgumentType]
    return sequenced(letters.call_frame(header, payload))


def counted(alpha: Daemon, name: str, at_least: int = 1) -> None:
    """Whichever room it is counted in."""

    def count() -> int:
        counters = alpha.ask.status().counters
        return sum(number for each, number in counters.items() if each.rpartition(".")[2] == name)

    until(lambda: count() >= at_least, f"{name} is counted")


def told(alpha: Daemon, name: str) -> None:
    """As an event of the node that is to blame."""
    until(lambda: f"refused what it sent: {name}" in cli(alpha.directory, "events").out, f"an event tells {name}")


def answer(rogue: Rogue, number: int) -> ResultHeader:
    while True:
        header = letters.read_result(rogue.hear(Kind.RESULT))
        if header.call_id == ID % number:
            return header


def test_a_call_in_order_is_answered(rogue: Rogue) -> None:
    """So that the others prove something."""
    rogue.say(call(1))
    assert answer(rogue, 1).code == ""


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (Frame(Kind.CALL, 1, header=b"\xc1"), "call-junk"),
        (Frame(Kind.CALL, 1, header=b"\x93\xc4\x01x\xa1a\x01"), "call-id"),
        (Frame(Kind.RESULT, 1, header=b"\x91" * 9_000), "result-junk"),
        (Frame(Kind.CANCEL, 1, header=b""), "cancel-junk"),
        (sequenced(chunk_frame(ID % 2, -1)), "chunk-number"),
        (sequenced(grant_frame(ID % 2, 2**60)), "grant-number"),
        (event_frame("topic/a", "node/alpha", b"1"), "event-origin"),
        (event_frame("topic//a", "node/mallory", b"1"), "event-topic"),
    ],
    ids=["call", "call-id", "result", "cancel", "chunk", "grant", "event-of-another", "event-of-no-topic"],
)
def test_junk_of_calls_is_counted_told_and_ends_nothing(alpha: Daemon, rogue: Rogue, frame: Frame, name: str) -> None:
    rogue.say(frame, call(3))
    assert answer(rogue, 3).code == "", "the link stands"
    counted(alpha, name)
    told(alpha, name)


def test_answers_nobody_asked_it_for_are_late_or_foreign(alpha: Daemon, rogue: Rogue) -> None:
    lies = letters.result_frame(ResultHeader(ID % 4), b'"lies"')
    rogue.say(sequenced(lies), sequenced(chunk_frame(ID % 4, 0)), call(5))
    assert answer(rogue, 5).code == ""
    counted(alpha, "result-late")
    counted(alpha, "chunk-late")


def test_a_replayed_call_runs_once_while_it_runs_and_costs_only_its_sender(alpha: Daemon, rogue: Rogue) -> None:
    rogue.say(*[call(6)] * 20, call(7))
    assert answer(rogue, 7).code == ""
    counted(alpha, "call-repeated")


def test_what_is_between_daemons_is_asked_by_its_own_name(rogue: Rogue) -> None:
    rogue.say(call(8, "mesh.nothing"), call(9, "nobody.here"), call(10, payload=b"1" * 600_000), call(11, "a/../b"))
    codes = {number: answer(rogue, number).code for number in (8, 9, 10, 11)}
    assert codes[9] in ("not-found", "unavailable") and codes[10] == "invalid"
    assert codes[8] != "" and codes[11] in ("invalid", "denied")


def test_calls_without_end_fill_no_table(alpha: Daemon, rogue: Rogue) -> None:
    """Given up as soon as they are made: nothing of them stays."""
    for start in range(100, 600, 50):
        numbers = range(start, start + 50)
        rogue.say(*map(call, numbers), *(_cancel(number) for number in numbers))
    rogue.say(call(700))
    assert answer(rogue, 700).code == ""
    until(lambda: alpha.ask.status().counters.get("calls.in-flight", 0) == 0, "no call is in flight")


def test_a_node_that_is_full_of_what_may_wait_sheds_it_and_answers_the_rest(alpha: Daemon, rogue: Rogue) -> None:
    """Calls under one key wait for the first, which hangs: they fill half of the table, and no agent."""
    run(alpha, "stuck", "--on", "alpha", file=ROGUE)
    arguments = msgspec.json.encode({"mark": str(alpha.directory.parent / "mark")})
    calls = [
        sequenced(
            letters.call_frame(CallHeader(b"%016d" % n, "stuck.hang", 60_000, "", "", "k", batch=True), arguments)
        )
        for n in range(SHARE + 1)
    ]
    for at in range(0, len(calls), 500):
        rogue.say(*calls[at : at + 500])
    shed = letters.read_result(rogue.hear(Kind.RESULT))
    assert (shed.call_id, shed.code) == (b"%016d" % SHARE, "overloaded")
    assert 200 <= shed.retry_after_ms <= 2_000
    rogue.say(call(800))
    assert answer(rogue, 800).code == "", "a usual call passes"
    refused = cli(alpha.directory, "call", "echo.say", "text=x", "--batch", "--deadline", "0.1")
    assert refused.code == 1 and "-> try again in 0.2 s" in refused.err, refused.err
    counted(alpha, "shed-batch", 2)
    with typed(alpha.directory, "call", "echo.say", "text=late", "--batch", "--deadline", "60") as waiting:
        counted(alpha, "shed-batch", 3)
        for call_id in (b"%016d" % n for n in range(SHARE)):
            rogue.say(Frame(Kind.CANCEL, Flag.SEQUENCED.value, 0, letters.cancel_frame(call_id).header))
        assert waiting.wait(60) == 0, "it got through by itself once there was room"


def _cancel(number: int) -> Frame:
    header = letters.cancel_frame(ID % number).header
    return Frame(Kind.CANCEL, Flag.SEQUENCED.value, 0, header)


def test_lies_about_the_session_end_the_link_and_are_told(alpha: Daemon, rogue: Rogue) -> None:
    rogue.say(frame_of(Kind.ACK, Total(1 << 40)))
    assert rogue.farewell() == "junk"
    counted(alpha, "ack-ahead")
    told(alpha, "ack-ahead")


def test_the_names_stand_in_the_handbook() -> None:
    handbook = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text()
    for name in ("result-late", "call-repeated", "ack-ahead", "event-origin", "grant-junk"):
        assert f"`{name}`" in handbook
