"""The store on one SQLite file: one thread writes, a few read."""
