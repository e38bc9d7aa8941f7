"""Any manifest a person may apply, by its kind."""

from meshnode.model.agent import KIND as AGENT
from meshnode.model.agent import Agent, parse_agent
from meshnode.model.agentcluster import AgentCluster, parse_agentcluster
from meshnode.model.commands import JsonObject
from meshnode.model.manifest import parse_manifest


def parse_declared(manifest: JsonObject) -> Agent | AgentCluster:
    """Raises ``FieldInvalid``."""
    return parse_agent(manifest) if parse_manifest(manifest).kind == AGENT else parse_agentcluster(manifest)
