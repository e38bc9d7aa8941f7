"""What a client makes of the bytes a server answers with."""

import socket
import sys
from collections.abc import Iterator

import pytest

from meshnode.client.exchange import HEADERS_MAX, LINE_BYTES_MAX, Answer, BrokenAnswer, ask, ask_whole
from tests.patience import finished


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, server = socket.socketpair()
    client.settimeout(5)
    with client, server:
        yield client, server


def answered(ends: tuple[socket.socket, socket.socket], told: bytes) -> Answer:
    client, server = ends
    server.sendall(told)
    server.shutdown(socket.SHUT_WR)
    return ask(client, "GET", "/v1/status", None)


def test_a_body_of_announced_length_is_read_and_no_more(ends: tuple[socket.socket, socket.socket]) -> None:
    answer = answered(ends, b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\nx: y\r\n\r\nabcdef")
    assert (answer.status, answer.read()) == (404, b"abc")


def test_a_body_without_length_goes_on_until_the_server_closes(ends: tuple[socket.socket, socket.socket]) -> None:
    answer = answered(ends, b"HTTP/1.1 200 OK\r\n\r\none\ntwo\n")
    assert [answer.readline(), answer.readline(), answer.readline()] == [b"one\n", b"two\n", b""]


def test_the_request_carries_its_body_and_its_length(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    server.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert ask(client, "POST", "/v1/call", b"{}").read() == b""
    head, _, body = server.recv(4096).partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /v1/call HTTP/1.0"
    assert b"Content-Length: 2" in head.splitlines()
    assert body == b"{}"


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * HEADERS_MAX + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * LINE_BYTES_MAX,
    ],
)
def test_what_is_no_answer_is_said_to_be_broken(ends: tuple[socket.socket, socket.socket], told: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        answered(ends, told)


def test_a_body_that_ends_early_is_broken(ends: tuple[socket.socket, socket.socket]) -> None:
    answer = answered(ends, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
    with pytest.raises(BrokenAnswer, match="3 of 10"):
        answer.read()


def test_a_client_brings_neither_email_nor_tls_with_it() -> None:
    code = "import sys, meshnode.client.client; print({'email', 'ssl', 'http.client'} & set(sys.modules))"
    assert finished([sys.executable, "-c", code], check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("told", "body", "goes_on"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", False),
    ],
)
def test_a_whole_answer_says_whether_its_connection_goes_on(
    ends: tuple[socket.socket, socket.socket], told: bytes, body: bytes, *, goes_on: bool
) -> None:
    client, server = ends
    server.sendall(told)
    server.shutdown(socket.SHUT_WR)
    whole = ask_whole(client, "POST", "/v1/apply", b"{}")
    assert (whole.status, whole.body, whole.goes_on) == (200, body, goes_on)
    assert server.recv(4096).startswith(b"POST /v1/apply HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * LINE_BYTES_MAX,
    ],
)
def test_what_is_no_whole_answer_is_said_to_be_broken(ends: tuple[socket.socket, socket.socket], told: bytes) -> None:
    client, server = ends
    server.sendall(told)
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenAnswer):
        ask_whole(client, "GET", "/v1/status", None)
