"""Streams through the desk: items as they come, no more than the reader takes, and an end for whoever hangs up."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import CallSkill, RunAgent
from meshnode.model.views import CallView, Failure
from meshnode.node.inputs import CommandDropped, StreamWanted
from meshnode.wire.frame import Frame, Kind
from tests.unit.node.mesh import Box, Mesh, simulated

READY = 16  # items that flow without being asked for


def two(**manner: int) -> tuple[Mesh, Box, Box]:
    """An agent on beta that counts as far as it is told to."""
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(RunAgent(name="rows", argv=simulated("rows.items", **{"answer_ms": 0} | manner)))
    mesh.run(2 * SECOND)
    return mesh, a, b


def begun(mesh: Mesh, box: Box, count: int, **more: float) -> int:
    command = CallSkill(skill="rows.items", arguments={"n": count}, stream=True, **more)  # type: ignore[arg-type]
    number = box.ask(command)
    mesh.run(100 * MS)
    return number


def counted(box: Box, number: int) -> list[int]:
    return [int(payload) for payload in box.items.get(number, [])]


def frames(box: Box, kind: Kind) -> list[Frame]:
    return [frame for frame in box.to_agents() if frame.kind is kind]


@pytest.mark.parametrize("where", ["alpha", "beta"])
def test_items_come_in_order_and_then_the_end(where: str) -> None:
    mesh, *_ = two()
    box = mesh.boxes[where]
    number = begun(mesh, box, 5)
    assert counted(box, number) == [0, 1, 2, 3, 4]
    (view,) = box.replies[number]
    assert isinstance(view, CallView) and (view.node, view.instance) == ("beta", "rows/0")
    assert box.core.switch.in_flight == 0


@pytest.mark.parametrize("where", ["alpha", "beta"])
def test_no_more_flows_than_the_reader_takes(where: str) -> None:
    mesh, *_ = two()
    box = mesh.boxes[where]
    number = begun(mesh, box, 100)
    assert counted(box, number) == list(range(READY))
    for total in (20, 20, 10, 64):
        box.tell(StreamWanted(number, total))
        mesh.run(100 * MS)
        assert len(counted(box, number)) == max(total, len(counted(box, number)))
    assert counted(box, number) == list(range(64)) and number not in box.replies
    box.tell(StreamWanted(number, 1_000))
    mesh.run(100 * MS)
    assert counted(box, number) == list(range(100))
    assert isinstance(box.replies[number][0], CallView)


def test_whoever_hangs_up_ends_the_work_at_the_agent() -> None:
    mesh, a, b = two()
    number = begun(mesh, a, 1_000)
    before = len(frames(b, Kind.CANCEL))
    a.tell(CommandDropped(number))
    a.tell(StreamWanted(number, 1_000))
    mesh.run(SECOND)
    assert len(frames(b, Kind.CANCEL)) == before + 1
    assert len(counted(a, number)) == READY and number not in a.replies
    assert a.core.switch.in_flight == b.core.switch.in_flight == 0


def test_a_reader_that_takes_nothing_more_hears_the_deadline() -> None:
    mesh, a, b = two()
    number = begun(mesh, a, 1_000, deadline_s=3.0)
    mesh.run(4 * SECOND)
    (view,) = a.replies[number]
    assert isinstance(view, Failure) and (view.code, view.exit_code) == ("timeout", 124)
    assert len(counted(a, number)) == READY
    assert b.core.switch.in_flight == 0


def test_a_stream_whose_agent_ends_in_the_middle_ends_with_a_name_and_no_item_twice() -> None:
    mesh, a, b = two()
    number = begun(mesh, a, 1_000)
    assert b.machine.crash_one()
    mesh.run(SECOND)
    (view,) = a.replies[number]
    assert isinstance(view, Failure) and view.code == "agent-died"
    assert counted(a, number) == list(range(READY))


def test_what_is_wanted_of_a_stream_nobody_reads_does_nothing() -> None:
    mesh, a, _ = two()
    a.tell(StreamWanted(4_711, 100))
    number = begun(mesh, a, 3)
    a.tell(StreamWanted(number, 100))
    mesh.run(100 * MS)
    assert counted(a, number) == [0, 1, 2] and len(a.replies[number]) == 1


def test_without_a_stream_the_items_are_one_list() -> None:
    mesh, a, _ = two()
    view = mesh.call(a, "rows.items", arguments={"n": 4})
    assert isinstance(view, CallView) and view.result == [0, 1, 2, 3]
