"""A region of which nobody is ready is not searched: that is known without asking each of its nodes."""

import random

from tests.unit.gossip.world import Box, World, mesh

REGIONS = ("east", "west", "south")


def wrong(world: World, boxes: list[Box]) -> list[str]:
    """Where the count and a walk over the region disagree."""
    found: list[str] = []
    for box in boxes:
        parts = box.gossip._parts
        for region in parts.directory.regions() if box.running else ():
            anybody = any(parts.outlook.open(node) for node in parts.directory.in_region(region))
            if parts.detector.deserted(region) and anybody:
                found.append(f"{box.name} holds {region} for deserted, seed {world.seed}")
            if not anybody and not parts.detector.deserted(region) and not _doubted(box, region):
                found.append(f"{box.name} searches {region} in vain, seed {world.seed}")
    return found


def _doubted(box: Box, region: str) -> bool:
    """Somebody there was heard a moment ago, and is in doubt: that counts as there."""
    parts = box.gossip._parts
    return any((s := parts.detector.subject(n)) is not None and s.fresh for n in parts.directory.in_region(region))


def test_nobody_is_overlooked_and_no_region_searched_in_vain_whatever_happens() -> None:
    for seed in range(3):
        luck = random.Random(seed)
        world, boxes = mesh(6, seed=seed, regions=REGIONS)
        for _ in range(12):
            box, other = luck.sample(boxes, 2)
            match luck.randrange(4):
                case 0 if box.running:
                    world.kill(box)
                case 1 if not box.running:
                    world.boot(box, ["n0"])
                case 2:
                    world.cut([box], [other])
                case _:
                    world.heal()
            world.run_for(luck.choice((0.3, 3.0, 20.0)))
            assert wrong(world, boxes) == []


def test_who_starts_again_alone_holds_every_region_for_deserted() -> None:
    world, boxes = mesh(6, regions=REGIONS)
    for box in boxes:
        world.kill(box)
    world.run_for(1.0)
    world.boot(boxes[0])
    parts = boxes[0].gossip._parts
    assert len(boxes[0].gossip.members()) == 6
    assert [parts.detector.deserted(region) for region in REGIONS] == [True, True, True]
