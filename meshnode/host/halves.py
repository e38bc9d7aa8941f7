"""What a peer said in one piece, as the core is told of it: many calls in two turns, all else in one.

Two nodes that keep many calls in flight come into step: all of them are in one piece, which is handled here while the
other end waits, and then the other way round. What the first half of such a piece brings about leaves before the second
is looked at, so the peer has something to do meanwhile, and from then on each end works on one half. A turn costs more
than some calls in it: few are told at once, and so is what is large, of which one half is good for nothing.
"""

MANY = 48  # frames; the halves of as many as are in flight are fewer, and stay as they are
MANY_BYTES_MAX = 64 * 1024
_LEAST_BYTES = 64  # of the frames of a call or its answer


def halves(data: memoryview) -> tuple[memoryview, ...]:
    """One piece, or two. Where frames begin and end in it does not matter to who puts them together; how many there are
    is guessed by the first."""
    all_bytes = len(data)
    if not MANY * _LEAST_BYTES <= all_bytes <= MANY_BYTES_MAX:
        return (data,)
    first_bytes = 4 + int.from_bytes(data[:4])
    if all_bytes < MANY * max(first_bytes, _LEAST_BYTES):
        return (data,)
    return data[: all_bytes // 2], data[all_bytes // 2 :]
