"""The state of agents: cells with dots, entries, copies on other nodes, checkpoints, reunion after a cut."""
