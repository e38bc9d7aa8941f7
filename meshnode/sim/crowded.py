"""``python -m meshnode.sim.crowded``: three members in ten join forces to surround one node with links of theirs.

All were let in by an admin. Each keeps a link to the victim, dials again when that one hangs up, passes no rumour on,
and says to everybody that it has no other link: whoever looks for somebody to hang up on would take an honest
neighbour, who has many. The victim has to keep a link to an honest node, to hear what honest ones say, and to be heard
by all of them.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from meshnode.gossip.letters import Greeting, Neighbours, encode
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.instant import MS, SECOND
from meshnode.node.config import NodePorts
from meshnode.node.inputs import HardwareProbed
from meshnode.sim import seeds
from meshnode.sim.liars import perform
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.places import CITIES
from meshnode.sim.plan import Adapt
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoTwins, RisingBoots
from meshnode.sim.watching import Checker, Violated, look_on, violation_of
from meshnode.sim.world import SEEDS, Setup, World, stream
from meshnode.wire.codec import Codec, Reader
from meshnode.wire.frame import Frame, Kind

NODES, SHARE, SPAN_S = 40, 0.3, 90.0
JOIN_S, NEWS_EVERY_S, HEARD_S = 60.0, 10.0, 8.0
PRESS_US = 250 * MS
ALONE_US = 10 * SECOND  # links come and go; without an honest one for longer than this is surrounded
GREETING, NEIGHBOURS, PUSH = 1, 2, 7  # tags of letters
_ALONE, _NOBODY = encode(Greeting(demanded=False, links=[])), encode(Neighbours([]))


class Flattering:
    """Implements ``wire.codec.Codec``: stands before the links of a liar and bends its letters once it ``lies``."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.lies = False
        self.told = 0

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes:
        return self._codec.encode(self._bent(frame) if self.lies else frame, marks)

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]:
        return self._codec.encode_all([self._bent(frame) if self.lies else frame for frame in frames], marks)

    def join(self, pieces: Sequence[bytes], /) -> bytes:
        return self._codec.join(pieces)

    def reader(self, frame_bytes_max: int, /) -> Reader:
        return self._codec.reader(frame_bytes_max)

    def _bent(self, frame: Frame) -> Frame:
        if frame.kind is not Kind.CONTROL or frame.stream != Channel.GOSSIP or len(frame.payload) < 2:
            return frame
        tag = frame.payload[1]
        if tag not in (GREETING, NEIGHBOURS, PUSH):
            return frame
        self.told += 1
        return msgspec.structs.replace(frame, payload=_ALONE if tag == GREETING else _NOBODY)


class Surrounded(Checker):
    """The victim is linked with somebody honest."""

    def __init__(self, world: World, victim: SimNode, honest: Sequence[SimNode]) -> None:
        super().__init__(world)
        self._victim, self._honest = victim, dict.fromkeys(node.node for node in honest)
        self._last_us, self.fewest = 0, len(honest)

    def begin(self) -> None:
        """From now on."""
        self._last_us = self.world.now_us

    def look(self) -> None:
        core, now_us = self._victim.core, self.world.now_us
        linked = sum(peer in self._honest for peer in core.hub.peers()) if core is not None else 0
        self.fewest = min(self.fewest, linked)
        if linked:
            self._last_us = now_us
        elif now_us - self._last_us > ALONE_US:
            self.wrong(self._victim, f"has had no honest neighbour since {self._last_us / SECOND:.1f} s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Siege:
    """One world. ``lies``: letters bent; ``fewest``: honest neighbours of the victim at the worst moment."""

    seed: int
    nodes: int
    liars: int
    lies: int
    fewest: int
    events: int
    why: str = ""


class CrowdRun:
    """``play`` may be called once."""

    def __init__(
        self, seed: int, *, nodes: int = NODES, share: float = SHARE, span_s: float = SPAN_S, tier: int = 2
    ) -> None:
        luck = stream(seed, "crowded")
        chosen = dict.fromkeys(sorted(luck.sample(range(SEEDS, nodes), round(share * nodes))))
        self.seed, self.nodes, self.span_s = seed, nodes, span_s
        self._bends: list[Flattering] = []
        adapt = tuple((number, Adapt(ports=self._flatter)) for number in chosen)
        places = (CITIES[0], CITIES[6])[
            : 1 + seed % 2
        ]  # every second mesh is one region: no bridge comes beyond the slots
        self.world = World(Setup(seed=seed, nodes=nodes, adapt=adapt, tier=tier, cities=places, traced=False))
        self.liars = [self.world[number] for number in chosen]
        self.honest = [node for number, node in enumerate(self.world.nodes) if number not in chosen]
        self.victim = luck.choice(self.honest[SEEDS:])
        self.honest.remove(self.victim)
        kinds = (RisingBoots, GenuineRows, Bounds, ComesToRest, NoTwins)
        self._checkers: list[Checker] = [kind(self.world) for kind in kinds]
        self.world.audience.gather(self._checkers)
        self._around = Surrounded(self.world, self.victim, self.honest)
        self._luck, self._news = luck, 0

    def play(self) -> Siege:
        """Never raises for what a checker found: that stands in what it returns."""
        why = violation_of(self._play)
        return Siege(
            seed=self.seed, nodes=self.nodes, liars=len(self.liars), lies=sum(bend.told for bend in self._bends),
            fewest=self._around.fewest, events=self.world.events, why=why,
        )  # fmt: skip

    def _play(self) -> None:
        world = self.world
        world.start_all()
        look_on(world, self._checkers)
        if not world.run_till(lambda: not unmet_by_gossip(world), JOIN_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"did not join: {unmet_by_gossip(world)}")
        self._around.begin()
        self._checkers.append(self._around)
        end_us = world.now_us + round(self.span_s * SECOND)
        for bend in self._bends:
            bend.lies = True
        for number, liar in enumerate(self.liars):
            self._presses(liar, number, end_us)
        while world.now_us < end_us:
            world.run_for(NEWS_EVERY_S)
            self._must_hear(self._luck.choice(self.honest), [self.victim])
            self._must_hear(self.victim, self.honest)

    def _flatter(self, ports: NodePorts) -> NodePorts:
        self._bends.append(Flattering(ports.codec))
        return replace(ports, codec=self._bends[-1])

    def _must_hear(self, source: SimNode, others: Sequence[SimNode]) -> None:
        """What one honest node says of itself reaches these."""
        self._news += 1
        facts = json.dumps({"news": self._news}).encode()
        source.tell_later(HardwareProbed(facts))

        def deaf() -> list[str]:
            rows = [(node, node.core.gossip.row(source.node)) for node in others if node.core is not None]
            return [node.name for node, row in rows if row is None or row.facts != facts]

        self.world.run_for(0.01)
        if not self.world.run_till(lambda: not deaf(), HEARD_S):
            what = f"{HEARD_S:g} s later not heard by {', '.join(deaf())}"
            raise Violated("News", self.world.now_us, source.name, what)

    # -- what liars do ------------------------------------------------------------------------------------------------

    def _presses(self, liar: SimNode, number: int, end_us: int) -> None:
        """A link to the victim, now and again; on one that stands: that it is the only one."""
        world = self.world

        def press() -> None:
            if world.now_us >= end_us:
                return
            if liar.core is not None and liar.usable:
                perform(liar, liar.core.gossip.reach(self.victim.node, liar.instant()))
                if self.victim.node in liar.core.hub.peers():
                    perform(liar, [Send(self.victim.node, Channel.GOSSIP, _ALONE)])
            world.at(world.now_us + PRESS_US, press)

        world.at(world.now_us + number * MS, press)


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("crowded", "one node among liars", 3)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--share", type=float, default=SHARE, help="of liars")
    parser.add_argument("--tier", type=int, default=2)
    asked = parser.parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = CrowdRun(seed, nodes=asked.nodes, share=asked.share, tier=asked.tier).play()
        bent = f"{done.liars} of {done.nodes} nodes, {done.lies} letters bent"
        return f"{bent}, at least {done.fewest} honest neighbours, {done.events} events", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
