"""One node whose daemon is killed, or whose power is cut: what it ran goes on, or is there again with its state."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.model.errors import Offline
from meshnode.model.views import CallView
from tests.real.daemon_kit import Daemons, alive, until
from tests.real.mesh_kit import Gate, beside, call, cut_power, run, spread, units, value, warden_of

pytestmark = pytest.mark.real

IMPATIENT = ("-m", "tests.real.impatient_daemon")
# Of a call that a daemon's death cuts short. Behind it its agent gives it up, but a thread that waits at a gate cannot
# be stopped: it would take the one opening from the call that follows. So it outlasts any start of a daemon.
LONG_S = 120.0


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def test_a_killed_daemons_agents_work_on_are_adopted_and_finish_the_call_they_were_in(daemons: Daemons) -> None:
    """The call is keyed: asked for again, it is answered from the store, and it ran once."""
    node = daemons.start("alpha")
    run(node, "books")
    assert value(node, "books.add", n=5) == 5
    pid = value(node, "books.pid")
    with Gate(daemons.directory) as gate:
        asked = {"gate": str(gate.path), "n": 2}
        with beside(call, node, "books.gated", asked, idempotency_key="order-1", deadline_s=LONG_S) as cut_short:
            until(lambda: gate.runs == 1, "the call is in work")
            node.kill()
            with pytest.raises(Offline, match=r"has ended|went away"):
                cut_short.result(10)
        gate.open()  # it ends while there is no daemon
        node = daemons.start("alpha")
        answered = until(lambda: call(node, "books.gated", asked, idempotency_key="order-1"), "the call is answered")
        again = call(node, "books.gated", asked, idempotency_key="order-1")
        assert (answered.result, again.result, again.replayed, gate.runs) == (7, 7, True, 1)
    assert value(node, "books.pid") == pid
    assert alive(pid)
    assert value(node, "books.total") == 7
    (unit,) = units(node, "books").values()
    assert (unit.instance, unit.restarts) == ("books/0", 0)


def test_a_keyed_call_asked_for_again_while_it_is_still_in_work_waits_for_it(daemons: Daemons) -> None:
    node = daemons.start("alpha")
    run(node, "books")
    with Gate(daemons.directory) as gate:
        asked = {"gate": str(gate.path)}
        with beside(call, node, "books.gated", asked, idempotency_key="order-1", deadline_s=LONG_S):
            until(lambda: gate.runs == 1, "the call is in work")
            node.kill()
        node = daemons.start("alpha")
        until(lambda: units(node, "books"), "it is adopted")
        with beside(call, node, "books.gated", asked, idempotency_key="order-1", deadline_s=15.0) as again:
            gate.open()
            answered: CallView = again.result(15)
    assert (answered.result, gate.runs) == (1, 1)
    assert value(node, "books.total") == 1


def test_agents_whose_daemon_never_comes_back_end_and_so_does_their_warden(daemons: Daemons) -> None:
    node = daemons.start("alpha", program=IMPATIENT)
    run(node, "books")
    pid, warden = value(node, "books.pid"), warden_of(node)
    assert alive(pid) and alive(warden)
    node.kill()
    until(lambda: not alive(pid) and not alive(warden), "both have ended")


def test_after_a_power_cut_a_node_alone_runs_its_agents_again_with_their_state(daemons: Daemons) -> None:
    node = daemons.start("alpha")
    run(node, "books")
    assert [value(node, "books.add", n=n) for n in (1, 2, 3)] == [1, 3, 6]
    call(node, "books.put", {"key": "who", "value": "alpha"})
    answered = call(node, "books.add", {"n": 4}, idempotency_key="order-1")
    assert (answered.result, answered.durability, answered.replayed) == (10, "local", False)
    (before,) = units(node, "books").values()
    cut_power(node)
    until(lambda: before.pid is not None and not alive(before.pid), "its process went with its warden")
    node = daemons.start("alpha")
    spread(node, "books", 1)
    assert value(node, "books.total") == 10
    assert value(node, "books.read", key="who") == "alpha"
    again = call(node, "books.add", {"n": 4}, idempotency_key="order-1")
    assert (again.result, again.replayed) == (10, True)
    (after,) = units(node, "books").values()
    assert after.pid != before.pid
    assert (before.epoch, after.epoch) == ("1@alpha", "2@alpha")
    story = [event.text for event in node.ask.why("agent/books").events]
    assert any(f"version {answered.version}" in text and "2@alpha" in text for text in story), story
