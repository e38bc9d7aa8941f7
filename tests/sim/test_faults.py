"""Kinds of faults that came with gossip at scale: each has a checker that notices when it is not survived."""

from dataclasses import replace

import msgspec
import pytest

from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.links.hello import Hello, body_of
from meshnode.model.errors import RemoteError
from meshnode.sim.disk import SimDisk
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.older import Older
from meshnode.sim.parcels import Parcels
from meshnode.sim.plan import Adapt
from meshnode.sim.run import Run
from meshnode.sim.safety import NoFalseDeath, OneAnswer, RisingBoots
from meshnode.sim.world import Setup, World
from meshnode.wire.codec import WIRE
from meshnode.wire.frame import Frame
from meshnode.wire.frame import Kind as FrameKind
from tests.faults.sim import BY_THE_WALL
from tests.sim.luck import noticed_by_some_seed
from tests.sim.test_checkers import CALM

JUNK = b"\xc1"  # no msgpack begins so


def played(*faults: Fault) -> Run:
    def plan(_luck: Random, _nodes: int) -> list[Fault]:
        return list(faults)

    return Run(replace(CALM, plan=plan, kinds=(faults[0].kind,)), seed=5, nodes=3, judges=[NoFalseDeath])


def test_a_machine_behind_a_nat_joins_and_stays_because_it_dials_itself() -> None:
    world = World(Setup(seed=3, nodes=4, traced=False))
    world.network.hidden["n3"] = None
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), 20.0), unmet_by_gossip(world)


def test_two_that_nobody_can_dial_never_meet_and_that_is_noticed() -> None:
    run = played(Fault(Kind.CUT, 3.0, 2.0, (0,)))
    for node in run.world.nodes:
        run.world.network.hidden[node.name] = None
    assert "Liveness" in run.play().violation


def test_a_nat_at_which_nobody_knocked_has_not_happened() -> None:
    run = played(Fault(Kind.NAT, 3.0, 5.0, (1,)))
    assert run.play().violation.startswith("Coverage: ")


def test_an_older_release_lives_among_newer_ones_and_comes_back() -> None:
    run = played(Fault(Kind.DOWNGRADE, 3.0, 10.0, (1,)), Fault(Kind.BLIP, 9.0, 0.0, (1,)))
    run.play()
    assert not run.report.violation.startswith("NoFalseDeath")
    assert run.world[1].older is None


def mixed() -> World:
    """Two of four machines run an earlier release."""
    world = World(Setup(seed=3, nodes=4, traced=False))
    for node in world.nodes[2:]:
        node.older = Older(world.codec)
    world.start_all()
    return world


def test_machines_of_two_releases_are_one_mesh() -> None:
    world = mixed()
    assert world.run_till(lambda: not unmet_by_gossip(world), 20.0), unmet_by_gossip(world)
    assert all(node.older is not None and node.older.skewed for node in world.nodes[2:])


def test_an_older_release_that_refuses_whoever_can_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(self: Older, frame: Frame, unknown: bytes) -> Frame:
        if frame.kind in (FrameKind.HELLO, FrameKind.WELCOME) and unknown == JUNK and body_of(frame, Hello).features:
            raise RemoteError("hello-features")
        return changed(self, frame, unknown)

    changed = Older.changed
    monkeypatch.setattr(Older, "changed", strict)
    world = mixed()
    assert not world.run_till(lambda: not unmet_by_gossip(world), 15.0)


@pytest.mark.parametrize(("adapt", "late"), [(Adapt(), False), (BY_THE_WALL, True)])
def test_timers_that_go_by_the_wall_clock_are_noticed_when_it_is_set_back(adapt: Adapt, *, late: bool) -> None:
    faults = [Fault(Kind.JUMP, 3.0, 0.0, (0,)), Fault(Kind.CUT, 4.0, 15.0, (0,)), Fault(Kind.PAUSE, 8.0, 12.0, (1,))]

    def plan(_luck: Random, _nodes: int) -> list[Fault]:
        return faults

    def violation(seed: int) -> str:
        return (
            Run(replace(CALM, plan=plan), seed=seed, nodes=3, judges=[OneAnswer], adapt=[(0, adapt)]).play().violation
        )

    if late:
        assert noticed_by_some_seed(lambda seed: violation(seed).startswith("OneAnswer: "), first=5)
    else:
        assert violation(5) == ""


def test_a_machine_that_lost_its_disk_comes_back_as_another_node_with_everything_others_had() -> None:
    run = played(Fault(Kind.LOST, 9.0, 4.0, (2,)))
    before = run.world[2].node
    assert run.play().passed, run.report.violation
    assert run.world[2].node != before
    assert list(run.world[2].identities) == [before, run.world[2].node]


def test_a_machine_that_kept_its_name_but_not_its_boots_is_noticed() -> None:
    """The identity survives the disk that counted its boots: what it says now, it has said before."""

    def notices(seed: int) -> bool:
        run = Run(replace(CALM, storm_s=10.0), seed=seed, nodes=3, judges=[RisingBoots])
        node = run.world[2]

        def forget() -> None:
            node.lose_power()
            node.disk = SimDisk()
            node.gain_power()
            node.start()

        run.world.at(15 * SECOND, forget)
        return run.play().violation.startswith("RisingBoots: ")

    assert noticed_by_some_seed(notices, first=5)


def letter(*parts: object) -> Frame:
    return Frame(FrameKind.CONTROL, 0, Channel.GOSSIP, b"", msgspec.msgpack.encode(list(parts)))


def test_what_an_older_release_does_not_know_is_junk_to_it_and_nothing_it_would_say() -> None:
    for codec in (WIRE, Parcels()):
        older = Older(codec)
        reader = older.reader(1 << 16)
        newest, longer, old = letter(99, b"x"), letter(8, [], "later"), letter(8, [])
        assert [f.payload for f in reader.feed(codec.encode(newest))] == [b"\xc1"]
        assert reader.feed(codec.encode(longer)) == [old]
        assert reader.feed(codec.encode(old)) == [old]
        assert codec.reader(1 << 16).feed(older.encode(newest)) == [old]
        assert older.skewed == 3


def test_time_leaps_and_nobody_is_accused_of_the_silence() -> None:
    world = World(Setup(seed=3, nodes=5, traced=False))
    watch = NoFalseDeath(world)
    world.audience.gather([watch])
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), 20.0)
    world.run_for(5.0)  # of two links that crossed one is closed
    before_us = world.now_us
    for _ in range(20):
        world.leap(30.0)
        watch.look()
        assert not unmet_by_gossip(world)
    assert world.now_us == before_us + 600 * SECOND
