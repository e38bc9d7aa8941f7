"""Three members in ten surround one node with links of theirs, and cannot; an overlay that lets them is noticed."""

from dataclasses import replace

import pytest

from meshnode.gossip.letters import Greeting, Neighbours, Prune, Push, decode, encode
from meshnode.gossip.overlay import Overlay
from meshnode.gossip.wishes import Held
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import Instant
from meshnode.model.ids import NodeId
from meshnode.sim.crowded import CrowdRun, Flattering
from meshnode.wire.codec import WIRE
from meshnode.wire.frame import Frame, Kind
from tests.sim.luck import noticed_by_some_seed

SEED, NODES, SPAN_S = 2, 30, 20.0  # an even seed is one region, where no bridge comes beyond the slots


def test_one_node_among_liars_keeps_an_honest_neighbour_and_is_heard() -> None:
    done = CrowdRun(SEED, nodes=NODES, span_s=SPAN_S).play()
    assert not done.why, done.why
    assert done.liars == 9
    assert done.lies > 100
    assert done.fewest > 0


def test_an_overlay_that_draws_nobody_itself_and_keeps_none_is_surrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def content(self: Overlay) -> Held:
        return replace(
            held(self), long=True, taken=max(held(self).taken, self._config.slots), near=self._config.near_slots
        )

    def most_linked(self: Overlay, newcomer: NodeId | None, now: Instant) -> NodeId | None:
        links = {p: link for p, link in self._links.items() if p != newcomer and self._takes(link)}
        settled = {p: link for p, link in links.items() if now.mono_us >= link.guest_until_us} or links
        return max(settled, key=lambda peer: len(settled[peer].links), default=None)

    held = Overlay._held
    monkeypatch.setattr(Overlay, "_held", content)
    monkeypatch.setattr(Overlay, "_victim", most_linked)

    def notices(nth: int) -> bool:
        return CrowdRun(2 * nth, nodes=NODES, span_s=SPAN_S).play().why.startswith(("Surrounded: ", "News: "))

    assert noticed_by_some_seed(notices, first=SEED // 2)


def test_a_liar_says_that_it_has_no_other_link_and_passes_no_rumour_on() -> None:
    liar, peer = Flattering(WIRE), NodeId(bytes(32))
    told = [Greeting(demanded=True, links=[peer]), Neighbours([peer]), Push(b"news"), Prune()]
    frames = [Frame(Kind.CONTROL, 0, Channel.GOSSIP, b"", encode(letter)) for letter in told]
    reader = WIRE.reader(1 << 16)
    assert [decode(reader.feed(liar.encode(frame))[0].payload) for frame in frames] == told
    liar.lies = True
    bent = [decode(reader.feed(liar.encode(frame))[0].payload) for frame in frames]
    assert bent == [Greeting(demanded=False, links=[]), Neighbours([]), Neighbours([]), Prune()]
