"""Agents on this node: run and stop."""

import re
import sys
import time
from pathlib import Path

import msgspec

from meshnode.cli import rows
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.words import one_line, printable
from meshnode.client.client import Client
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.views import AgentView

_POLL_S = 0.1
_ENDED = ("failed", "stopped", "backoff")


def _run(given: Given) -> int:
    file = Path(given.file).absolute()
    if not file.is_file():
        raise Invalid(
            f"{given.file}: no such file", next_step="meshnode run FILE, where FILE is a Python agent or a program"
        )
    client = client_of(given)
    name: str = given.name or name_of(file)
    argv = [*command_line(file), *given.dashed]
    cwd = str(Path(given.cwd).absolute()) if given.cwd else str(file.parent)
    view = client.run(name, argv, cwd, dict(map(_variable, given.env)))
    view = _settled(client, view, given.wait)
    show_one(given, view, lambda: [printable(line) for line in _lines(view)], rows.agent_name(view))
    if view.state in _ENDED:
        raise LocalError(
            f"agent {view.name} is {view.state}: {view.reason}", next_step=f"meshnode why agent/{view.name}"
        )
    if given.output == "table" and view.skills:
        warn(one_line(" -> " + command(given, f"call {view.skills[0]} ...")))
    return 0


def command_line(file: Path) -> list[str]:
    """A Python file runs under this Python, which has the SDK; anything else must be executable."""
    if file.suffix == ".py":
        return [sys.executable, "-u", str(file)]
    if file.stat().st_mode & 0o111 == 0:
        raise Invalid(f"{file}: neither a .py file nor executable", next_step=f"chmod +x {file}")
    return [str(file)]


def name_of(file: Path) -> str:
    """The agent's name when none was given: the file's, in lower case with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "agent"


def _variable(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise Invalid(f"--env {given}: must be NAME=VALUE")
    return name, value


def _settled(client: Client, view: AgentView, wait_s: float) -> AgentView:
    """The agent once it runs or has failed, or as it is when the patience ends."""
    until = time.monotonic() + wait_s
    while view.state == "starting" and time.monotonic() < until:
        time.sleep(_POLL_S)
        view = next((agent for agent in client.agents() if agent.instance == view.instance), view)
    return view


def _lines(view: AgentView) -> list[str]:
    pid = f"  pid {view.pid}" if view.pid else ""
    reason = f"  {view.reason}" if view.reason else ""
    return [f"agent {view.name}  {view.state}{reason}  on {view.node}{pid}", *(f"  offers {s}" for s in view.skills)]


def _stop(given: Given) -> int:
    client = client_of(given)
    view = _ended(client, client.stop(given.name.removeprefix("agent/")), given.wait)
    line = one_line(f"agent {view.name}  {view.state}  {view.reason}".rstrip())
    show_one(given, view, lambda: [line], rows.agent_name(view))
    return 0


def _ended(client: Client, view: AgentView, wait_s: float) -> AgentView:
    """The agent once its process is gone, or as it is when the patience ends."""
    until = time.monotonic() + wait_s
    while view.state == "stopping" and time.monotonic() < until:
        time.sleep(_POLL_S)
        stopped = msgspec.structs.replace(view, state="stopped", pid=None)
        view = next((agent for agent in client.agents() if agent.instance == view.instance), stopped)
    return view


def _run_options(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Python agent, or any executable")
    parser.epilog = "what stands behind -- goes to the agent: meshnode run FILE -- --flag"
    parser.add_argument("--name", default="", help="the agent's name (default: the file's)")
    parser.add_argument("--cwd", metavar="DIR", default="", help="where it runs (default: the file's directory)")
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="added to a clean environment")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=5.0, help="for it to run (default: 5)")
    output_option(parser)


def _stop_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=15.0, help="for it to end (default: 15)")
    output_option(parser)


VERBS = {
    "run": Verb(options=_run_options, run=_run, dashed=True),
    "stop": Verb(options=_stop_options, run=_stop),
}
