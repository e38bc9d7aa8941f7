"""Nodes that nobody can dial, on real daemons: reached through relays, by calls both ways, while relays come and go."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.real.daemon_kit import PRODUCT, ROOT, Cuttable, Daemon, Daemons, cli, until
from tests.real.mesh_kit import call, run

pytestmark = pytest.mark.real

RELAYS = ("rho", "rue")
CLIENTS = ("ann", "ben")
HIDDEN = ("--no-listen",)
OVERHEARING = (str(ROOT / "tests" / "real" / "overhearing_relay.py"),)
PIPELESS = (str(ROOT / "tests" / "real" / "pipeless_relay.py"),)
RECORD = b"\x17\x03\x03"  # how a record of TLS begins that carries data
SECRET = "the-vault-opens-at-nine"


class Hidden:
    """Two relays, and two nodes that reach each other through them alone; each runs a ledger."""

    def __init__(self, daemons: Daemons) -> None:
        self.rho = daemons.start("rho", "--profile", "relay")
        rue = daemons.launch_join(self.rho, "rue", "--profile", "relay")
        clients = [daemons.launch_join(self.rho, name, *HIDDEN) for name in CLIENTS]
        self.rue, self.ann, self.ben = map(daemons.served, (rue, *clients))
        for here, there in ((self.ann, "ben"), (self.ben, "ann")):
            until(lambda at=here, to=there: path(at, to).startswith("relay "), f"{there} is reached through a relay")
        for at, other in ((self.ann, self.ben), (self.ben, self.ann)):
            name = f"of-{at.directory.name}"
            run(at, name, "--on", at.directory.name, known=(other,))

    def relay_of(self, at: Daemon, to: str) -> Daemon:
        return {"rho": self.rho, "rue": self.rue}[path(at, to).removeprefix("relay ")]


def path(at: Daemon, to: str) -> str:
    return at.ask.node(to).path


def counted(at: Daemon, name: str) -> int:
    return at.ask.status().counters.get(name, 0)


@pytest.fixture
def hidden(tmp_path: Path) -> Generator[Hidden]:
    with Daemons(tmp_path) as daemons:
        yield Hidden(daemons)


def test_calls_go_both_ways_through_relays_and_on_when_one_of_two_dies(hidden: Hidden) -> None:
    assert call(hidden.ann, "of-ben.total").node == "ben"
    assert call(hidden.ben, "of-ann.total").node == "ann"
    shown = cli(hidden.ann.directory, "ping", "ben", "-c", "2")
    assert shown.code == 0 and "relay " in shown.out, shown
    dies = hidden.relay_of(hidden.ann, "ben")
    assert counted(dies, "tunnels.relay-piped"), "both have dialled it, so it joins connections of theirs"
    name = dies.directory.name
    dies.kill()
    until(lambda: path(hidden.ann, "ben") in {f"relay {other}" for other in RELAYS if other != name}, "the other relay")
    assert call(hidden.ann, "of-ben.total").node == "ben"
    assert call(hidden.ben, "of-ann.total").node == "ann"


def test_a_relay_sees_neither_what_is_said_nor_which_skill_is_called(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        rho = daemons.start("rho", "--profile", "relay", program=OVERHEARING)
        ann, ben = map(daemons.served, [daemons.launch_join(rho, name, *HIDDEN) for name in CLIENTS])
        until(lambda: path(ann, "ben") == "relay rho", "the tunnel")
        run(ben, "of-ben", "--on", "ben", known=(ann,))
        call(ann, "of-ben.put", {"key": "vault", "value": SECRET})
        assert call(ann, "of-ben.read", {"key": "vault"}).result == SECRET
        overheard = (rho.directory / "overheard").read_bytes()
    assert RECORD in overheard, "the tunnel was overheard at all"
    for word in (SECRET, "of-ben.put", "of-ben.read", "vault"):
        assert word.encode() not in overheard, word


def test_where_a_relay_joins_no_connections_the_bytes_are_frames_on_its_links(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        rho = daemons.start("rho", "--profile", "relay", program=PIPELESS)
        ann, ben = map(daemons.served, [daemons.launch_join(rho, name, *HIDDEN) for name in CLIENTS])
        until(lambda: path(ann, "ben") == path(ben, "ann") == "relay rho", "the tunnel")
        assert counted(ann, "tunnels.pipe-failed") + counted(ben, "tunnels.pipe-failed") >= 1
        run(ben, "of-ben", "--on", "ben", known=(ann,))
        assert call(ann, "of-ben.total").node == "ben"


class Firewalled(Cuttable):
    """A mesh whose last node takes no port."""

    def launch(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        if "--no-listen" not in arguments:
            return super().launch(name, *arguments, program=program)
        address = f"127.0.1.{self._numbers[name]}"
        return self._launched(name, "--bind", address, "--dial-from", address, "--no-mdns", *arguments, program=program)

    def served(self, daemon: Daemon) -> Daemon:
        return super().served(daemon) if daemon.ready.get("listen") else Daemons.served(self, daemon)


def test_the_direct_way_takes_the_session_over_as_soon_as_it_opens(tmp_path: Path) -> None:
    daemons = Firewalled(tmp_path, "rho", "ben", "ann")
    with daemons:
        rho = daemons.start("rho", "--profile", "relay")
        ben = daemons.join(rho, "ben")
        daemons.cut(("ben", "ann"))
        ann = daemons.join(rho, "ann", *HIDDEN)
        until(lambda: path(ben, "ann") == path(ann, "ben") == "relay rho", "ben reaches ann through rho")
        run(ann, "of-ann", "--on", "ann", known=(ben,))
        assert call(ben, "of-ann.add").result == 1
        daemons.heal()
        calls = 1
        while path(ben, "ann") != "direct":  # each once, whichever way it takes
            calls += 1
            assert call(ben, "of-ann.add").result == calls
            assert calls < 100_000, "the direct way is never taken"
        until(lambda: path(ann, "ben") == "direct", "ann sees it, too")
        assert call(ben, "of-ann.add").result == calls + 1
        assert "through the relay" not in cli(ben.directory, "why", "ann").out
