"""Python client of a node's local API."""
