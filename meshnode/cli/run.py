"""``run FILE``: from a file on this machine to an agent that the mesh keeps running."""

import re
import sys
import time
from pathlib import Path

from meshnode.cli import rows
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.progress import Progress
from meshnode.cli.words import one_line, printable
from meshnode.client.client import Client
from meshnode.model.commands import RunAgent
from meshnode.model.durability import parse_durability
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.recipe import ACTOR, PROCESS, TIERS
from meshnode.model.views import AgentView

SOURCE_BYTES_MAX = 512 * 1024
REPLICAS_MAX = 1_000_000
UNITS_SHOWN = 10
_POLL_S = 0.1
_FAILED = ("failed", "backoff")
# Which of several units a person should know about first; a copy that was lost with its node comes last.
_RANKS = {"failed": 0, "backoff": 0, "stopped": 3, "unreachable": 4, "running": 2}
_RANK_OF_OTHERS = 1
# What makes a Python file an agent: it can then be forked from a warm interpreter, and carried to other machines.
_USES_SDK = re.compile(rb"^[ \t]*(?:from[ \t]+meshnode(?:\.sdk)?\b|import[ \t]+meshnode\b)", re.MULTILINE)


def _run(given: Given) -> int:
    client = client_of(given)
    wanted = wanted_of(given)
    units = _settled(client, [client.run(wanted)], wanted.replicas, given.wait)
    view = _worst(units)
    show_one(given, view, lambda: [printable(line) for line in _lines(units)], rows.agent_name(view))
    if view.state in (*_FAILED, "stopped"):
        raise LocalError(f"agent {view.name} is {view.state}: {view.reason}", next_step=f"meshnode logs {view.name}")
    if given.output == "table" and view.skills:
        warn(one_line(" -> " + command(given, f"call {view.skills[0]} ...")))
    return 0


def wanted_of(given: Given) -> RunAgent:
    """What the person asked for.

    Raises:
        Invalid: the file cannot be run, or an option breaks a rule.
    """
    file = Path(given.file).absolute()
    if not file.is_file():
        raise Invalid(
            f"{given.file}: no such file", next_step="meshnode run FILE, where FILE is a Python agent or a program"
        )
    parse_durability(given.durability)
    source = agent_source(file)
    if given.tier == ACTOR and source is None:
        raise Invalid(
            f"{file}: only a Python file that uses meshnode.sdk can be an actor", next_step="leave --tier out"
        )
    return RunAgent(
        name=given.name or name_of(file),
        argv=list(given.dashed) if source is not None else [*command_line(file), *given.dashed],
        file=str(file) if source is not None else "",
        source=source or b"",
        cwd=str(Path(given.cwd).absolute()) if given.cwd else str(file.parent),
        environment=dict(pair(one, "--env", "NAME=VALUE") for one in given.env),
        tier=given.tier,
        replicas=given.replicas,
        on=given.on.removeprefix("node/"),
        region=given.region,
        labels=dict(pair(one, "--label", "KEY=VALUE") for one in given.label),
        durability=given.durability,
    )


def agent_source(file: Path) -> bytes | None:
    """The content of a Python file that uses the SDK; None for every other program.

    Raises:
        Invalid: it is too long to be carried to other nodes.
    """
    if file.suffix != ".py":
        return None
    with file.open("rb") as opened:
        source = opened.read(SOURCE_BYTES_MAX + 1)
    if not _USES_SDK.search(source):
        return None
    if len(source) > SOURCE_BYTES_MAX:
        raise Invalid(
            f"{file} is longer than {SOURCE_BYTES_MAX} bytes, too long to be carried to other nodes",
            next_step="keep its data in files of their own",
        )
    return source


def command_line(file: Path) -> list[str]:
    """Another Python file runs under this Python; anything else must be executable."""
    if file.suffix == ".py":
        return [sys.executable, "-u", str(file)]
    if file.stat().st_mode & 0o111 == 0:
        raise Invalid(f"{file}: neither a .py file nor executable", next_step=f"chmod +x {file}")
    return [str(file)]


def name_of(file: Path) -> str:
    """The agent's name when none was given: the file's, in lower case with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "agent"


def pair(given: str, option: str, shape: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise Invalid(f"{option} {given}: must be {shape}", next_step=f"for example {option} A=1")
    return name, value


def _settled(client: Client, units: list[AgentView], replicas: int, wait_s: float) -> list[AgentView]:
    """The units once all of them run or one has failed, or as they are when the patience ends."""
    until = time.monotonic() + wait_s
    with Progress() as progress:
        while not _is_settled(units, replicas) and time.monotonic() < until:
            progress.tell(f"{_running(units)} of {replicas} run: {_line(_worst(units))}")
            time.sleep(_POLL_S)
            units = [unit for unit in client.agents() if unit.name == units[0].name] or units
    return units


def _is_settled(units: list[AgentView], replicas: int) -> bool:
    return _running(units) >= replicas or any(unit.state in _FAILED for unit in units)


def _running(units: list[AgentView]) -> int:
    return sum(unit.slots for unit in units if unit.state == "running")


def _worst(units: list[AgentView]) -> AgentView:
    """The one a person should know about: one that has failed, else one that does not run yet, else one that runs."""
    return min(units, key=lambda unit: _RANKS.get(unit.state, _RANK_OF_OTHERS))


def _lines(units: list[AgentView]) -> list[str]:
    lines = [_line(unit) for unit in units[:UNITS_SHOWN]]
    if len(units) > UNITS_SHOWN:
        lines.append(f"and {len(units) - UNITS_SHOWN} more units: meshnode ps {units[0].name}")
    return [*lines, *(f"  offers {skill}" for skill in units[0].skills)]


def _line(unit: AgentView) -> str:
    pid = f"  pid {unit.pid}" if unit.pid else ""
    reason = f"  {unit.reason}" if unit.reason else ""
    return f"agent {rows.unit_words(unit)}  {unit.state}{reason}  on {unit.node or '-'}{pid}"


def replicas(text: str) -> int:
    count = int(text)
    if not 0 <= count <= REPLICAS_MAX:
        raise ValueError(text)
    return count


replicas.__name__ = "number of replicas"  # argparse names the rule by it


def _options(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Python agent, or any executable")
    parser.epilog = "what stands behind -- goes to the agent: meshnode run FILE -- --flag"
    parser.add_argument("--name", default="", help="the agent's name (default: the file's)")
    parser.add_argument("--replicas", metavar="N", type=replicas, default=1, help="how many instances (default: 1)")
    parser.add_argument("--tier", choices=TIERS, default=PROCESS, help="actor: many instances in one process")
    parser.add_argument("--on", metavar="NODE", default="", help="the only node it may run on (default: any)")
    parser.add_argument("--region", default="", help="only nodes of this region")
    parser.add_argument("--label", metavar="KEY=VALUE", action="append", default=[], help="only nodes that have it")
    parser.add_argument(
        "--durability", metavar="LEVEL", default="", help="auto (default), lazy, local or replicated(K)"
    )
    parser.add_argument("--cwd", metavar="DIR", default="", help="where it runs (default: the file's directory)")
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="added to a clean environment")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=5.0, help="for it to run (default: 5)")
    output_option(parser)


VERBS = {"run": Verb(options=_options, run=_run, dashed=True)}
