"""Names of units: what one process runs, ``AGENT/FIRST-SLOT``."""

from meshnode.model.ids import AgentName, InstanceId

# Instances of one agent in one worker process; more would share one crash and one interpreter.
ACTORS_A_WORKER = 1000


def unit_id(agent: str, first_slot: int) -> InstanceId:
    return InstanceId(f"{agent}/{first_slot}")


def agent_of(unit: str) -> AgentName:
    return AgentName(unit.partition("/")[0])


def slot_of(unit: str) -> int:
    """The first slot of a unit; -1 if the text names none."""
    slot = unit.partition("/")[2]
    return int(slot) if slot.isdecimal() else -1
