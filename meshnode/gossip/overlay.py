"""The links that stand: who is a neighbour, for what, and who must go when there are too many.

After Leitao, Pereira, Rodrigues, "HyParView", 2007, with the directory in the place of random walks: since every node
knows every other one, a candidate is drawn, not discovered (``wishes.py``). A small mesh is a full one. In a large one
nobody is pushed out as he arrives without links, from beyond a cut or from a half of the mesh that is not known yet:
first he learns what we know.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.gossip.config import SLACK, GossipConfig
from meshnode.gossip.letters import LINKS_MAX, Greeting, Neighbours, post
from meshnode.gossip.swaps import Swaps
from meshnode.gossip.wishes import BRIDGE_SLOTS_MAX, Held, Mesh, Role, Wishes
from meshnode.kernel.effects import Effect, Hangup
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

AVOID_US = 20 * SECOND  # no re-join after an eviction: it would only evict the next one
AVOIDED_MAX = 1024
RETHINK_US = 5 * SECOND  # with slots still free
FEWER_US = 200 * MS  # a link that is no more: others count on it to carry what this node is to hear
NEIGHBOURS_US = 2 * SECOND  # changes of neighbours are told at most this often
TOLD_MAX = 64  # of them; nobody counts more observers of one node
GUEST_US = 3 * SECOND  # a newcomer or a returned one stays so long, above all slots
GUEST_MAX_US = 12 * SECOND  # who has no other link stays longer: it may be slow, or many came at once
GUESTS_MAX = 128
CLIENTS_MAX = 256  # of a relay: nodes that cannot be dialled


@dataclass(slots=True)
class _Link:
    demanded: bool
    links: dict[NodeId, None]  # the peer's own neighbours
    role: Role = Role.PLAIN
    mine: bool = False  # this node wanted it for that role
    client: bool = False
    guest_until_us: int = 0
    guest_since_us: int = 0
    going: bool = False  # hung up on


class Overlay:
    """Links, and what room they take."""

    def __init__(self, config: GossipConfig, rng: Random, mesh: Mesh, *, whole: bool = False) -> None:
        """``whole``: this node holds the soft facts of all regions, and its greetings say so."""
        self._config, self._rng, self._mesh, self._whole = config, rng, mesh, whole
        self._wishes = Wishes(config, rng, mesh)
        self._swaps = Swaps(rng)
        self._links: dict[NodeId, _Link] = {}
        self.kept: dict[NodeId, None] = {}  # the relays through which this node is reached: they take no slot
        self._demands: dict[NodeId, None] = {}  # dialled for a call, not yet up
        self._idle: Timers[NodeId] = Timers()
        self._avoid: dict[NodeId, int] = {}
        self._tell_us: int | None = None
        self._fewer = False  # of what is to be told then
        self._trim_us: int | None = None
        self.rethink_us: int | None = None  # ask ``wanted`` again then

    # -- questions ----------------------------------------------------------------------------------------------------

    def linked(self, node: NodeId) -> bool:
        return node in self._links

    def is_neighbour(self, node: NodeId) -> bool:
        link = self._links.get(node)
        return link is not None and not link.demanded

    def peers(self) -> list[NodeId]:
        """In the order in which they came up."""
        return list(self._links)

    @property
    def lonely(self) -> bool:
        return not self._links

    @property
    def small(self) -> bool:
        """Everybody links with everybody."""
        return self._mesh.others() < self._config.full_mesh_max

    def told_by(self, owner: NodeId, peer: NodeId) -> bool:
        """``peer`` says it has a link to ``owner``."""
        link = self._links.get(peer)
        return link is not None and owner in link.links

    def matters(self, node: NodeId) -> bool:
        """News about this node may change what is wanted."""
        free = self._taken() < self._config.slots
        return free or node in self._wishes or self._mesh.region_of(node) == self._config.region

    # -- links --------------------------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant, *, returned: bool = False) -> list[Effect]:
        """Greet; a demanded link idles out, any other one is a neighbour. ``returned``: it had been lost."""
        demanded = self._demands.pop(peer, "") is None
        mine = peer in self._wishes
        link = _Link(demanded, {}, self._wishes.role(peer), mine)
        greeting = Greeting(
            demanded, self._others(peer), link.role, not self._mesh.dialable(), self._whole, self._config.ping_us // MS,
            dials_back=True,
        )  # fmt: skip
        self._links[peer] = link
        if returned:
            self._host(link, now)
        if demanded:
            self._idle.set(peer, now.mono_us + self._config.demand_idle_us)
        self._avoid.pop(peer, None)
        if peer == self._swaps.candidate:
            self._swaps.linked(now)
        self._changed(now)
        return [post(peer, greeting)]

    def down(self, peer: NodeId, bye: str, now: Instant) -> None:
        self._links.pop(peer, None)
        self._idle.cancel(peer)
        if peer == self._swaps.candidate:
            self._swaps.lost(now)
        if bye == Bye.EVICTED:
            self.avoid(peer, now)
        self._changed(now, fewer=True)

    def avoid(self, node: NodeId, now: Instant) -> None:
        """Do not ask it again for a while."""
        self._avoid.pop(node, None)
        self._avoid[node] = now.mono_us + AVOID_US
        if len(self._avoid) > AVOIDED_MAX:
            del self._avoid[next(iter(self._avoid))]

    def greeted(self, peer: NodeId, letter: Greeting, now: Instant) -> list[Effect]:
        """Make room, or not: only a newcomer without any link may push somebody else out."""
        link = self._links.get(peer)
        if link is None:
            return []
        self._read(link, peer, letter)
        if self.small or link.demanded or link.going or self._taken() <= self._room(link):
            return []
        if not letter.links or self._from_elsewhere(letter.links):
            self._host(link, now)
        if now.mono_us < link.guest_until_us:
            return []
        stays = not letter.links or (link.mine and link.role is not Role.PLAIN) or self._misses(peer)
        return self._evict(self._victim(peer, now) if stays else peer, now)

    def _read(self, link: _Link, peer: NodeId, letter: Greeting) -> None:
        link.links = dict.fromkeys(letter.links)
        link.demanded |= letter.demanded
        if link.role is Role.PLAIN and letter.role == Role.LONG:
            link.role = Role.LONG
        bridge = letter.role == Role.BRIDGE and self._mesh.region_of(peer) in self._wishes.duties()
        if link.role is Role.PLAIN and bridge and self._count(Role.BRIDGE) < 2 * BRIDGE_SLOTS_MAX:
            link.role = Role.BRIDGE
        relay = self._config.profile == "relay"
        link.client = letter.client and relay and sum(other.client for other in self._links.values()) < CLIENTS_MAX

    def _from_elsewhere(self, links: Sequence[NodeId]) -> bool:
        """Most of its neighbours are nobody we know: two halves of a mesh meet for the first time, and whoever hung up
        now would leave both to believe that they are whole."""
        strangers = sum(self._mesh.region_of(node) is None for node in links)
        return 2 * strangers > len(links)

    def _host(self, link: _Link, now: Instant) -> None:
        """Let it stay for a while, if there are not too many such guests."""
        guests = sum(now.mono_us < other.guest_until_us for other in self._links.values())
        if guests < GUESTS_MAX:
            link.guest_since_us, link.guest_until_us = now.mono_us, now.mono_us + GUEST_US
            self._trim_us = self._trim_us or link.guest_until_us

    def neighbours_told(self, peer: NodeId, links: Sequence[NodeId]) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.links = dict.fromkeys(links)

    # -- demands ------------------------------------------------------------------------------------------------------

    def reach(self, node: NodeId, now: Instant) -> bool:
        """Somebody needs this link: keep it. False: there is none, and the next one that comes up is on demand."""
        link = self._links.get(node)
        if link is None:
            if len(self._demands) < LINKS_MAX:
                self._demands[node] = None
            return False
        if link.demanded:
            self._idle.set(node, now.mono_us + self._config.demand_idle_us)
        return True

    def demanded(self) -> list[NodeId]:
        return list(self._demands)

    def give_up(self, node: NodeId) -> None:
        self._demands.pop(node, None)

    # -- wanted links -------------------------------------------------------------------------------------------------

    def elect(self) -> None:
        """Who is usable in the own region has changed."""
        self._wishes.elect()

    def wanted(self, lost: Sequence[NodeId], now: Instant) -> list[NodeId]:
        """Unlinked nodes to dial until they are linked: the ``lost`` ones, and those drawn for free slots.

        In a small mesh all members.
        """
        self.rethink_us = None
        if self.small:
            self._wishes.drop()
            everybody = (node for region in self._mesh.regions() for node in self._mesh.in_region(region))
            return [node for node in everybody if node != self._config.node and node not in self._links]
        held = self._held()
        self._avoid = {node: until_us for node, until_us in self._avoid.items() if until_us > now.mono_us}
        sought = [node for node in lost if node not in self._links]
        chosen = self._wishes.choose(held, self._barred)
        if held.taken + len(chosen) < self._config.slots // 2:  # then who once had no room is asked again
            chosen = self._wishes.choose(held, lambda node: node in self._links)
        if chosen or held.taken < self._config.slots:
            self.rethink_us = now.mono_us + RETHINK_US
        trial = self._swaps.candidate
        return [*sought, *chosen, *([trial] if trial is not None and trial not in self._links else [])]

    @property
    def full(self) -> bool:
        """A large mesh, and as many links as this node wants."""
        return not self.small and self._taken() >= self._config.slots

    def _held(self) -> Held:
        neighbours = self._neighbours()
        regions = {peer: self._mesh.region_of(peer) for peer in neighbours}
        near = sum(where == self._config.region for where in regions.values())
        taken = self._taken()
        mine = any(self._links[peer].mine and self._links[peer].role is Role.LONG for peer in neighbours)
        afar = taken >= self._limit and near < len(neighbours)  # no room for one of our own: another's must do
        reached = [where for where in regions.values() if where is not None]
        return Held(taken=taken, near=near, long=mine or afar, bridges=self._count(Role.BRIDGE), regions=reached)

    # -- who must go --------------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        return self._config.slots + SLACK

    def _room(self, link: _Link) -> int:
        """The last place is kept for a long link while there is none."""
        far = link.role is Role.LONG or any(other.role is Role.LONG for other in self._links.values())
        return self._limit - (not far)

    def _taken(self) -> int:
        """Slots: clients and bridges take none."""
        return sum(self._takes(link) for peer, link in self._links.items() if peer not in self.kept)

    def _takes(self, link: _Link) -> bool:
        return not (link.demanded or link.client or link.going or link.role is Role.BRIDGE)

    def _count(self, role: Role) -> int:
        return sum(link.role is role and not link.going for link in self._links.values())

    def _victim(self, newcomer: NodeId | None, now: Instant) -> NodeId | None:
        """One of those with the most other links; never the own long link, nor a guest, if it can be helped."""
        others = {
            p: link for p, link in self._links.items() if p != newcomer and p not in self.kept and self._takes(link)
        }
        settled = {p: link for p, link in others.items() if now.mono_us >= link.guest_until_us}
        plain = {p: link for p, link in settled.items() if not (link.mine and link.role is Role.LONG)}
        far = {p: link for p, link in plain.items() if not self._is_near(p)}
        pool = (far if self._near() <= self._config.near_slots else plain) or plain or settled or others
        most = max((len(link.links) for link in pool.values()), default=0)
        best = [peer for peer, link in pool.items() if len(link.links) == most]
        return self._rng.choice(best) if best else None

    def _misses(self, peer: NodeId) -> bool:
        """It lives in the own region, of which this node has too few links."""
        return self._is_near(peer) and self._near() <= self._config.near_slots

    def _near(self) -> int:
        return sum(self._takes(link) and self._is_near(peer) for peer, link in self._links.items())

    def _is_near(self, peer: NodeId) -> bool:
        return self._mesh.region_of(peer) == self._config.region

    def _evict(self, victim: NodeId | None, now: Instant) -> list[Effect]:
        if victim is None:
            return []
        self._links[victim].going = True
        self.avoid(victim, now)
        return [Hangup(victim, Bye.EVICTED)]

    def _trim(self, now: Instant) -> list[Effect]:
        """The time of some guests is over."""
        effects: list[Effect] = []
        for link in self._links.values():
            hosted = link.guest_until_us and now.mono_us < link.guest_since_us + GUEST_MAX_US
            if hosted and not link.links and link.guest_until_us <= now.mono_us:
                link.guest_until_us = now.mono_us + GUEST_US
        guests = sum(self._takes(link) and now.mono_us < link.guest_until_us for link in self._links.values())
        while not self.small and self._taken() - guests > self._limit:
            effects += self._evict(self._victim(None, now), now)
        waiting = [link.guest_until_us for link in self._links.values() if link.guest_until_us > now.mono_us]
        self._trim_us = min(waiting, default=None)
        return effects

    def _neighbours(self) -> list[NodeId]:
        return [peer for peer, link in self._links.items() if not link.demanded]

    def _others(self, peer: NodeId) -> list[NodeId]:
        return [other for other in self._neighbours() if other != peer][:TOLD_MAX]

    # -- faster links -------------------------------------------------------------------------------------------------

    def _swap(self, now: Instant) -> list[Effect]:
        """Begin or end the trial of a candidate that may be faster than our slowest link inside the region."""
        trial = self._swaps.candidate
        times = self._times(now)
        if trial is None:
            room = self._taken() in range(self._config.slots, self._limit)
            if self._swaps.worth(times, now):
                self._swaps.begin(self._wishes.near(self._barred) if room else None, now)
                self.rethink_us = now.mono_us
            return []
        if trial not in self._links:
            self._swaps.lost(now)
            self.rethink_us = now.mono_us
            return []
        return self._evict(self._swaps.judge(times, now), now)

    def _times(self, now: Instant) -> dict[NodeId, int]:
        """Round trips of links that may go: plain ones inside the region, whose peers have enough without us."""
        plain = {
            peer: self._mesh.rtt_us(peer)
            for peer, link in self._links.items()
            if self._takes(link) and link.role is Role.PLAIN and now.mono_us >= link.guest_until_us
            and self._is_near(peer) and (len(link.links) >= self._config.slots or peer == self._swaps.candidate)
        }  # fmt: skip
        return {peer: time_us for peer, time_us in plain.items() if time_us is not None}

    def _barred(self, node: NodeId) -> bool:
        return node in self._links or node in self._avoid

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = [Hangup(peer, Bye.IDLE) for peer in self._idle.pop_due(now.mono_us)]
        if self._trim_us is not None and self._trim_us <= now.mono_us:
            effects += self._trim(now)
        if not self.small and self._swaps.due(now):
            effects += self._swap(now)
        if self._tell_us is not None and self._tell_us <= now.mono_us:
            self._tell_us = None
            patient, self._fewer = not self._fewer, False
            effects += [post(peer, Neighbours(self._others(peer)), patient=patient) for peer in self._links]
        return effects

    def deadlines(self) -> tuple[int | None, ...]:
        swaps_us = None if self.small else self._swaps.deadline()
        return self._idle.deadline(), self._tell_us, self._trim_us, self.rethink_us, swaps_us

    def _changed(self, now: Instant, *, fewer: bool = False) -> None:
        self._fewer |= fewer
        at_us = now.mono_us + (FEWER_US if fewer else NEIGHBOURS_US)
        self._tell_us = at_us if self._tell_us is None else min(self._tell_us, at_us)
