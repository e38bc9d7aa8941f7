"""What soft facts of one region cost: bytes a second and node, copies, delays, with soft state and repair alone.

    python -m bench.gossip.facts --nodes 100

Nodes with ten facts each, a load vector every 30 s; links of 2 ms; signatures are hashes. In virtual time: the load of
the machine changes how long it takes, not what it finds.
"""

import argparse
import random

from meshnode.kernel.instant import MS, SECOND
from tests.unit.gossip.regions import Lands, Place, lands

LETTERS = ("SoftBatch", "SoftRefresh", "Roots", "Repair", "Pull")


def settled(nodes: int) -> tuple[Lands, list[Place]]:
    """A region whose links have found out which of them are needed, beside another one that makes the mesh large."""
    world = lands({"here": nodes, "there": 65}, degree=5)
    places = [place for place in world.places.values() if place.region == "here"]
    for at, place in enumerate(world.luck.sample(places, nodes)):
        world.later(at * 20 * MS, lambda place=place: world.publish(place, "load", b"x" * 13))
    world.run_for(nodes * 0.02 + 3)
    for at, place in enumerate(world.luck.sample(places, nodes)):
        world.later(at * 50 * MS, lambda place=place: furnish(world, place))
    world.run_for(nodes * 0.05 + 5)
    return world, places


def furnish(world: Lands, place: Place) -> None:
    for number in range(8):
        world.publish(place, f"skill/s{number}.do", b"y" * 120)
    world.publish(place, "agent/words", b"z" * 60)


def measure(nodes: int, seconds: int, every_s: float) -> dict[str, float]:
    world, places = settled(nodes)
    for place in places:
        place.sent.clear()
    luck, born = random.Random(5), dict[tuple[bytes, bytes], int]()

    def speak() -> None:
        place, value = luck.choice(places), luck.randbytes(13)
        born[place.id, value] = world.now_us
        world.publish(place, "load", value)
        world.later(int(luck.expovariate(nodes / every_s) * SECOND), speak)

    speak()
    world.run_for(seconds)
    found = {f"{kind} B/s": sum(p.sent[kind] for p in places) / nodes / seconds for kind in LETTERS}
    found["all B/s"] = sum(found.values())
    found["updates/s"] = len(born) / seconds
    delays = sorted(_delays(world, places, born))
    for share in (50, 99, 100):
        found[f"delay p{share} ms"] = delays[min(len(delays) - 1, len(delays) * share // 100)] / MS
    return found


def _delays(world: Lands, places: list[Place], born: dict[tuple[bytes, bytes], int]) -> list[int]:
    return [
        place.learned_us[change.node, change.key, change.version] - born[change.node, change.value]
        for place in places
        for change in place.changes
        if (change.node, change.value) in born and change.node != place.id
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two load vectors of a node")
    asked = parser.parse_args()
    for name, value in measure(asked.nodes, asked.seconds, asked.every).items():
        print(f"{name:18} {value:10.1f}")


if __name__ == "__main__":
    main()
