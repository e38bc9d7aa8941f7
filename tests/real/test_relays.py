"""Nodes that nobody can dial, on real daemons: reached through relays, by calls both ways, while relays come and go."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, Daemons, cli, until
from tests.real.mesh_kit import call, run

pytestmark = pytest.mark.real

RELAYS = ("rho", "rue")
CLIENTS = ("ann", "ben")
HIDDEN = ("--no-listen",)


class Hidden:
    """Two relays, and two nodes that reach each other through them alone; each runs a ledger."""

    def __init__(self, daemons: Daemons) -> None:
        self.rho = daemons.start("rho", "--profile", "relay")
        self.rue = daemons.join(self.rho, "rue", "--profile", "relay")
        self.ann, self.ben = (daemons.join(self.rho, name, *HIDDEN) for name in CLIENTS)
        for here, there in ((self.ann, "ben"), (self.ben, "ann")):
            until(lambda at=here, to=there: path(at, to).startswith("relay "), f"{there} is reached through a relay")
        for at, other in ((self.ann, self.ben), (self.ben, self.ann)):
            name = f"of-{at.directory.name}"
            run(at, name, "--on", at.directory.name, known=(other,))

    def relay_of(self, at: Daemon, to: str) -> Daemon:
        return {"rho": self.rho, "rue": self.rue}[path(at, to).removeprefix("relay ")]


def path(at: Daemon, to: str) -> str:
    return at.ask.node(to).path


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
    name = dies.directory.name
    dies.kill()
    until(lambda: path(hidden.ann, "ben") in {f"relay {other}" for other in RELAYS if other != name}, "the other relay")
    assert call(hidden.ann, "of-ben.total").node == "ben"
    assert call(hidden.ben, "of-ann.total").node == "ann"
