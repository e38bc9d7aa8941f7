"""Connections that are kept: used again, never after they were closed, and never with somebody else's answer."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.client import Client
from meshnode.client.doors import KEPT_MAX, Doors
from meshnode.client.exchange import BrokenAnswer

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Peer:
    """A server that a test plays by hand. ``made``: how many connections it was asked for."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    @property
    def made(self) -> int:
        return len(self.ends)

    def fresh(self) -> socket.socket:
        client, server = socket.socketpair()
        client.settimeout(5)
        server.settimeout(5)
        self.ends.append(server)
        server.sendall(ANSWER)  # to whatever is asked first
        return client


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    for end in peer.ends:
        end.close()


def test_a_connection_serves_for_the_next_request(peer: Peer) -> None:
    doors = Doors()
    assert doors.ask(peer.fresh, "GET", "/v1/status", None, 5).body == b"{}"
    peer.ends[0].sendall(ANSWER) if peer.ends[0].recv(4096) else None
    doors.close()
    assert peer.made == 1


def test_one_that_was_closed_meanwhile_is_not_used(peer: Peer) -> None:
    doors = Doors()
    doors.ask(peer.fresh, "GET", "/v1/status", None, 5)
    peer.ends[0].close()
    assert doors.ask(peer.fresh, "GET", "/v1/status", None, 5).status == 200
    assert peer.made == 2
    doors.close()


def test_one_over_which_something_came_unasked_is_not_used(peer: Peer) -> None:
    doors = Doors()
    doors.ask(peer.fresh, "GET", "/v1/status", None, 5)
    peer.ends[0].sendall(b"HTTP/1.1 500 Somebody's\r\ncontent-length: 0\r\n\r\n")
    assert doors.ask(peer.fresh, "GET", "/v1/status", None, 5).status == 200
    assert peer.made == 2
    doors.close()


@pytest.mark.parametrize("last", [b"connection: close\r\n", b"Connection: Close\r\n"])
def test_one_that_the_server_ends_is_not_kept(peer: Peer, last: bytes) -> None:
    def fresh() -> socket.socket:
        client, server = socket.socketpair()
        peer.ends.append(server)
        server.sendall(b"HTTP/1.1 200 OK\r\n" + last + b"content-length: 0\r\n\r\n")
        return client

    doors = Doors()
    doors.ask(fresh, "GET", "/", None, 5)
    doors.ask(fresh, "GET", "/", None, 5)
    assert peer.made == 2


def test_a_request_that_nobody_read_is_sent_again_and_one_that_was_read_is_not(peer: Peer) -> None:
    doors = Doors()
    doors.ask(peer.fresh, "POST", "/v1/apply", b"{}", 5)
    server = peer.ends[0]
    assert server.recv(4096)

    def close_unread() -> None:
        server.recv(1, socket.MSG_PEEK)
        server.close()  # with the request in it: a reset

    thread = threading.Thread(target=close_unread)
    thread.start()
    assert doors.ask(peer.fresh, "POST", "/v1/apply", b"{}", 5).status == 200
    thread.join()
    assert peer.made == 2
    server = peer.ends[1]
    assert server.recv(4096)

    def close_read() -> None:
        assert server.recv(4096)
        server.close()

    thread = threading.Thread(target=close_read)
    thread.start()
    with pytest.raises(BrokenAnswer):
        doors.ask(peer.fresh, "POST", "/v1/apply", b"{}", 5)
    thread.join()
    assert peer.made == 2


def test_no_more_are_kept_than_a_few(peer: Peer) -> None:
    doors = Doors()
    together = threading.Barrier(KEPT_MAX + 3)

    def ask() -> None:
        def fresh() -> socket.socket:
            together.wait(5)
            return peer.fresh()

        doors.ask(fresh, "GET", "/", None, 5)

    threads = [threading.Thread(target=ask) for _ in range(KEPT_MAX + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peer.made == KEPT_MAX + 3
    assert len(doors._kept) <= KEPT_MAX + 2  # threads that looked at the same moment
    doors.close()


def test_a_client_that_goes_leaves_no_connection_behind(tmp_path: Path) -> None:
    client = Client(str(tmp_path))
    ours, theirs = socket.socketpair()
    theirs.sendall(ANSWER)
    client._doors.ask(lambda: ours, "GET", "/", None, 5)
    del client
    theirs.settimeout(5)
    assert theirs.recv(4096)
    assert theirs.recv(4096) == b""
    theirs.close()
