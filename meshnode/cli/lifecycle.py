"""The life of this node: up, down, invite, join. Repeating any of them is harmless."""

import contextlib
import os
import re
import select
import time
from collections.abc import Sequence
from pathlib import Path

from meshnode.cli.daemon_process import Ready, Start, start
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, directory_of, output_option, warn
from meshnode.cli.words import clock, one_line, printable, seconds, span
from meshnode.client.client import Client
from meshnode.client.locate import data_dir, up_line
from meshnode.model.errors import Offline, TimedOut
from meshnode.model.quantity import parse_bytes
from meshnode.model.views import Done

READY_S = 30.0
DOWN_S = 30.0
RELAY = ("relay_bytes_per_s", "relay_clients", "relay_tunnels", "relay_client_tunnels")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):(\d{1,5})")


def _up(given: Given) -> int:
    directory = data_dir(directory_of(given))
    argv = daemon_arguments(given)
    if given.foreground:
        from meshnode.daemon.main import run

        return run(argv)
    running = _running(client_of(given))
    if running:
        print(f"already running: {printable(running)} in {directory}")
        return 0
    ready = start(Start(directory=directory, argv=argv, timeout_s=READY_S))
    show_one(given, ready, lambda: _up_lines(given, ready), str((ready.made or {}).get("name", "")))
    return 0


def daemon_arguments(given: Given) -> list[str]:
    """The daemon's own command line. Paths are absolute: it runs in another directory."""
    argv = ["--dir", str(data_dir(directory_of(given)))]
    for option in ("name", "region", "bind", "dial_from", "profile", "bus", "loop"):
        value: str = getattr(given, option)
        if value:
            argv += [f"--{option.replace('_', '-')}", value]
    for option in ("port", *RELAY):
        if getattr(given, option) is not None:
            argv += [f"--{option.replace('_', '-')}", str(getattr(given, option))]
    for option in ("seed", "advertise"):
        for address in getattr(given, option):
            argv += [f"--{option}", address]
    for flag in ("no_mdns", "no_listen", "listen", "verbose"):
        if getattr(given, flag):
            argv.append(f"--{flag.replace('_', '-')}")
    return argv


def _running(client: Client) -> str:
    """The name of the node that answers there; empty when none does."""
    try:
        return client.status().name
    except Offline:
        return ""


def _up_lines(given: Given, ready: Ready) -> Sequence[str]:
    lines: list[str] = []
    if ready.made:
        lines.append("made  " + "  ".join(f"{key}: {value}" for key, value in ready.made.items()))
    if ready.recovery_words:
        lines += [
            "recovery words, shown this once; whoever has them rules the mesh, and nobody else can restore it:",
            f"  {ready.recovery_words}",
        ]
    lines.append(f"ready  listens on {ready.listen}" if ready.listen else "ready")
    lines.append(" -> " + command(given, "invite" if ready.made else "status"))
    return [printable(line) for line in lines]


def _down(given: Given) -> int:
    client = client_of(given)
    if not _running(client):
        print(f"not running: {client.directory}")
        return 0
    process = process_of(client.directory)
    try:
        with contextlib.suppress(Offline):  # it may go before its answer is out: that is what was asked
            client.down()
        if not _is_gone(client, process, time.monotonic() + DOWN_S):
            log = client.directory / "logs" / "daemon.log"
            raise TimedOut(f"the node has not ended after {DOWN_S:g} s", next_step=f"look at {log}")
    finally:
        if process is not None:
            os.close(process)
    show_one(given, Done(message="down"), lambda: [f"down: {client.directory}"], "down")
    return 0


def _is_gone(client: Client, process: int | None, until: float) -> bool:
    """Waits until nobody answers and the process has ended, so that ``up`` may follow at once."""
    while _running(client):
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    if process is None:
        return True
    ended, _, _ = select.select([process], [], [], max(0.0, until - time.monotonic()))
    return bool(ended)


def process_of(directory: Path) -> int | None:
    """A descriptor of the daemon's process, readable once that has ended; None where there is no telling."""
    try:
        return os.pidfd_open(int((directory / "lock").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return None


def _invite(given: Given) -> int:
    view = client_of(given).invite(given.name, seconds(given.ttl), given.region, given.role)
    left = span(view.expires_ms / 1000 - time.time())
    show_one(given, view, lambda: [view.token], f"node/{view.name}")
    if given.output in ("table", "wide"):
        warn(f"for one machine, named {view.name}, until {clock(view.expires_ms)} ({left})")
        warn(" -> there: meshnode join TOKEN, then meshnode up")
    return 0


def _join(given: Given) -> int:
    from meshnode.daemon.joining import join

    token: str = given.token
    if token == "-":  # noqa: S105  # a token on standard input shows in no list of processes
        import sys

        token = sys.stdin.readline(16_384).strip()
    directory = data_dir(directory_of(given))
    outcome = join(str(directory), token, given.dial_from)
    print(one_line(f"joined  mesh: {outcome.mesh}  as: {outcome.name}  region: {outcome.region or '-'}"))
    print(f" -> {up_line(directory)}")
    return 0


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 65_536:
        raise ValueError(text)
    return text


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 65_536:
        raise ValueError(text)
    return port


_address.__name__ = "HOST:PORT"  # argparse names the rule by it
_port.__name__ = "port"


def _up_options(parser: Parser) -> None:
    parser.add_argument("--foreground", action="store_true", help="stay in this process (for systemd)")
    parser.add_argument("--name", default="", help="of the node, when its directory is empty")
    parser.add_argument("--region", default="", help="of the node, when its directory is empty")
    parser.add_argument("--port", type=_port, default=None, help="to listen on (default: chosen once and remembered)")
    parser.add_argument("--bind", metavar="ADDRESS", default="", help="to listen on (default: all)")
    parser.add_argument(
        "--seed", metavar="HOST:PORT", type=_address, nargs="+", action="extend", default=[],
        help="of nodes to look for first (default: those of the token, and who is on the LAN)",
    )  # fmt: skip
    parser.add_argument(
        "--advertise", metavar="HOST:PORT", type=_address, nargs="+", action="extend", default=[],
        help="under which others reach this node (default: its own addresses)",
    )  # fmt: skip
    parser.add_argument("--dial-from", metavar="ADDRESS", default="", help="source address of outgoing links")
    parser.add_argument(
        "--profile", choices=("edge", "default", "relay"), default="", help="how much this node takes on"
    )
    parser.add_argument("--bus", choices=("unix", "zmq"), default="", help="what its agents are connected by")
    parser.add_argument(
        "--loop", choices=("asyncio", "uvloop"), default="",
        help="what drives the node (default: asyncio); uvloop is faster, and comes with meshnode[fast]",
    )  # fmt: skip
    parser.add_argument(
        "--relay-bytes-per-s", metavar="BYTES", type=parse_bytes,
        help="what a relay carries for one client, both directions together (default: 64Mi)",
    )  # fmt: skip
    parser.add_argument("--relay-clients", metavar="N", type=int, help="that may have tunnels at once (default: 256)")
    parser.add_argument("--relay-tunnels", metavar="N", type=int, help="a relay carries at once (default: 512)")
    parser.add_argument("--relay-client-tunnels", metavar="N", type=int, help="of one client at once (default: 16)")
    parser.add_argument("--verbose", action="store_true", help="log every input and every effect")
    parser.add_argument("--no-listen", action="store_true", help="take no port: others reach this node through relays")
    parser.add_argument("--listen", action="store_true", help="take a port again (the default)")
    parser.add_argument("--no-mdns", action="store_true", help="neither look for peers on the LAN nor show up there")
    output_option(parser)


def _invite_options(parser: Parser) -> None:
    parser.add_argument("--name", default="", help="of the node to come (default: one is made up)")
    parser.add_argument("--ttl", metavar="TIME", default="1h", help="how long the token holds (default: 1h)")
    parser.add_argument("--region", default="", help="of the node to come (default: this node's)")
    parser.add_argument(
        "--role", choices=("member", "gateway"), default="member", help="of the node to come; a gateway reads journals"
    )
    output_option(parser)


def _join_options(parser: Parser) -> None:
    parser.add_argument("token", metavar="TOKEN", help="from meshnode invite; - reads it from standard input")
    parser.add_argument("--dial-from", metavar="ADDRESS", default="", help="source address of outgoing links")


VERBS = {
    "up": Verb(options=_up_options, run=_up),
    "down": Verb(options=output_option, run=_down),
    "invite": Verb(options=_invite_options, run=_invite),
    "join": Verb(options=_join_options, run=_join),
}
