"""What people ask of lists: every list with every order, typical filters, first pages and deep ones."""

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from cloud_gateway.model.listings import LISTINGS
from tests.gateway.fleet import Fleet

PATHS: Mapping[str, str] = {"wishes": "clusters"}
Values = dict[str, str | list[str]]


class Question(NamedTuple):
    """``group``: which figure it belongs to; ``deep``: how many pages are turned before it is timed."""

    group: str
    path: str
    values: Values
    deep: int = 0

    @property
    def address(self) -> str:
        return f"{self.path}?{urlencode(self.values, doseq=True)}" if self.values else self.path

    @property
    def shown(self) -> str:
        return self.address + (f" (page {self.deep + 1})" if self.deep else "")


def questions(fleet: Fleet) -> list[Question]:
    return [*_orders(), *_filters(fleet), *_histories(fleet), *_glances(), *_searches(fleet)]


def _orders() -> Iterator[Question]:
    """A column that is sorted downwards by default is asked for upwards, too."""
    for kind, listing in LISTINGS.items():
        for sort in listing.sorts:
            column = sort.removeprefix("-")
            for order in (column, f"-{column}"):
                yield Question("lists", PATHS.get(kind, kind), {"sort": order})
        yield Question("lists", PATHS.get(kind, kind), {}, deep=3)


def _filters(fleet: Fleet) -> Iterator[Question]:
    luck = random.Random(6)
    node, unit = luck.choice(fleet.nodes), luck.choice(fleet.instances)
    region, agent = node.region, unit.agent
    for kind, values in (
        ("nodes", {"state": ["down", "suspect", "unreachable"]}),
        ("nodes", {"region": region, "sort": "-cpu_percent"}),
        ("nodes", {"region": region, "state": "ready", "sort": "-memory_percent"}),
        ("nodes", {"q": node.name[-4:]}),
        ("nodes", {"q": region[:4], "sort": "rtt_ms"}),
        ("instances", {"agent": agent}),
        ("instances", {"agent": agent, "region": region, "sort": "-restarts"}),
        ("instances", {"node": node.name}),
        ("instances", {"state": "failed"}),
        ("instances", {"state": ["failed", "backoff"], "sort": "-version"}),
        ("instances", {"region": region, "sort": "-version"}),
        ("instances", {"q": unit.instance[-5:]}),
        ("instances", {"q": agent[:4], "sort": "-restarts"}),
        ("skills", {"skill": f"{agent}.ask"}),
        ("skills", {"agent": agent, "region": region, "sort": "rtt_ms"}),
        ("skills", {"node": node.name}),
        ("skills", {"q": agent[:5], "sort": "rtt_ms"}),
        ("cursors", {"node": node.name}),
    ):
        yield Question("lists", kind, dict(values))
    yield Question("lists", "instances", {"agent": agent}, deep=20)
    yield Question("lists", "nodes", {"sort": "-cpu_percent", "limit": "500"}, deep=3)
    yield Question("lists", "agents", {})
    yield Question("lists", "agents", {"region": region})


def _histories(fleet: Fleet) -> Iterator[Question]:
    node = random.Random(8).choice(fleet.nodes)
    yield Question("lists", "events", {})
    yield Question("lists", "events", {}, deep=3)
    yield Question("lists", "events", {"node": node.name})
    yield Question("lists", "events", {"region": node.region})
    yield Question("lists", "events", {"subject": "agent/words"})
    yield Question("lists", "journal", {"node": node.name})


def _glances() -> Iterator[Question]:
    yield Question("overview", "overview", {})


def _searches(fleet: Fleet) -> Iterator[Question]:
    luck = random.Random(9)
    region, agent = luck.choice(fleet.nodes).region, luck.choice(fleet.instances).agent
    for values in (
        {"skill": f"{agent}.ask", "where": "gpu_mem>=20Gi"},
        {"skill": f"{agent}.*", "where": "gpu_mem>=20Gi,site=plant-4,cpus>=8"},
        {"skill": "*", "where": "site=plant-7,memory>=16Gi"},
        {"skill": f"{agent}.run", "where": "cpus>=16,arch=x86_64", "region": region},
        {"skill": "words.*"},
    ):
        yield Question("search", "skills/search", dict(values))
