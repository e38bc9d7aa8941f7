"""The demo's network: a cut is silent, what was in flight arrives after it, and resets pass on like on a real wire."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import bounded

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 5.0
# How long nothing at all may come for it to count as silence.
SILENCE_S = 0.3
RESET = struct.pack("ii", 1, 0)

pytestmark = pytest.mark.real


class Wire:
    """The proxy process, and the listeners of the daemons behind it."""

    def __init__(self, nodes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshnode.cli.demo_proxy", str(nodes)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.fronts = {int(node): port for node, port in self._line()["fronts"].items()}
        self.listeners: dict[int, socket.socket] = {}
        self.open: list[socket.socket] = []

    def order(self, **order: object) -> dict[str, object]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._line()

    def daemon(self, node: int) -> socket.socket:
        """What node ``node`` listens with."""
        listener = socket.create_server(("127.0.0.1", 0))
        if node in self.listeners:
            self.listeners[node].close()
        listener.settimeout(PATIENCE_S)
        self.listeners[node] = listener
        assert self.order(backend=[node, *listener.getsockname()]) == {"ok": True}
        return listener

    def dial(self, source: int, target: int) -> socket.socket:
        """Node ``source`` dials the front of node ``target``; 0 is somebody who is no node yet."""
        address = f"127.0.1.{source}" if source else "127.0.0.1"
        caller = socket.create_connection(("127.0.0.1", self.fronts[target]), PATIENCE_S, (address, 0))
        self.open.append(caller)
        return caller

    def linked(self, source: int, target: int) -> tuple[socket.socket, socket.socket]:
        caller = self.dial(source, target)
        return caller, self.accepted(target)

    def accepted(self, node: int) -> socket.socket:
        served, _ = self.listeners[node].accept()
        served.settimeout(PATIENCE_S)
        self.open.append(served)
        return served

    def close(self) -> int:
        """Stdin ends, and the proxy with it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        for one in (*self.open, *self.listeners.values(), self.process.stdin):
            one.close()
        code = self.process.wait(timeout=PATIENCE_S)
        self.process.stdout.close()
        return code

    def _line(self) -> dict[str, dict[str, int]]:
        assert self.process.stdout is not None
        with bounded(self.process, "an answer of the proxy"):
            return json.loads(self.process.stdout.readline())


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire(3)
    for node in (1, 2, 3):
        made.daemon(node)
    yield made
    assert made.close() == 0


def is_silent(end: socket.socket) -> bool:
    """No byte, no end, no reset."""
    end.settimeout(SILENCE_S)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(PATIENCE_S)
    return False


def reset(end: socket.socket) -> None:
    """As a killed process with unread bytes would."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()


def read(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        assert piece, "it ended early"
        data += piece
    return data


def test_bytes_pass_both_ways_and_are_counted_by_sender(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    caller.sendall(b"ping")
    assert read(served, 4) == b"ping"
    served.sendall(b"pong!")
    assert read(caller, 5) == b"pong!"
    assert wire.order(count=[]) == {"sent": {"1": 4, "2": 5}}


def test_much_passes_unharmed(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    data = bytes(range(256)) * 8_192
    served.settimeout(PATIENCE_S)
    sent = 0
    got = b""
    caller.setblocking(False)
    while len(got) < len(data):
        with contextlib.suppress(BlockingIOError):
            sent += caller.send(data[sent : sent + 65_536]) if sent < len(data) else 0
        got += served.recv(65_536)
    assert got == data


def test_a_cut_is_silent_both_ways_and_what_was_in_flight_arrives_after_it(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    wire.order(cut=[[2, 1]])
    caller.sendall(b"from 1")
    served.sendall(b"from 2")
    assert is_silent(served) and is_silent(caller)
    wire.order(cut=[])
    assert read(served, 6) == b"from 1"
    assert read(caller, 6) == b"from 2"


def test_a_cut_hides_that_the_other_end_has_gone(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    other, far = wire.linked(3, 2)
    wire.order(cut=[[1, 2], [2, 3]])
    reset(served)
    far.close()
    assert is_silent(caller) and is_silent(other)
    wire.order(cut=[])
    with pytest.raises(ConnectionResetError):
        caller.recv(1)
    assert other.recv(1) == b"", "closed in order, and that is how it arrives"


def test_a_dial_during_a_cut_is_answered_by_nobody_until_it_heals(wire: Wire) -> None:
    wire.order(cut=[[1, 2]])
    caller = wire.dial(1, 2)
    caller.sendall(b"hello")
    assert is_silent(caller)
    wire.listeners[2].settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        wire.listeners[2].accept()
    wire.listeners[2].settimeout(PATIENCE_S)
    wire.order(cut=[])
    assert read(wire.accepted(2), 5) == b"hello"


def test_a_cut_of_one_pair_leaves_the_others_and_strangers_alone(wire: Wire) -> None:
    pairs = [wire.linked(1, 3), wire.linked(2, 3), wire.linked(0, 2)]
    wire.order(cut=[[1, 2]])
    for caller, served in pairs:
        caller.sendall(b"x")
        assert read(served, 1) == b"x"


def test_a_new_cut_replaces_the_old_one(wire: Wire) -> None:
    first, far = wire.linked(1, 2), wire.linked(1, 3)
    wire.order(cut=[[1, 2]])
    wire.order(cut=[[1, 3]])
    first[0].sendall(b"x")
    assert read(first[1], 1) == b"x"
    far[0].sendall(b"y")
    assert is_silent(far[1])


def test_a_reset_of_the_daemon_becomes_a_reset_of_the_dialler(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    reset(served)
    with pytest.raises(ConnectionResetError):
        caller.recv(1)


def test_a_reset_of_the_dialler_becomes_a_reset_of_the_daemon(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    reset(caller)
    with pytest.raises(ConnectionResetError):
        served.recv(1)


def test_where_nobody_listens_a_dial_is_reset(wire: Wire) -> None:
    wire.listeners[2].close()
    with pytest.raises(ConnectionResetError):  # at the first read, or already while the dial is on its way
        wire.dial(1, 2).recv(1)


def test_an_end_in_order_passes_one_way_at_a_time(wire: Wire) -> None:
    caller, served = wire.linked(1, 2)
    caller.shutdown(socket.SHUT_WR)
    assert served.recv(1) == b""
    served.sendall(b"still here")
    assert read(caller, 10) == b"still here"
    served.close()
    assert caller.recv(1) == b""


def test_a_daemon_that_comes_back_elsewhere_is_reached_by_the_same_front(wire: Wire) -> None:
    wire.daemon(2)
    caller, served = wire.linked(1, 2)
    caller.sendall(b"x")
    assert read(served, 1) == b"x"


def test_the_proxy_ends_with_whoever_started_it(wire: Wire) -> None:
    wire.linked(1, 2)
    wire.dial(1, 3)
    assert wire.process.stdin is not None
    wire.process.stdin.close()
    assert wire.process.wait(timeout=PATIENCE_S) == 0
    with pytest.raises(ConnectionRefusedError):
        wire.dial(1, 2)
