"""The states of an agent as they can be read: at every node's door, on every machine's disk, in its processes."""

from collections.abc import Mapping

import msgspec

from meshnode.checkpoints import merge
from meshnode.checkpoints.shelf import read_records, rebuilt
from meshnode.checkpoints.state import State
from meshnode.kernel.blobs import digest_of
from meshnode.kernel.journal import recover
from meshnode.kernel.ledger import live
from meshnode.model.commands import ShowState
from meshnode.model.ids import InstanceId
from meshnode.model.unit_views import StateView
from meshnode.model.units import agent_of
from meshnode.sim.cells import Tally
from meshnode.sim.node import SimNode
from meshnode.sim.stateful import TOTAL
from meshnode.sim.units import wanted_units
from meshnode.sim.world import World
from meshnode.wire.state import read_key

ASK_S = 12.0
_ID = "id/"


class Books(msgspec.Struct, frozen=True):
    """``shown``: by node and unit; ``disks``: all copies on all disks together, by unit; ``memory``: of the processes.

    ``versions``: as shown where the unit runs; ``silent``: who gave no answer, and why.
    """

    shown: dict[str, dict[InstanceId, Tally]]
    disks: dict[InstanceId, Tally]
    memory: dict[InstanceId, Tally]
    versions: dict[InstanceId, int]
    silent: list[str]


def read_books(world: World, agent: str) -> Books:
    """Everything there is about an agent; the world goes on while nodes are asked."""
    units = [unit for unit in wanted_units(world) if agent_of(unit) == agent]
    questions = [(node, unit) for node in world.nodes for unit in units]
    views = world.ask_all([(node, ShowState(unit=unit)) for node, unit in questions], ASK_S)
    shown: dict[str, dict[InstanceId, Tally]] = {node.name: {} for node in world.nodes}
    versions, silent = dict[InstanceId, int](), list[str]()
    for (node, unit), view in zip(questions, views, strict=True):
        if isinstance(view, StateView):
            values = {key: msgspec.json.encode(value) for key, value in view.keys.items()}
            shown[node.name][unit] = tally_of(values)
            versions[unit] = max(versions.get(unit, 0), view.version)
        else:
            silent.append(f"{node.name} about {unit}: {view}")
    memory = {unit: t for node in world.nodes for unit, t in node.agents.states().items() if agent_of(unit) == agent}
    return Books(shown, on_disks(world, agent), memory, versions, silent)


def tally_of(values: Mapping[str, bytes]) -> Tally:
    """The counter, and the amount under every id, over all slots and sessions. ``values``: JSON."""
    total, ids = 0, dict[str, int]()
    for text, value in values.items():
        name = read_key(text).name
        if name == TOTAL:
            total += int(value)
        elif name.startswith(_ID):
            ids[name.removeprefix(_ID)] = int(value)
    return Tally(total, ids)


def on_disks(world: World, agent: str) -> dict[InstanceId, Tally]:
    """What the journals and checkpoint files of all machines hold together, merged by nobody's planted rules."""
    joined: dict[InstanceId, State] = {}
    for node in world.nodes:
        for unit, state in _on_disk(node).items():
            if agent_of(unit) == agent:
                merge.join(joined.setdefault(unit, State()), merge.delta(state))
    return {unit: tally_of(state.values()) for unit, state in joined.items()}


def _on_disk(node: SimNode) -> dict[InstanceId, State]:
    """Read as a daemon that starts would."""
    shelf = read_records(live(recover(node.disk.durable).records))
    blobs = {digest: data for digest, data in node.blobs.content().items() if digest_of(data) == digest}
    return {
        unit: rebuilt(unit, shelf.manifests.get(unit, []), shelf.logs.get(unit, []), blobs).state
        for unit in shelf.units()
    }
