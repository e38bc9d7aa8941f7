"""What is large passes a socket of this machine by the megabyte, and room for it costs nothing before that."""

import resource
import socket

from meshnode.sdk import gulps


def taken_at_once(writer: socket.socket) -> int:
    """How much of a gulp a write takes while nobody reads."""
    writer.setblocking(False)
    return writer.send(bytes(gulps.GULP_BYTES))


def test_a_wide_socket_takes_a_gulp_at_once_that_another_one_does_not() -> None:
    narrow, wide = socket.socketpair(), socket.socketpair()
    gulps.widen(wide[0], 2 * gulps.GULP_BYTES)
    try:
        assert taken_at_once(narrow[0]) < gulps.GULP_BYTES
        allowed = wide[0].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert taken_at_once(wide[0]) == gulps.GULP_BYTES or allowed < 2 * gulps.GULP_BYTES
    finally:
        for end in (*narrow, *wide):
            end.close()


def test_a_socket_that_was_closed_is_not_made_wide_and_nobody_hears_of_it() -> None:
    near, far = socket.socketpair()
    near.close()
    far.close()
    gulps.widen(near, gulps.GULP_BYTES)


def test_room_for_a_gulp_is_in_memory_only_where_it_was_filled() -> None:
    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    before = faults()
    room = gulps.buffer()
    made = faults() - before
    room[:] = bytes(len(room))
    assert len(room) == gulps.GULP_BYTES
    assert made < len(room) // resource.getpagesize() // 2
