"""What a warden tells of exits, and to whom, while daemons come and go."""

import selectors
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from meshnode.host.wardenloop import WardenLoop, now
from meshnode.host.wardenrun import Runs
from meshnode.host.wardenwire import Exited, FromWarden, Inbox, List, Listed, encode, read_report

EXITED = Exited("a/0", 1, 5, "", "")


class Warden:
    """The loop, turned by hand."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "warden.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.directory = directory
        self.loop = WardenLoop(self.listener, self.path, self._runs, orphan_us=60_000_000)

    def _runs(self, tell: Callable[[FromWarden], None], selector: selectors.BaseSelector) -> Runs:
        self.tell = tell
        return Runs(tell, now, selector, run_directory=str(self.directory), logs=self.directory, files_max=100)

    def close(self) -> None:
        self.loop._leave()
        for left in (self.loop._selector, self.loop._woken, self.loop._wakes):
            left.close()

    def daemon(self) -> socket.socket:
        """One that has asked what runs, and was answered."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(10)
        connection.connect(str(self.path))
        self.loop._accept()
        connection.sendall(encode(List()))
        self.loop._hear()
        self.loop._obey()
        return connection


def heard(connection: socket.socket) -> list[FromWarden]:
    return [read_report(body) for body in Inbox().feed(connection.recv(65_536))]


def test_an_exit_is_told_to_the_daemon_that_is_there_and_to_no_other(tmp_path: Path) -> None:
    with closing(Warden(tmp_path)) as warden, warden.daemon() as first:
        warden.tell(EXITED)
        assert heard(first) == [Listed(()), EXITED]
        with warden.daemon() as second:
            assert heard(second) == [Listed(())]


def test_an_exit_that_only_finds_a_killed_daemon_is_told_to_the_next(tmp_path: Path) -> None:
    """The end of the connection was there to be read; the end of the agent was looked at first."""
    with closing(Warden(tmp_path)) as warden:
        warden.daemon().close()
        warden.tell(EXITED)
        with warden.daemon() as second:
            assert heard(second) == [Listed(()), EXITED]
