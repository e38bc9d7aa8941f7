"""The life of agents on this node: recipes, runs, restarts, registrations, exit reasons."""
