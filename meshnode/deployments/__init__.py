"""Intentions: what an AgentCluster wants, and how far the mesh is from it."""
