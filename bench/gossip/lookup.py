"""How fast a node answers who offers what, in a region of 500 nodes and 5,000 instances, and what knowing that takes.

Measured on the index itself, in this process, with the collector of cycles at work as in the daemon. Every question is
another one; no two of them share address, constraint and state of links. They are asked in rounds, and a figure is the
median of those of the rounds: other work of the machine stops this process for milliseconds now and then. The row tells
that of all rounds together as well.
"""

import asyncio
import statistics
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import count
from random import Random
from time import perf_counter_ns
from typing import Protocol

import msgspec

from bench.rows import Meter, Row, quantile
from meshnode.gossip.catalogue import CONTEXT, Catalogue, RowBody
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import SignedFact
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute
from meshnode.registry.index import Index
from meshnode.registry.offers import UnitOffer, encode_agent, encode_skill
from meshnode.security.identity import Ed25519Verifier, RecordSigner
from meshnode.wire.calls import SkillDescription

NODES, SKILLS, AGENTS_A_NODE, LINKED, MEASURED = 500, 50, 10, 64, 100
TAGS, SITES, LABELS = 12, 100, 8
TOP = 10
GOAL_US, GOAL_MIB = 100.0, 16.0
CLASSES = (0, 8 << 30, 16 << 30, 24 << 30, 48 << 30, 80 << 30)
REGIONS = 20
ROUNDS = 10
QUIET_S = 0.02  # between batches: this process shares its cores with others


class Effort(Protocol):
    """What this asks of ``bench.gossip.effort``."""

    @property
    def full(self) -> bool: ...


class Region:
    """500 nodes as this one sees them: a few with a link, the others known from gossip."""

    def __init__(self, luck: Random) -> None:
        self.nodes = sorted(NodeId(luck.randbytes(32)) for _ in range(NODES))
        self.me = luck.choice(self.nodes)
        self._rtt = {node: luck.randrange(200, 90_000) for node in luck.sample(self.nodes, LINKED) if node != self.me}
        self._peers = tuple(self._rtt)
        self._told: dict[NodeId, dict[str, Attribute]] = {
            node: {
                "node": f"edge-{rank}", "region": "eu", "cpus": luck.choice((2, 4, 8, 16, 64)),
                "memory": luck.choice((4, 8, 16, 64)) << 30, "gpus": luck.randrange(3),
                "gpu_mem": luck.choice(CLASSES), "arch": luck.choice(("x86_64", "aarch64")),
                "site": f"plant-{rank % SITES}", **{f"label{n}": str(luck.randrange(4)) for n in range(LABELS)},
            }
            for rank, node in enumerate(luck.sample(self.nodes, NODES))
        }  # fmt: skip

    def members(self) -> Sequence[NodeId]:
        return self.nodes

    def reachable(self, node: NodeId) -> bool:
        return node[31] % 50 != 0  # one in fifty is doubted

    def peers(self) -> Sequence[NodeId]:
        return self._peers

    def last_heard_us(self, peer: NodeId) -> int | None:
        return 0 if peer in self._rtt else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return self._rtt.get(peer)

    def heard_us(self, node: NodeId) -> int | None:
        return 900 * SECOND + node[0]

    def attributes(self, node: NodeId) -> Mapping[str, Attribute]:
        return self._told[node]


def filled(region: Region, luck: Random) -> Index:
    """Ten agents a node, each with a skill under its own name and tags."""
    index = Index(region.me, region, region, heard_us=region.heard_us, attributes=region.attributes)
    schema = (
        '{"type":"object","properties":{"text":{"type":"string"},"language":{"type":"string"}},"required":["text"]}'
    )
    offers = [
        encode_skill(
            f"agent{n}",
            SkillDescription(
                f"agent{n}.work", f"Does the work number {n} for whoever asks for it", schema, schema,
                tags=[f"tag{tag}" for tag in sorted(luck.sample(range(TAGS), 3))],
            ),
        )
        for n in range(SKILLS)
    ]  # fmt: skip
    for node in luck.sample(region.nodes, NODES):
        for n in luck.sample(range(SKILLS), AGENTS_A_NODE):
            unit = UnitOffer(luck.randrange(1_000), 1, "running", 1, pid=luck.randrange(2, 60_000), holder=node[:8])
            index.learn(node, f"skill/agent{n}.work", offers[n])
            index.learn(node, f"agent/agent{n}", encode_agent([unit])[""])
        index.described(node)
    now = Instant(1_000 * SECOND, 0)
    for node in luck.sample(region.nodes, MEASURED):
        n = luck.randrange(SKILLS)
        index.observed(node, f"agent{n}", f"agent{n}.work", luck.randrange(1, 50) * MS, now, ok=True)
    return index


def one_percent(luck: Random) -> str:
    return f"site=plant-{luck.randrange(SITES)}"


def half(luck: Random) -> str:
    """48 GiB and more: three of six classes, as people write it."""
    return f"gpu_mem>={luck.randrange(17, 25)}Gi"


def unheard(luck: Random) -> str:
    """The same, at a threshold nobody has asked for before: it is read and put to all values anew."""
    return f"gpu_mem>={luck.randrange((16 << 30) + 1, 24 << 30)}"


def asked(index: Index, luck: Random, where: Callable[[Random], str]) -> float:
    """One question in us; three in four ask for a skill, the others for a capability."""
    tag = luck.random() < 0.25
    address = f"cap/tag{luck.randrange(TAGS)}" if tag else f"agent{luck.randrange(SKILLS)}.work"
    constraint, now = where(luck), Instant(1_000 * SECOND + luck.randrange(SECOND), 0)
    began = perf_counter_ns()
    index.top(address, constraint, k=TOP, now=now)
    return (perf_counter_ns() - began) / 1_000


class Times:
    """What questions took, in us, by round."""

    def __init__(self, rounds: list[list[float]]) -> None:
        self._rounds = rounds
        self._all = [each for taken in rounds for each in taken]

    def median(self, q: float) -> float:
        return statistics.median(quantile(taken, q) for taken in self._rounds)

    def __str__(self) -> str:
        return f"{self.median(0.99):.1f} (all rounds {quantile(self._all, 0.99):.1f}, p50 {self.median(0.5):.1f})"


async def times(ask: Callable[[], float], asks: int) -> Times:
    """In batches: in between others have the core."""
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        taken: list[float] = []
        while len(taken) < asks // ROUNDS:
            taken += [ask() for _ in range(min(500, asks // ROUNDS - len(taken)))]
            await asyncio.sleep(QUIET_S)
        rounds.append(taken)
    return Times(rounds)


async def lookup(effort: Effort) -> AsyncIterator[Row]:
    """Rows ``lookup``, ``lookup-elsewhere`` and ``lookup-memory``."""
    asks = 20_000 if effort.full else 4_000
    luck = Random(6)
    region = Region(luck)
    meter = Meter()
    index = filled(region, luck)
    rare = await times(lambda: asked(index, luck, one_percent), asks)
    often = await times(lambda: asked(index, luck, half), asks)
    anew = await times(lambda: asked(index, luck, unheard), asks // 4)
    yield meter.row(
        "lookup", max(rare.median(0.99), often.median(0.99)), "us", GOAL_US, n=2 * asks,
        why=f"top {TOP} of {NODES} nodes x {NODES * AGENTS_A_NODE} instances, p99, median of {ROUNDS} rounds: "
        f"1 % {rare}, 50 % {often}, with a constraint never asked before {anew}",
    )  # fmt: skip
    yield await elsewhere(asks, luck)
    yield memory(region)


async def elsewhere(asks: int, luck: Random) -> Row:
    """A skill no node of this region offers: which regions have it, and which of their bridges to ask."""
    meter = Meter()
    region = Region(luck)
    index, catalogue, clock = filled(region, luck), catalogue_of(region, luck), count()

    def ask() -> float:
        now = Instant(1_000 * SECOND + next(clock) * MS, 0)
        address = f"far{luck.randrange(SKILLS)}.work"
        began = perf_counter_ns()
        found = index.top(address, k=TOP, now=now)
        where = catalogue.regions_of(address, now.mono_us)
        taken = (perf_counter_ns() - began) / 1_000
        assert len(where) == REGIONS
        assert all(offer.bridges for offer in where)
        assert not found
        return taken

    taken = await times(ask, asks)
    return meter.row(
        "lookup-elsewhere", taken.median(0.99), "us", GOAL_US, n=asks,
        why=f"p99 of not here and where else, {REGIONS} regions x {SKILLS} skills: {taken}",
    )  # fmt: skip


def memory(region: Region) -> Row:
    """What the index of that region takes, each fact having come as its own bytes."""
    meter = Meter()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        index = filled(region, Random(6))
        index.top("agent0.work", "gpu_mem>=1Gi", k=TOP, now=Instant(1_000 * SECOND, 0))
        mib = (tracemalloc.get_traced_memory()[0] - before) / 2**20
    finally:
        tracemalloc.stop()
    instances = NODES * AGENTS_A_NODE
    return meter.row(
        "lookup-memory", mib, "MiB", GOAL_MIB, n=1,
        why=f"traced, {NODES} nodes x {instances} instances; {mib * 2**20 / instances:.0f} B each",
    )  # fmt: skip


class Lands:
    """Twenty other regions of 500 nodes each: what the catalogue asks of directory, detector and trust."""

    def __init__(self, region: Region, luck: Random) -> None:
        self._own = region
        self.speakers = [RecordSigner(luck.randbytes(32)) for _ in range(REGIONS)]
        self._nodes = {
            f"region{at}": sorted([speaker.node, *(NodeId(luck.randbytes(32)) for _ in range(NODES - 1))])
            for at, speaker in enumerate(self.speakers)
        }
        keys = {speaker.node: speaker.public_key for speaker in self.speakers}
        self._members = {
            node: Member(node, "n", keys.get(node, b""), ("member",), name, {}, b"")
            for name, nodes in {**self._nodes, "eu": region.nodes}.items()
            for node in nodes
        }

    def regions(self) -> Sequence[str]:
        return ["eu", *self._nodes]

    def in_region(self, region: str) -> Sequence[NodeId]:
        return self._nodes.get(region, self._own.nodes)

    def reachable(self, node: NodeId) -> bool:
        return self._own.reachable(node)

    def gone(self, node: NodeId) -> bool:
        return not self._own.reachable(node)

    def member(self, node: NodeId) -> Member | None:
        return self._members.get(node)

    def admit(self, record: bytes) -> Member | str:
        return f"nobody is admitted in a bench: {len(record)} bytes"


def catalogue_of(region: Region, luck: Random) -> Catalogue:
    """As one spokesman of each region fills it: every region has every skill."""
    lands = Lands(region, luck)
    config = GossipConfig(node=region.me, name="me", region="eu", boot=1, member=b"")
    catalogue = Catalogue(
        config, lands, region, lands.speakers[0], Ed25519Verifier(), lands,
        holds=lambda name: name == "eu", small=lambda: False,
    )  # fmt: skip
    for at, speaker in enumerate(lands.speakers):
        for n in range(SKILLS):
            body = RowBody(speaker.node, 1, f"region{at}", f"far{n}.work", luck.choice((1, 2)), "cpu")
            encoded = msgspec.msgpack.encode(body)
            row = SignedFact(12_000, encoded, speaker.sign(CONTEXT, encoded))
            catalogue.receive(row, Instant(999 * SECOND, 0))
    return catalogue


async def _alone() -> None:
    class Full:
        full = True

    from bench.rows import show

    async for row in lookup(Full()):
        print(show(row))


if __name__ == "__main__":
    asyncio.run(_alone())
