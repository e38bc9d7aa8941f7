"""The parts of the demo that need no daemons: its network, its ledger, its clock, its leftovers."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from meshnode.cli.demo import AGENT, Ledger, Teller, given_for_run
from meshnode.cli.demo_mesh import NAMES, Wires, demo_mesh, until
from meshnode.cli.demo_proxy import node_of, pair
from meshnode.cli.run import wanted_of
from meshnode.client.client import Client
from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError, NotFound, TimedOut
from meshnode.model.views import CallView
from tests.patience import PATIENCE_S, finished

SHIPPED = Path(__file__).parents[3] / "meshnode" / "cli" / "demo_agent.py"


class Answering(Client):
    """A client whose calls fail as often as it is told, and remember their keys."""

    def __init__(self, *failures: LocalError) -> None:
        super().__init__("/nowhere")
        self.failures = list(failures)
        self.keys: list[str] = []

    def call(self, command: CallSkill) -> CallView:
        self.keys.append(command.idempotency_key)
        if self.failures:
            raise self.failures.pop()
        return CallView(call_id="c", result=len(self.keys), instance="tally/0", node="a", took_ms=1.0, attempts=1)


def test_a_call_is_repeated_under_its_own_key_until_it_is_answered() -> None:
    ledger, client = Ledger("s"), Answering(TimedOut("t"), NotFound("n"))
    ledger.add(client)
    ledger.add(client)
    assert (ledger.total, ledger.tries) == (2, 4)
    assert client.keys == ["s-0", "s-0", "s-0", "s-1"]


def test_a_call_that_nobody_ever_answers_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.cli.demo.TRY_S", 0.0)
    with pytest.raises(TimedOut, match="last: gone"):
        Ledger("s").add(Answering(NotFound("gone")))


def test_what_happens_is_told_with_the_time_since_the_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([10.0, 10.5, 73.25])
    tell = Teller(lambda: next(times))
    tell("one")
    tell("two\x1b[2J")
    assert capsys.readouterr().out == "[   0.50 s] one\n[  63.25 s] two\\x1b[2J\n"


def test_the_shipped_agent_is_one_that_is_carried_to_other_nodes() -> None:
    wanted = wanted_of(given_for_run(SHIPPED))
    assert (wanted.name, wanted.file, wanted.replicas) == (AGENT, str(SHIPPED), 1)
    assert wanted.source == SHIPPED.read_bytes()


def test_waiting_for_what_never_comes_says_so_and_why() -> None:
    def look() -> bool:
        raise NotFound("no agent")

    with pytest.raises(TimedOut, match="it does not run within 0 s: no agent"):
        until(look, "it does not run", 0.0)


def test_a_node_is_known_by_the_address_it_dials_from() -> None:
    assert [node_of(source) for source in ("127.0.1.3", "127.0.0.1", "10.0.1.3")] == [3, 0, 0]
    assert pair(3, 1) == pair(1, 3) == (1, 3)


def test_a_story_that_is_none_is_a_usage_error() -> None:
    done = finished([sys.executable, "-m", "meshnode.cli", "demo", "comedy"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice: 'comedy'" in done.stderr


def echo() -> tuple[socket.socket, threading.Thread]:
    """A server that sends back what it gets, one connection after the other, until its socket is shut down."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                while data := peer.recv(1000):
                    peer.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread


@pytest.mark.real
def test_a_cut_is_silent_and_healing_it_delivers_what_was_in_flight() -> None:
    wires = Wires(3)
    server, thread = echo()
    try:
        wires.backend(2, *server.getsockname())
        with socket.create_connection(
            ("127.0.0.1", wires.fronts[2]), timeout=5, source_address=("127.0.1.1", 0)
        ) as link:
            link.sendall(b"one")
            assert link.recv(100) == b"one"
            wires.cut((2, 1))
            link.sendall(b"two")
            link.settimeout(0.1)
            with pytest.raises(TimeoutError):
                link.recv(100)
            wires.cut((1, 3))  # replaces the cut: 1 and 2 may speak again
            link.settimeout(5)
            assert link.recv(100) == b"two"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        wires.close()
        thread.join(5)


ORPHAN = "import signal; signal.pause()"


def broken_story() -> None:
    """Starts a process whose parent ends before it, and breaks."""
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {ORPHAN!r}])"
    with demo_mesh(wires=True) as mesh:
        assert set(mesh.clients) == set(NAMES)
        subprocess.run([sys.executable, "-c", parent], check=True, timeout=PATIENCE_S)
        assert any(ORPHAN in child.cmdline() for child in psutil.Process().children())
        raise ZeroDivisionError


@pytest.mark.real
def test_a_story_that_breaks_leaves_no_process_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(ZeroDivisionError):
        broken_story()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert list(tmp_path.iterdir()) == []
