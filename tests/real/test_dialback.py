"""A real node whose address leads nowhere finds out by others that dial it, takes relays, and comes back from them."""

from pathlib import Path

import pytest

from tests.demo.fleet import Network
from tests.real.daemon_kit import ROOT, Daemon, Daemons, until

pytestmark = pytest.mark.real

ASKING = (str(ROOT / "tests" / "real" / "asking_daemon.py"),)
OBLIGING = (*ASKING, "obliging")
HIDDEN = "nobody can dial this node"
NAMES = ("rho", "ann", "hid")  # a relay, a neighbour, and one whose advertised port is that of somebody else
NUMBER = NAMES.index("hid") + 1


class Behind(Daemons):
    """Each at an address of its own; what the last one advertises leads to it only once ``open`` was called."""

    def __init__(self, directory: Path, program: tuple[str, ...] = ASKING) -> None:
        super().__init__(directory)
        self._program = program
        self._network = Network(len(NAMES))

    def launch(self, name: str, *arguments: str, program: tuple[str, ...] = ()) -> Daemon:
        address = f"127.0.5.{NAMES.index(name) + 1}"
        front = ("--advertise", f"127.0.0.1:{self._network.fronts[NUMBER]}") if name == "hid" else ()
        where = ("--bind", address, "--dial-from", address, "--no-mdns")
        return self._launched(name, *where, *front, *arguments, program=self._program)

    def all(self) -> tuple[Daemon, Daemon, Daemon]:
        rho = self.start("rho", "--profile", "relay")
        return rho, self.join(rho, "ann"), self.join(rho, "hid")

    def open(self, daemon: Daemon) -> None:
        host, _, port = daemon.listen.rpartition(":")
        self._network.backend(NUMBER, host, int(port))

    def close(self) -> None:
        self._network.close()


def problem(daemon: Daemon) -> str:
    return next((text for text in daemon.ask.status().problems if text.startswith(HIDDEN)), "")


def told(daemon: Daemon, text: str) -> int:
    return sum(text in event.text for event in daemon.ask.why(f"node/{daemon.directory.name}").events)


def test_who_cannot_be_dialled_finds_out_names_a_relay_and_comes_back(tmp_path: Path) -> None:
    mesh = Behind(tmp_path)
    with mesh:
        _, ann, hid = mesh.all()
        said = until(lambda: problem(hid), "it finds out")
        assert "rho" in said and "ann" in said and "tried 127.0.0.1:" in said, said
        until(lambda: "relay/rho" in ann.ask.node("hid").endpoints, "its row names the relay")
        assert problem(ann) == "", "who was dialled does not ask"
        mesh.open(hid)
        until(lambda: not problem(hid), "it is told that it was reached")
        until(lambda: "relay/rho" not in ann.ask.node("hid").endpoints, "and needs no relay any more")
        assert told(hid, HIDDEN) == told(hid, "can be dialled again") == 1
    mesh.close()


def test_neighbours_that_only_say_they_dialled_back_are_noticed(tmp_path: Path) -> None:
    """With the planted fault it believes for as long as it asks that it can be dialled."""
    mesh = Behind(tmp_path, OBLIGING)
    with mesh:
        _, ann, hid = mesh.all()
        until(lambda: ann.ask.node("hid").path == hid.ask.node("ann").path == "direct", "they are linked")
        until(lambda: hid.ask.status().counters.get("gossip.dialback-reached", 0) >= 3, "it asked three times")
        assert problem(hid) == "" and "relay/rho" not in ann.ask.node("hid").endpoints
    mesh.close()
