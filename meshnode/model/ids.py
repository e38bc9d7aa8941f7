"""Identifiers. One word, one meaning (see docs/concepts.md)."""

from typing import NewType

# SHA-256 of a node's Ed25519 record key, 32 raw bytes; printed as its first 12 hex digits.
NodeId = NewType("NodeId", bytes)
# The human name of a node, unique in its mesh, as in spiffe://MESH/node/NAME.
NodeName = NewType("NodeName", str)
MeshId = NewType("MeshId", str)
Region = NewType("Region", str)
AgentName = NewType("AgentName", str)
# One unit: what one process runs of an agent, "NAME/FIRST-SLOT" (see model/units.py).
InstanceId = NewType("InstanceId", str)
# A callable ability, "AGENT.FUNCTION" or a bare name.
SkillName = NewType("SkillName", str)
# One TCP+TLS connection of this process; never reused within a boot.
LinkId = NewType("LinkId", int)
# One agent process's connection to this daemon; never reused within a boot.
AgentConn = NewType("AgentConn", int)
# SHA-256 of "kind/namespace/name", first 16 bytes.
DocId = NewType("DocId", bytes)

UNKNOWN_NODE = NodeId(b"")


def short(node: NodeId) -> str:
    """The first 12 hex digits: enough to tell nodes apart in a message for people."""
    return node.hex()[:12]
