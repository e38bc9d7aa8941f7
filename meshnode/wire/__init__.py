"""Bytes <-> frames. Knows no protocol: what a frame means is decided above."""
