"""Every view by an address that shows something."""

from tests.gateway.api_kit import now_ms
from tests.gateway.fleet import Fleet


def addresses(nodes: int, per_node: int = 5) -> dict[str, str]:
    """View -> address, in a fleet as ``served(nodes, per_node)`` makes it up."""
    fleet = Fleet(nodes, per_node=per_node, now_ms=now_ms())
    node, unit, wish = fleet.nodes[1], fleet.instances[7], fleet.wishes[0]
    return {
        "overview": "overview",
        "grid": "grid",
        "nodes": "nodes",
        "node": f"nodes/{node.name}",
        "journal": f"journal/{node.name}",
        "agents": "agents",
        "agent": f"agents/{unit.agent}",
        "instance": f"instances/{unit.instance}",
        "clusters": "clusters",
        "cluster": f"clusters/{wish.kind}/{wish.namespace}/{wish.name}",
        "skills": "skills",
        "events": "events",
        "conflicts": "conflicts",
        "commands": "commands",
    }
