"""``logs``: what agents wrote, of one node or all, in the order of their clocks."""

import sys
import time

from meshnode.cli.agents import bare
from meshnode.cli.output import show_list, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option, warn
from meshnode.cli.words import clock, one_line, seconds
from meshnode.client.logs import Missing, follow_logs, read_logs
from meshnode.kernel.hlc import COUNTER_BITS
from meshnode.model.errors import Offline
from meshnode.model.units import agent_of, slot_of
from meshnode.model.views import LogLine

PARTIAL = 5


def _logs(given: Given) -> int:
    client = client_of(given)
    name, node = bare(given.name), given.node.removeprefix("node/")
    after = _stamp(seconds(given.since)) if given.since else 0
    if given.follow:
        for told in follow_logs(client, agent_of(name), node, after):
            if _is_meant(told, name):
                _tell(given, told)
        return 0
    heard = [told for told in read_logs(client, agent_of(name), node, after) if _is_meant(told, name)]
    missing = [told for told in heard if isinstance(told, Missing)]
    lines = [told for told in heard if isinstance(told, LogLine)]
    if node and missing and not lines:
        raise Offline(f"the logs of {node} cannot be read: {missing[0].reason}", next_step=f"meshnode why {node}")
    for told in missing:
        _tell(given, told)
    if given.output in ("table", "wide"):
        for line in lines:
            print(log_line(line, wide=given.output == "wide"))
    else:
        show_list(given, lines, (), log_name)
    if not heard:
        warn("nothing was written" + (f" by {name}" if name else ""))
    return PARTIAL if missing else 0


def _is_meant(told: LogLine | Missing, name: str) -> bool:
    """NAME/SLOT means that unit alone."""
    return isinstance(told, Missing) or slot_of(name) < 0 or told.unit == name


def _tell(given: Given, told: LogLine | Missing) -> None:
    if isinstance(told, Missing):
        warn(one_line(f"! without {told.node}: {told.reason}"))
        return
    show_one(given, told, lambda: [log_line(told, wide=given.output == "wide")], log_name(told))
    sys.stdout.flush()  # whoever reads through a pipe follows as well


def _stamp(seconds_ago: int) -> int:
    """The HLC stamp of that time by this machine's clock."""
    return max(1, int((time.time() - seconds_ago) * 1000)) << COUNTER_BITS


def log_name(line: LogLine) -> str:
    return f"unit/{line.unit}@{line.node}"


def log_line(line: LogLine, *, wide: bool = False) -> str:
    """``10:21:07.042 alpha words/0 | text``; errors behind ``!``, a gap as what is missing."""
    day, _, second = clock(line.at_ms).partition(" ")
    when = f"{day} {second}" if wide else second
    mark = {"out": "|", "err": "!"}.get(line.stream, "~")
    text = f"-- gap: {line.text} --" if line.stream == "gap" else line.text
    return one_line(f"{when}.{line.at_ms % 1000:03d} {line.node} {line.unit} {mark} {text}").rstrip()


def _options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="of an agent or a unit (default: all)")
    parser.add_argument("-f", dest="follow", action="store_true", help="go on with what comes")
    parser.add_argument("--node", metavar="NODE", default="", help="of this node only (default: all)")
    parser.add_argument("--since", metavar="TIME", default="", help="the last 90s, 15m, 1h ... (default: the newest)")
    output_option(parser)


VERBS = {"logs": Verb(options=_options, run=_logs)}
