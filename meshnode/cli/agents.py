"""Agents that are wanted: stop and restart."""

import time

import msgspec

from meshnode.cli import rows
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.progress import Progress
from meshnode.cli.words import one_line
from meshnode.client.client import Client
from meshnode.model.views import AgentView

_POLL_S = 0.1
_GONE = ("stopped", "failed")
_OUT_OF_REACH = "unreachable"


def bare(name: str) -> str:
    """``agent/words`` as -o name prints it is ``words``."""
    return name.removeprefix("agent/")


def _stop(given: Given) -> int:
    client = client_of(given)
    view, left = _ended(client, client.stop(bare(given.name)), given.wait)
    line = one_line(f"agent {view.name}  {view.state}  {view.reason}".rstrip())
    show_one(given, view, lambda: [line], rows.agent_name(view))
    for unit in left:
        warn(one_line(f"{rows.unit_words(unit)} on {unit.node} is {unit.state}: it stops once it hears of it"))
    if left:
        warn(" -> " + command(given, f"ps {view.name}"))
    return 0


def _ended(client: Client, view: AgentView, wait_s: float) -> tuple[AgentView, list[AgentView]]:
    """The agent once its processes are gone, or as it is when the patience ends; and units that could not be told."""
    until = time.monotonic() + wait_s
    units = [view]
    with Progress() as progress:
        while any(lives(unit) for unit in units) and time.monotonic() < until:
            living = [f"{rows.unit_words(unit)} on {unit.node}" for unit in units if lives(unit)]
            progress.tell(f"{len(living)} still to end: {', '.join(living[:3])}")
            time.sleep(_POLL_S)
            units = [unit for unit in client.agents() if unit.name == view.name]
    alive = [unit for unit in units if lives(unit)]
    if alive:
        return alive[0], [unit for unit in units if unit.state == _OUT_OF_REACH]
    if view.state not in _GONE:
        view = msgspec.structs.replace(view, state="stopped", pid=None)
    return view, [unit for unit in units if unit.state == _OUT_OF_REACH]


def lives(unit: AgentView) -> bool:
    """Whether it has, or may soon have, a process that can be reached."""
    return unit.state not in _GONE and unit.state != _OUT_OF_REACH


def _restart(given: Given) -> int:
    name = bare(given.name)
    done = client_of(given).restart(name)
    show_one(given, done, lambda: [one_line(done.message or f"agent {name}  restarts")], f"agent/{name}")
    return 0


def _stop_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=15.0, help="for it to end (default: 15)")
    output_option(parser)


def _restart_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    output_option(parser)


VERBS = {
    "stop": Verb(options=_stop_options, run=_stop),
    "restart": Verb(options=_restart_options, run=_restart),
}
