"""Rows of a large directory, folded small: thousands of machines say nearly the same of themselves in the same words.

A row is packed against one that was seen before, so that only what differs is kept. Signatures cover the bytes as they
came, and exactly those come out again. What is unpacked was packed here: no stream of anybody else is ever read.
"""

import zlib

from meshnode.gossip.letters import ROW_BYTES_MAX

LEVEL, MEMORY = 6, 4
WINDOW_BITS = 13  # raw, without a header; the window holds a whole sample
assert 1 << WINDOW_BITS >= ROW_BYTES_MAX


class Press:
    """Packs rows against a ``sample``: what was packed against one is of no use with another."""

    __slots__ = ("_begun", "_sample")

    def __init__(self, sample: bytes) -> None:
        self._sample = sample
        self._begun = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY, zlib.Z_DEFAULT_STRATEGY, sample)

    def packed(self, body: bytes) -> bytes:
        stream = self._begun.copy()
        return stream.compress(body) + stream.flush()

    def unpacked(self, data: bytes) -> bytes:
        return zlib.decompressobj(-WINDOW_BITS, self._sample).decompress(data)
