"""Who runs what, as the processes on the machines say, not as any daemon does."""

from meshnode.model.ids import InstanceId
from meshnode.model.units import agent_of, unit_id
from meshnode.sim.node import SimNode
from meshnode.sim.world import World


def runs(node: SimNode, agent: str) -> bool:
    """Whether a process of this agent is on this machine."""
    return any(agent_of(unit) == agent for unit, _ in node.agents.running())


def wanted_units(world: World) -> dict[InstanceId, str]:
    """Units that the documents want, as some daemon reads them; each with what wants it."""
    node = next((node for node in world.nodes if node.usable), None)
    if node is None or node.core is None:
        return {}
    return {
        unit_id(want.agent, slot): want.source
        for want in node.core.intentions.wants()
        for slot in range(0, want.replicas, want.slots_a_unit)
    }


def owners(world: World) -> dict[InstanceId, list[str]]:
    """Machines by the unit they have a process of; one with two processes of a unit stands there twice."""
    found: dict[InstanceId, list[str]] = {}
    for node in world.nodes:
        for unit, _ in node.agents.running():
            found.setdefault(unit, []).append(node.name)
    return found


def odd_units(world: World) -> str:
    """ "": every wanted unit runs once, nothing else runs, and who runs it says so. Else one that is not so."""
    wanted, running = wanted_units(world), owners(world)
    for unit in wanted:
        where = running.get(unit, [])
        if len(where) != 1:
            return f"{unit} runs on {', '.join(where) or 'no node'}"
        core = world.named(where[0]).core
        info = core.agents.instance(unit) if core is not None else None
        home = core.homes.get(unit) if core is not None else None
        if info is None or info.state.value != "running" or home is None or home.leaving:
            return f"{unit} on {where[0]} is {info.state.value if info is not None else 'not known to its daemon'}"
    extra = next((unit for unit in running if unit not in wanted), None)
    return f"{extra} runs on {', '.join(running[extra])}, and nobody wants it" if extra is not None else ""
