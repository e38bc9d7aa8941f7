"""Heartbeats are elided in tier 3. Here they are played one by one beside it: the same verdicts, at the same times."""

from dataclasses import dataclass

import pytest

from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.pulse import PACE
from meshnode.sim.fleet.ship import Known
from meshnode.sim.fleet.watch import Watch
from meshnode.sim.fleet.wires import Wire

POLL_US = 500 * MS  # of detectors, as nodes ship
BOUND_US = PACE.idle_ping_max_us  # a heartbeat that is not played has no phase of its own
LOST = (MemberState.SUSPECT, MemberState.UNREACHABLE, MemberState.DOWN)


@dataclass(frozen=True, slots=True)
class Played:
    """``lost``: who of those that were cut off or killed was lost in whose eyes, and since when. ``accused``: healthy
    ones somebody doubted, as who is cut off does; ``wronged``: healthy ones somebody held down; ``unwell``: pairs of
    which one does not hold the other ready in the end."""

    lost: dict[tuple[NodeId, NodeId], int]
    accused: int
    wronged: int
    unwell: int


def played(nodes: int, *, heartbeats: bool) -> Played:
    """Some go dark, some are killed, and all come back."""
    fleet = Fleet(5, nodes, 4, watch=Watch(changes=True), heartbeats=heartbeats, poll_us=POLL_US)
    fleet.start_all()
    fleet.run_for(6 * SECOND)
    fleet.watch.changes.clear()
    dark, dead = fleet.ships[: nodes // 20], fleet.ships[nodes // 20 : nodes // 10]
    for ship in dark:
        fleet.silence(ship)
    for ship in dead:
        fleet.kill(ship)
    fleet.run_for(14 * SECOND)
    for ship in dark:
        fleet.heal(ship)
    for ship in dead:
        fleet.restart(ship)
    fleet.run_for(12 * SECOND)
    ill = dict.fromkeys(ship.id for ship in (*dark, *dead))
    lost: dict[tuple[NodeId, NodeId], int] = {}
    for at, by, of, state in fleet.watch.changes:
        if by not in ill and of in ill and state in LOST:
            lost.setdefault((by, of), at)
    healthy = [(of, state) for _, _, of, state in fleet.watch.changes if of not in ill and state in LOST]
    down = [of for of, state in healthy if state is MemberState.DOWN]
    ready = sum(ship.room.reachable(other.id) for ship in fleet.ships for other in fleet.ships)
    return Played(lost, len(healthy), len(down), nodes * nodes - ready)


def differences(nodes: int) -> tuple[int, int]:
    """Verdicts only one of the two has, and the longest time between those that both have."""
    with_, without = (played(nodes, heartbeats=each) for each in (True, False))
    assert (with_.wronged, with_.unwell) == (without.wronged, without.unwell) == (0, 0)
    if bool(with_.accused) is not bool(without.accused):
        return max(with_.accused, without.accused), 0
    both = with_.lost.keys() & without.lost.keys()
    assert both, "somebody notices"
    apart_us = max(abs(with_.lost[key] - without.lost[key]) for key in both)
    return len(with_.lost.keys() ^ without.lost.keys()), apart_us


@pytest.mark.parametrize("nodes", [40, 200])
def test_elided_heartbeats_change_no_verdict_and_hardly_a_time(nodes: int) -> None:
    other, apart_us = differences(nodes)
    assert other == 0
    assert apart_us <= BOUND_US, f"{apart_us / SECOND:.1f} s"


def test_an_elision_that_takes_a_black_link_for_heard_too_long_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(wire: Wire, now_us: int, idle_us: int) -> None:
        blacken(wire, now_us, idle_us)
        wire.heard_us = [now_us + BOUND_US, now_us + BOUND_US]

    blacken = Wire.blacken
    monkeypatch.setattr(Wire, "blacken", late)
    other, apart_us = differences(40)
    assert other > 0 or apart_us > BOUND_US


def test_an_elision_that_overlooks_a_black_link_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Known, peer: NodeId) -> int | None:
        wire = self._links.get(peer)  # pyright: ignore[reportPrivateUsage]
        elided = wire is not None and wire.pulse is None
        return self._clock.now_us if elided else honest(self, peer)  # pyright: ignore[reportPrivateUsage]

    honest = Known.last_heard_us
    monkeypatch.setattr(Known, "last_heard_us", blind)
    other, apart_us = differences(40)
    assert other > 0 or apart_us > BOUND_US
