"""What machine is this: probes, load, fixtures. Knows machines, not meshes."""
