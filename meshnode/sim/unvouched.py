"""``python -m meshnode.sim.unvouched --seeds 20``: writes arrive before the admin's word about who made them.

A newcomer meets one machine that hands on documents and says nothing of members, and one that knows him and none of his
documents. His writes come to the others by the first; then it dies, and so does he. The word comes by the second, when
nobody is left who could bring the writes again. They have to be there a moment after it, all that were brought; and
when all machines are back, everywhere.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import SECOND
from meshnode.model.commands import Apply, JsonObject
from meshnode.model.document_views import AppliedView
from meshnode.node.config import NodePorts
from meshnode.sim import seeds
from meshnode.sim.liveness import settle
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.plan import Adapt
from meshnode.sim.watching import Checker, Violated, violation_of
from meshnode.sim.workloads import KIND, NAMESPACE
from meshnode.sim.world import Setup, World
from meshnode.wire.codec import Codec, Reader
from meshnode.wire.frame import Frame, Kind

NODES = 5
MUTE, WITNESS, NEWCOMER = 0, 1, 4
OTHERS = (2, 3)
JOIN_S, BRING_S, WORD_S, MOMENT_S, HEAL_S = 30.0, 20.0, 60.0, 1.0, 90.0
_NOTHING = b"\x92\x08\x90"  # an IHAVE of no rumours


class Mute:
    """Implements ``wire.codec.Codec``: what gossip would say leaves as an empty letter, since links count frames."""

    def __init__(self, codec: Codec, lips: "Lips") -> None:
        self._codec, self._lips = codec, lips

    def encode(self, frame: Frame, marks: int = 0, /) -> bytes:
        return self._codec.encode(_hushed(frame) if self._lips.sealed else frame, marks)

    def encode_all(self, frames: Sequence[Frame], marks: int = 0, /) -> list[bytes]:
        return [self.encode(frame, marks) for frame in frames]

    def join(self, pieces: Sequence[bytes], /) -> bytes:
        return self._codec.join(pieces)

    def reader(self, frame_bytes_max: int, /) -> Reader:
        return self._codec.reader(frame_bytes_max)


def _hushed(frame: Frame) -> Frame:
    is_gossip = frame.kind is Kind.CONTROL and frame.stream == Channel.GOSSIP
    return msgspec.structs.replace(frame, payload=_NOTHING) if is_gossip else frame


class Lips:
    """Of one machine, whichever process runs on it."""

    def __init__(self) -> None:
        self.sealed = True

    def mute(self, ports: NodePorts) -> NodePorts:
        return replace(ports, codec=Mute(ports.codec, self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Vouched:
    """One run. ``writes``: acknowledged; ``held``: envelopes that waited on the others when their bringer died."""

    seed: int
    writes: int = 0
    held: int = 0
    why: str = ""


class ThereWithTheWord(Checker):
    """What was brought is in the documents a moment after the member record is. ``written``: by document, the newest
    generation that was acknowledged and brought."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.written: dict[str, int] = {}
        self._since_us: dict[str, int] = {}

    def stepped(self, node: SimNode) -> None:
        core = node.core
        if core is None or not self.written or node not in [self.world[number] for number in OTHERS]:
            return
        if core.trust.member(self.world[NEWCOMER].node) is None:
            return
        since_us = self._since_us.setdefault(node.name, self.world.now_us)
        if self.world.now_us - since_us > MOMENT_S * SECOND and (lacking := lacking_of(node, self.written)):
            self.wrong(node, f"knows the newcomer for {MOMENT_S:.0f} s, was brought his writes, and lacks {lacking}")

    @property
    def told(self) -> int:
        """Nodes that heard the word."""
        return len(self._since_us)


class UnvouchedRun:
    """``play`` may be called once."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._lips = Lips()
        self.world = World(Setup(seed=seed, nodes=NODES, traced=False, adapt=((MUTE, Adapt(ports=self._lips.mute)),)))
        self.there = ThereWithTheWord(self.world)
        self.world.audience.gather([self.there])
        self._luck = self.world.luck("unvouched")
        self._writes = self._held = 0

    def play(self) -> Vouched:
        """Never raises for what was wrong: that stands in what it returns."""
        why = violation_of(self._play)
        return Vouched(seed=self.seed, writes=self._writes, held=self._held, why=why)

    def _play(self) -> None:
        world = self.world
        mute, newcomer = world[MUTE], world[NEWCOMER]
        others = [world[number] for number in OTHERS]
        apart = world.network.cut(_between(others, [world[WITNESS], newcomer]))
        world.start_all()
        self._wait(lambda: _are_linked(newcomer, mute) and _has_row(world[WITNESS], newcomer), JOIN_S, "meet")
        self._wait(lambda: all(_are_linked(each, mute) for each in others), JOIN_S, "join")
        alone = world.network.cut(_between([world[WITNESS]], [mute, newcomer]))
        written: dict[str, int] = {}
        for number in range(self._luck.randint(10, 60)):
            name = f"c{self._luck.randrange(6)}"
            if isinstance(world.ask(newcomer, _cluster(name, number)), AppliedView):
                written[name], self._writes = number, self._writes + 1
        self._wait(lambda: all(_awaiting(each) >= self._writes for each in others), BRING_S, "be brought all writes")
        self._held = sum(map(_awaiting, others))
        for each in (mute, newcomer):
            (each.kill if self._luck.random() < 0.5 else each.lose_power)()
        self.there.written = written
        world.network.heal(apart)
        self._wait(lambda: self.there.told == len(others), WORD_S, "hear of the newcomer")
        world.run_for(2 * MOMENT_S)
        world.network.heal(alone)
        self._lips.sealed = False
        for each in (mute, newcomer):
            each.gain_power()
            each.start()
        settle(world, HEAL_S)
        for node in world.nodes:
            if lacking := lacking_of(node, written):
                raise Violated("Unvouched", world.now_us, node.name, f"all is healed, and it lacks {lacking}")

    def _wait(self, so: Callable[[], bool], within_s: float, what: str) -> None:
        if not self.world.run_till(so, within_s):
            raise Violated("Coverage", self.world.now_us, "world", f"they do not {what}")


def lacking_of(node: SimNode, written: dict[str, int]) -> list[str]:
    """Documents that do not read as they were written last."""
    assert node.core is not None
    found = {name: node.core.documents.get(KIND, NAMESPACE, name) for name in written}
    return [n for n, document in found.items() if document is None or document.spec.get("generation") != written[n]]


def _awaiting(node: SimNode) -> int:
    return 0 if node.core is None else node.core.documents.awaiting()


def _are_linked(one: SimNode, other: SimNode) -> bool:
    return one.core is not None and other.node in one.core.linked


def _has_row(node: SimNode, of: SimNode) -> bool:
    return node.core is not None and node.core.gossip.row(of.node) is not None


def _between(some: Sequence[SimNode], others: Sequence[SimNode]) -> Cut:
    return Cut(tuple(pair for a in some for b in others for pair in ((a.name, b.name), (b.name, a.name))))


def _cluster(name: str, number: int) -> Apply:
    spec: JsonObject = {"agents": [{"name": "reader", "replicas": 0}], "generation": number}
    metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
    return Apply(manifest={"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec})


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    asked = seeds.parser("unvouched", "writes come before the word about who made them", 20).parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = UnvouchedRun(seed).play()
        return f"{done.writes} writes, {done.held} held", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
