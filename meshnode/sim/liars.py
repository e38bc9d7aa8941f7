"""``python -m meshnode.sim.liars``: a third of the members, all let in by an admin, work together against the others.

They are whole nodes that do what all do, and more: they sign that honest nodes are gone, all of them about the same one
at the same time and again after each answer; they vouch for the dead, tell newcomers that everybody is down, name
observers that do not exist, sign addresses that lead to others, and crowd the slots of one victim with links of theirs.
The honest ones have to stay one component of links among themselves, and nobody honest is shown as down. A node that
really dies is seen to be gone, and its return is seen, too.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from meshnode.gossip import alerts
from meshnode.gossip.alerts import Alert
from meshnode.gossip.letters import (
    ALIAS_BYTES,
    AlertRumour,
    Greeting,
    Letter,
    Neighbours,
    ProbeAck,
    Push,
    Standing,
    encode,
)
from meshnode.gossip.messages import Describe, MemberState
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Channel, Dial, Effect, Send
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId
from meshnode.sim import seeds
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoFalseDeath, NoTwins, RisingBoots
from meshnode.sim.watching import Checker, Violated, look_on, violation_of
from meshnode.sim.world import SEEDS, Setup, World, stream

NODES, SHARE, SPAN_S = 20, 0.3, 60.0
JOIN_S, REST_S, HEAL_S, DEATH_S = 30.0, 5.0, 30.0, 8.0
LIE_US = 250 * MS
APART_US = 10 * SECOND  # links come and go; apart for longer than this is apart


class OneComponent(Checker):
    """The honest nodes that run hang together by links among themselves."""

    def __init__(self, world: World, honest: Sequence[SimNode]) -> None:
        super().__init__(world)
        self._honest = honest
        self._whole_us = world.now_us

    def look(self) -> None:
        parts = parts_of(self._honest)
        if parts <= 1:
            self._whole_us = self.world.now_us
        elif self.world.now_us - self._whole_us > APART_US:
            self.wrong(None, f"the honest ones are {parts} components since {self._whole_us / SECOND:.1f} s")


def parts_of(nodes: Sequence[SimNode]) -> int:
    """Into how many parts the links among these, and only these, divide them."""
    links = {node.node: list(node.core.hub.peers()) for node in nodes if node.core is not None}
    left, parts = dict.fromkeys(links), 0
    while left:
        parts += 1
        edge = [left.popitem()[0]]
        while edge:
            edge += [peer for peer in links[edge.pop()] if left.pop(peer, False) is None]
    return parts


class HonestLive(NoFalseDeath):
    """No honest node calls another one down that lives, whatever others say; of liars anything may be thought."""

    def __init__(self, world: World, honest: Sequence[SimNode]) -> None:
        super().__init__(world)
        self._honest = dict.fromkeys(node.name for node in honest)

    def _check(self, node: SimNode, about: SimNode) -> None:
        if node.name in self._honest and about.name in self._honest:
            super()._check(node, about)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lied:
    """One world. ``lies``: letters beside those any node writes; ``why``: what was wrong, "" if nothing was."""

    seed: int
    nodes: int
    liars: int
    lies: int
    events: int
    why: str = ""


class LiarRun:
    """``play`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES, share: float = SHARE, span_s: float = SPAN_S) -> None:
        self.seed, self.nodes, self.span_s = seed, nodes, span_s
        self.world = World(Setup(seed=seed, nodes=nodes, traced=False))
        self._luck = stream(seed, "liars")
        chosen = self._luck.sample(range(SEEDS, nodes), round(share * nodes))
        self.liars = [self.world[number] for number in sorted(chosen)]
        self.honest = [node for node in self.world.nodes if node not in self.liars]
        self.hunted = self._luck.choice(self.honest[SEEDS:])
        self._mortal = self._luck.choice([node for node in self.honest[SEEDS:] if node is not self.hunted])
        kinds = (RisingBoots, GenuineRows, Bounds, ComesToRest, NoTwins)
        self.live, self.together = HonestLive(self.world, self.honest), OneComponent(self.world, self.honest)
        self._checkers: list[Checker] = [*(kind(self.world) for kind in kinds), self.live]
        self.world.audience.gather(self._checkers)
        self.lies = 0

    def play(self) -> Lied:
        """Never raises for what a checker found: that stands in what it returns."""
        why = violation_of(self._play)
        return Lied(
            seed=self.seed, nodes=self.nodes, liars=len(self.liars), lies=self.lies, events=self.world.events, why=why
        )  # fmt: skip

    def _play(self) -> None:
        world = self.world
        world.start_all()
        look_on(self.world, self._checkers)
        if not world.run_till(lambda: not unmet_by_gossip(world), JOIN_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"did not join: {unmet_by_gossip(world)}")
        world.run_for(REST_S)
        self._checkers.append(self.together)
        end_us = world.now_us + round(self.span_s * SECOND)
        for number, liar in enumerate(self.liars):
            self._goes_on(liar, number, end_us)
        world.run_for(self.span_s / 3)
        self._one_dies()
        world.run_for(self.span_s / 3)
        world.run_till(lambda: world.now_us > end_us, self.span_s)
        if not world.run_till(lambda: not self._unready(), HEAL_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"when the lies end: {self._unready()}")

    def _one_dies(self) -> None:
        """And every honest node has to notice, whoever vouches for it."""
        world, dead = self.world, self._mortal
        dead.kill()

        def believed() -> str:
            living = [node for node in self.honest if node.core is not None and node is not dead]
            return ", ".join(n.name for n in living if n.core and n.core.gossip.state(dead.node) is MemberState.READY)

        if not world.run_till(lambda: not believed(), DEATH_S):
            raise Violated("Death", world.now_us, dead.name, f"dead for {DEATH_S:g} s, and ready to {believed()}")
        dead.start()

    def _unready(self) -> str:
        """The first pair of honest nodes of which one does not think the other ready."""
        for node in self.honest:
            for other in self.honest:
                state = node.core.gossip.state(other.node) if node.core is not None else None
                if state is not MemberState.READY:
                    return f"{node.name} shows {other.name} as {state}"
        return ""

    # -- lies ---------------------------------------------------------------------------------------------------------

    def _goes_on(self, liar: SimNode, number: int, end_us: int) -> None:
        """A round of lies, all liars at nearly the same time; each goes on until the end."""
        round_no = 0

        def lie() -> None:
            nonlocal round_no
            if self.world.now_us >= end_us:
                return
            round_no += 1
            if liar.usable:
                self._accuse(liar, round_no)
                self._vouch(liar)
                if round_no % 8 == 1:
                    self._crowd(liar)
                    self._poison(liar, round_no)
            self.world.at(self.world.now_us + LIE_US, lie)

        self.world.at(self.world.now_us + number * MS, lie)

    def _accuse(self, liar: SimNode, round_no: int) -> None:
        """The hunted one in every round, and the others by turns, under what they signed last."""
        victims = dict.fromkeys((self.hunted.node, self.honest[round_no // 4 % len(self.honest)].node))
        kind = Evidence.REFUSED if round_no % 4 else Evidence.SILENT
        for victim in victims:
            row = liar.core.gossip.row(victim) if liar.core is not None else None
            if row is not None:
                alert = Alert(victim, row.boot, row.incarnation, liar.node, kind)
                body = msgspec.msgpack.encode(alert)
                signature = liar.plan.identity.signer.sign(alerts.CONTEXT, body)
                self._tell_all(liar, Push(encode(AlertRumour(body, signature))))

    def _vouch(self, liar: SimNode) -> None:
        """For the one that dies, and against all others."""
        unready = [(node.node[:ALIAS_BYTES], MemberState.DOWN.value) for node in self.honest]
        self._tell_all(liar, ProbeAck(self._mortal.node, 0))
        self._tell_all(liar, Standing(unready))

    def _crowd(self, liar: SimNode) -> None:
        """Link to the hunted one, and say of oneself that one has no other link: who has none is let in."""
        assert liar.core is not None
        if self.hunted.node not in liar.core.hub.peers():
            perform(liar, liar.core.gossip.reach(self.hunted.node, liar.instant()))
        self._tell_all(liar, Greeting(demanded=False, links=[]))

    def _poison(self, liar: SimNode, round_no: int) -> None:
        """Observers that do not exist, and addresses of one's own that lead to honest nodes."""
        assert liar.core is not None
        ghosts = [NodeId(self._luck.randbytes(32)) for _ in range(16)]
        if round_no % 16 == 1:
            self._tell_all(liar, Neighbours(ghosts))
        else:
            endpoints = tuple(self._luck.choice(self.honest).plan.address for _ in range(2))
            perform(liar, liar.core.gossip.handle(Describe(b'{"lie":%d}' % round_no, endpoints), liar.instant()))

    def _tell_all(self, liar: SimNode, letter: Letter) -> None:
        assert liar.core is not None
        for peer in liar.core.hub.peers():
            self.lies += 1
            perform(liar, [Send(peer, Channel.GOSSIP, encode(letter))])


def perform(liar: SimNode, effects: Sequence[Effect]) -> None:
    """What a liar's room wants in addition: letters and dials, nothing of it concerns its other rooms."""
    assert liar.core is not None
    for effect in effects:
        if isinstance(effect, Send):
            liar.perform(liar.core.hub.handle(effect, liar.instant()))
        elif isinstance(effect, Dial):
            liar.perform([effect])


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("liars", "a third of all work against it", 3)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--share", type=float, default=SHARE, help="of liars")
    asked = parser.parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = LiarRun(seed, nodes=asked.nodes, share=asked.share).play()
        return f"{done.liars} of {done.nodes} nodes told {done.lies} lies, {done.events} events", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
