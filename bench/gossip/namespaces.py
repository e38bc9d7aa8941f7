"""Two network namespaces on this machine, joined by one cable that can be cut without anybody being told.

``data`` joins the halves of a mesh. ``control`` joins them beside it, for a harness that must go on speaking to both
while ``data`` is cut (an anchor's; meshnode's local API is a unix socket). Needs root.
"""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from tests.demo.fleet import Broken

SIDES = (0, 1)
DATA, CONTROL = 77, 78  # 10.77.SIDE.NUMBER and 10.78.0.SIDE+1
_numbers = itertools.count()
NOWHERE = "02:00:00:00:00:99"  # frames for this address are sent and arrive at nobody


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sent so far on loopback and cable of both namespaces, with all headers down to Ethernet's."""

    sent_bytes: int
    packets: int


class Namespaces:
    """``names``: of the two. Made by ``namespaces()``."""

    def __init__(self, tag: str) -> None:
        self.names = (f"{tag}a", f"{tag}b")

    def inside(self, side: int, *command: str) -> list[str]:
        """The command line that runs in one of them. ``ip`` gives its process over: the pid is the command's."""
        return ["ip", "netns", "exec", self.names[side], *command]

    def address(self, number: int) -> str:
        """Every node has its own, as machines have."""
        return f"10.{DATA}.{number % 2}.{number // 2 + 1}"

    def house(self, numbers: int) -> None:
        """Give the cable's ends the addresses of so many nodes."""
        for side in SIDES:
            orders = [
                f"address add {self.address(number)}/16 dev data{side}"
                for number in range(numbers)
                if number % 2 == side
            ]
            _ip("-n", self.names[side], "-batch", "-", text="\n".join(orders))

    def cut(self, numbers: int) -> None:
        """Silence between the halves of so many nodes: what is sent across seems to leave and arrives nowhere, as with
        a cable cut behind a switch."""
        self._neighbours(numbers, f"lladdr {NOWHERE} nud permanent", "replace")

    def mend(self, numbers: int) -> None:
        self._neighbours(numbers, "", "del")

    def traffic(self) -> Traffic:
        sent = packets = 0
        for name in self.names:
            told = subprocess.run(
                ["ip", "netns", "exec", name, "cat", "/proc/net/dev"], capture_output=True, check=True
            )
            for line in told.stdout.decode().splitlines()[2:]:
                device, _, figures = line.partition(":")
                if device.strip().startswith(("lo", "data")):
                    sent += int(figures.split()[8])
                    packets += int(figures.split()[9])
        return Traffic(sent, packets)

    def _neighbours(self, numbers: int, what: str, verb: str) -> None:
        for side in SIDES:
            others = [self.address(number) for number in range(numbers) if number % 2 != side]
            own = f"10.{DATA}.255.{2 - side}"
            orders = [f"neigh {verb} {address} {what} dev data{side}" for address in (own, *others)]
            _ip("-n", self.names[side], "-force", "-batch", "-", text="\n".join(orders))


@contextlib.contextmanager
def namespaces() -> Generator[Namespaces]:
    """Two of them, gone afterwards with all that is in them.

    Raises:
        Broken: this machine gives us none.
    """
    if os.geteuid() != 0:
        raise Broken("two network namespaces need root: sudo make bench-gossip")
    made = Namespaces(f"gossip{os.getpid()}x{next(_numbers)}")
    try:
        for name in made.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for device, net in (("data", DATA), ("control", CONTROL)):
            _join(made.names, device, net)
        yield made
    finally:
        for name in made.names:
            if Path("/run/netns", name).exists():
                _ip("netns", "del", name)


def _join(names: tuple[str, str], device: str, net: int) -> None:
    _ip("-n", names[0], "link", "add", f"{device}0", "type", "veth", "peer", "name", f"{device}1", "netns", names[1])
    for side in SIDES:
        # An address of the cable itself, apart from the nodes'.
        _ip("-n", names[side], "address", "add", f"10.{net}.255.{side + 1}/16", "dev", f"{device}{side}")
        _ip("-n", names[side], "link", "set", f"{device}{side}", "up")


def _ip(*words: str, text: str = "") -> None:
    done = subprocess.run(["ip", *words], input=text + "\n", capture_output=True, text=True, check=False)
    if done.returncode != 0 and "-force" not in words:
        raise Broken(f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}")
