"""The whole node as one pure machine."""
