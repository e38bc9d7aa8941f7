"""The grammar of machines: time, effects, ports, randomness, fingerprints. Knows no protocol."""
