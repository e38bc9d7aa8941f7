"""What a node at rest sends, in virtual time: each byte by what it is for, without the noise of a shared machine.

    python -m bench.gossip.still [NODES ...] [--profile edge] [--load LOAD] [--settle S] [--seconds S] [--seed N]

Whole nodes of the simulator in two regions, and what they give to their connections. A piece is a record of TLS and a
packet; one that nothing answers within 40 ms is acknowledged by a packet of its own, as Linux does. ``--load`` is what
the samplers of all nodes see, as they do of the one machine a bench of many daemons runs on: ``steady``; ``falling``,
as after a join of many; ``restless``, as beside tests of many processes that begin and end.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.gossip.letters import kind_of
from bench.gossip.resting import RECORD_BYTES
from hw.smoother import LoadSample, Smoother
from hw.vector import LoadVector
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import LinkId
from meshnode.node.inputs import LoadSampled
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Machine
from meshnode.sim.node import SimNode
from meshnode.sim.places import City
from meshnode.sim.world import Setup, World
from meshnode.wire.frame import FrameReader, size

PLACES = (City("east", "east", 0.0, 0.0), City("west", "west", 0.0, 0.0))
WIRE_US, ACK_US, SAMPLE_US = 150, 40 * MS, 2 * SECOND
HEADERS_BYTES = 66  # of Ethernet, IPv4, and TCP with its clock
SETTLE_S, IDLE_S, SEED = 150.0, 120.0, 7
WHOLE_S = 120.0

End = tuple[str, str]  # from one machine to another


@dataclass(slots=True)
class Wires:
    """All that is written, and the packets it takes. ``owed``: since when an end has not answered."""

    world: World
    pieces: int = 0
    acks: int = 0
    words: int = 0  # about loads
    frames: Counter[str] = field(default_factory=Counter[str])
    octets: Counter[str] = field(default_factory=Counter[str])
    owed: dict[End, int] = field(default_factory=dict[End, int])
    ends: dict[tuple[str, LinkId], str] = field(default_factory=dict[tuple[str, LinkId], str])

    def tap(self) -> None:
        """From now on each piece is counted as it leaves."""
        transmit = self.world.network.transmit

        def counted(machine: Machine, link: LinkId, data: bytes) -> None:
            self._count(machine.name, self._other(machine.name, link), data)
            transmit(machine, link, data)

        self.world.network.transmit = counted

    def reset(self) -> None:
        self.pieces = self.acks = self.words = 0
        self.frames.clear()
        self.octets.clear()

    def _other(self, name: str, link: LinkId) -> str:
        if (name, link) not in self.ends:
            names = {node.node: node.name for node in self.world.nodes}
            standing = self.world.network.standing()
            self.ends = {(each, at): names[peer] for each, links in standing.items() for peer, at in links.items()}
        return self.ends.get((name, link), "")  # it is still coming up

    def _count(self, name: str, other: str, data: bytes) -> None:
        now_us = self.world.now_us
        since_us = self.owed.get((name, other))
        if since_us is not None and since_us <= now_us:
            self.acks += now_us > since_us + ACK_US
            del self.owed[name, other]
        arrives_us, since_us = now_us + WIRE_US, self.owed.get((other, name))
        if since_us is None or arrives_us > since_us + ACK_US:
            self.acks += since_us is not None
            self.owed[other, name] = arrives_us
        self.pieces += 1
        for frame in FrameReader().feed(data):
            kind = kind_of(frame)
            self.frames[kind] += 1
            self.octets[kind] += size(frame)


# -- loads -------------------------------------------------------------------------------------------------------------


def steady(_at_s: float) -> LoadVector:
    return LoadVector(cpu_percent=10, memory_percent=40, disk_percent=50, load_average=1)


def falling(at_s: float) -> LoadVector:
    cpu, average = 10 + 90 * math.exp(-at_s / 25), 1 + 14 * math.exp(-at_s / 60)
    return LoadVector(cpu_percent=cpu, memory_percent=40, disk_percent=50, load_average=average)


def restless(at_s: float) -> LoadVector:
    """Two minutes in which memory is taken bit by bit, and let go at once."""
    part = at_s % 120 / 120
    busy = 100 if part < 0.9 else 40
    return LoadVector(
        cpu_percent=busy, memory_percent=14 + 25 * part, disk_percent=50, load_average=20 + 10 * math.sin(at_s / 100)
    )


LOADS = {"steady": steady, "falling": falling, "restless": restless}


def sample(wires: Wires, load: Callable[[float], LoadVector]) -> None:
    """Each node looks every two seconds, at a moment of its own, and sees a little noise."""
    world = wires.world
    luck, began_us = world.luck("loads"), world.now_us

    def watch(node: SimNode, smoother: Smoother) -> None:
        at_s = (world.now_us - began_us) / SECOND
        seen = load(at_s)
        noisy = replace(seen, cpu_percent=min(100.0, (seen.cpu_percent or 0.0) + 6 * luck.random()))
        told = smoother.step(LoadSample(at_s=at_s, cpus=2.0, load=noisy))
        if told is not None:
            wires.words += 1
            node.tell_later(LoadSampled(told.pack()))
        world.at(world.now_us + SAMPLE_US, lambda: watch(node, smoother))

    for node in world.nodes:
        first_us = world.now_us + round(SAMPLE_US * luck.random())
        world.at(first_us, lambda node=node: watch(node, Smoother()))


# -- a run -------------------------------------------------------------------------------------------------------------


def rest(count: int, profile: str, load: str, settle_s: float, for_s: float, seed: int) -> str:
    world = World(Setup(seed=seed, nodes=count, cities=PLACES, wire_us=WIRE_US, traced=False))
    world.network.loss = 0.0
    for node in world.nodes:
        node.plan = replace(node.plan, profile=profile)
    wires = Wires(world)
    wires.tap()
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), WHOLE_S), unmet_by_gossip(world)
    sample(wires, LOADS[load])
    world.run_for(settle_s)
    wires.reset()
    world.run_for(for_s)
    return f"{count} nodes, {profile}, load {load}: {_account(wires, count * for_s)}"


def _account(wires: Wires, node_s: float) -> str:
    pieces_s, acks_s = wires.pieces / node_s, wires.acks / node_s
    lines = [(f"{wires.frames[kind] / node_s:7.3f}/s  {kind}", size / node_s) for kind, size in wires.octets.items()]
    lines.append((f"{pieces_s:7.3f}/s  TLS records", pieces_s * RECORD_BYTES))
    lines.append((f"{pieces_s + acks_s:7.3f}/s  TCP, IP and Ethernet headers", (pieces_s + acks_s) * HEADERS_BYTES))
    total = sum(size for _, size in lines)
    told = (
        f"{total:.0f} B/s and {pieces_s + acks_s:.2f} packets/s a node, {60 * wires.words / node_s:.2f} words a minute"
    )
    table = "".join(f"  {size:8.1f} B/s  {what}\n" for what, size in sorted(lines, key=lambda line: -line[1]))
    return f"{told} about its load\n{table}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gossip.still", description="what a virtual mesh costs at rest"
    )
    parser.add_argument("nodes", type=int, nargs="*", default=[50])
    parser.add_argument("--profile", choices=("edge", "default", "relay"), default="default")
    parser.add_argument("--load", choices=tuple(LOADS), default="steady")
    parser.add_argument("--settle", type=float, default=SETTLE_S, metavar="S")
    parser.add_argument("--seconds", type=float, default=IDLE_S, metavar="S")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    counts: list[int] = given.nodes
    for count in counts:
        sys.stdout.write(rest(count, given.profile, given.load, given.settle, given.seconds, given.seed))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
