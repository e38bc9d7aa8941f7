"""The mesh agrees who is in it: signed directory, overlay, failure detection, urgent broadcast, soft state, repair."""
