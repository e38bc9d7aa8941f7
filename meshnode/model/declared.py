"""Any manifest a person may apply, by its kind."""

from meshnode.model.agent import KIND as AGENT
from meshnode.model.agent import Agent, parse_agent
from meshnode.model.agentcluster import AgentCluster, parse_agentcluster
from meshnode.model.commands import JsonObject
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.nodewish import NodeWish, parse_node
from meshnode.model.policy import KIND as POLICY
from meshnode.model.policy import PolicyWish, parse_policy


def parse_declared(manifest: JsonObject) -> Agent | AgentCluster | NodeWish | PolicyWish:
    """Raises ``FieldInvalid``. A kind that is none is refused as everything in an envelope is, by any of them."""
    match manifest.get("kind"):
        case kind if kind == AGENT:
            return parse_agent(manifest)
        case kind if kind == NODE:
            return parse_node(manifest)
        case kind if kind == POLICY:
            return parse_policy(manifest)
        case _:
            return parse_agentcluster(manifest)
