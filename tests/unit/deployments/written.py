"""Documents and standings for tests, as short as they can be."""

from typing import Any

import msgspec

from meshnode.deployments.reader import read
from meshnode.deployments.wants import Reading
from meshnode.model.ids import AgentName, InstanceId
from meshnode.scheduler.views import AgentStanding, UnitStanding

CAT = {"run": {"command": ["/bin/cat"]}}


class Written(msgspec.Struct, frozen=True):
    kind: str
    namespace: str
    name: str
    spec: dict[str, Any]


def agent(name: str, namespace: str = "default", **spec: object) -> Written:
    return Written("Agent", namespace, name, {**CAT, **spec})


def cluster(spec: dict[str, Any], name: str = "team") -> Written:
    return Written("AgentCluster", "default", name, spec)


def node(name: str, *, drain: bool) -> Written:
    return Written("Node", "default", name, {"drain": drain})


def reading(*documents: Written) -> Reading:
    return read(documents)


def unit(name: str, state: str = "running", region: str = "", **more: object) -> UnitStanding:
    slot = int(name.partition("/")[2])
    usual = UnitStanding(InstanceId(name), slot, 1, region, state, node="a", reason="")
    return msgspec.structs.replace(usual, **more)


class Standings:
    """What stands, by agent."""

    def __init__(self, *units: UnitStanding) -> None:
        self._units = units

    def __call__(self, agent: AgentName) -> AgentStanding:
        return AgentStanding(agent, tuple(unit for unit in self._units if unit.unit.startswith(f"{agent}/")))
