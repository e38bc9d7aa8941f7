"""``make bench-gateway``: the gateway as it ships, before a made-up fleet that speaks the local API of a node."""
