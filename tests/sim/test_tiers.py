"""Tier 2 plays what tier 1 plays: the same events at the same times, and as many bytes, but none of them packed."""

import pytest

from meshnode.sim.parcels import Parcel, Parcels, as_bytes
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.world import Setup, World
from meshnode.wire.codec import WIRE
from meshnode.wire.frame import Frame, Kind


@pytest.mark.parametrize("scenario", ["cut-and-heal", "two-nodes"])
def test_both_tiers_play_the_same_run(scenario: str) -> None:
    nodes = max(SCENARIOS[scenario].nodes[0], 3) if scenario != "two-nodes" else 2
    real, objects = (Run(SCENARIOS[scenario], seed=5, nodes=nodes, tier=tier).play() for tier in (1, 2))
    assert real.passed and objects.passed, real.violation or objects.violation
    assert (real.inputs, real.effects, real.events) == (objects.inputs, objects.effects, objects.events)
    assert real.bytes_sent == objects.bytes_sent
    assert real.healed_s == objects.healed_s


def test_a_parcel_is_as_long_as_its_bytes() -> None:
    frames = [Frame(Kind.PING, 0, 7, b"\x92\xc0\xc0"), Frame(Kind.CONTROL, 0, 1, b"", b"letter")]
    whole = Parcels().join([Parcels().encode(frame, 1) for frame in frames])
    wire = WIRE.join([WIRE.encode(frame, 1) for frame in frames])
    assert isinstance(whole, Parcel)
    assert len(whole) == len(wire)
    assert as_bytes(whole) == wire
    assert Parcels().reader(1024).feed(whole) == WIRE.reader(1024).feed(wire)


def test_a_tier_has_its_size() -> None:
    assert len(World(Setup(seed=1, nodes=300, tier=2)).nodes) == 300
    with pytest.raises(ValueError, match="tier 1 has 1 to 200 nodes"):
        World(Setup(seed=1, nodes=300))
    with pytest.raises(ValueError, match="tier 1 or 2"):
        World(Setup(seed=1, nodes=3, tier=3))
