"""The machine of one link after TLS, and of all links of a node: HELLO, sequence, ack, dedup, credit, resume."""
