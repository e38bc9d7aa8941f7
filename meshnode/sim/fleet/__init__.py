"""Tier 3 of the simulator: thousands of real gossip rooms over a light network; heartbeats are elided."""
