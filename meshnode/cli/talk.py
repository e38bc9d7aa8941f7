"""Talking: ping a node, read the node's story."""

import sys

from meshnode.cli.dispatch import show_error
from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, deadline, output_option, warn
from meshnode.cli.words import clock, milliseconds, one_line, span
from meshnode.client.client import Client
from meshnode.model.errors import LocalError, Offline
from meshnode.model.views import PingView

PARTIAL = 5


def _ping(given: Given) -> int:
    name: str = given.node.removeprefix("node/")
    client = client_of(given)
    answered: list[PingView] = []
    failed: LocalError | None = None
    for number in range(1, given.count + 1):
        try:
            view = client.ping(name, given.deadline)
        except LocalError as error:
            if failed is None and given.output in ("table", "wide"):
                for line in _known(client, name):
                    warn(line)
            failed = error
            show_error(error)
            continue
        answered.append(view)
        show_one(given, view, lambda view=view, number=number: [_pong(view, number)], f"node/{view.node}")
    if given.count > 1 and given.output in ("table", "wide"):
        warn(_ping_summary(given.count, [view.rtt_ms for view in answered]))
    if failed is None:
        return 0
    return PARTIAL if answered else failed.exit_code


def _known(client: Client, name: str) -> list[str]:
    """What this node knows of one that does not answer."""
    try:
        view = client.node(name)
    except LocalError:
        return []
    if view.state == "left":
        return []  # the refusal says so
    heard = f"heard {span(view.age_s)} ago" if view.age_s >= 0 else "not heard since this daemon started"
    count = f"{len(view.votes)} of {max(view.observers, len(view.votes))}"
    votes = f"; {count} observers speak against it" if view.votes and " observers" not in view.reason else ""
    return [one_line(f"{view.name} is {view.state}: {view.reason} ({heard}){votes}")]


def _pong(view: PingView, number: int) -> str:
    offset = f"  clock {view.clock_offset_ms:+.0f} ms" if view.path != "self" else ""
    lost = f"  {view.unanswered} of {view.heartbeats} heartbeats unanswered" if view.unanswered else ""
    return one_line(f"{number}: {view.node}  {milliseconds(view.rtt_ms)}  {view.path}{offset}{lost}")


def _ping_summary(count: int, rtts: list[float]) -> str:
    if not rtts:
        return f"0 of {count} answered"
    import statistics

    middle = statistics.median(rtts)
    words = " / ".join(milliseconds(value) for value in (min(rtts), middle, max(rtts)))
    return f"{len(rtts)} of {count} answered, {count - len(rtts)} lost, min / median / max {words}"


def _events(given: Given) -> int:
    for told in client_of(given).events(given.after, follow=given.follow):
        event = told.event
        line = one_line(f"{clock(event.at_ms)}  {event.subject}  {event.text}")
        show_one(given, told, lambda line=line: [line], event.subject)
        sys.stdout.flush()  # whoever reads through a pipe follows as well
    if given.follow:
        raise Offline("the node has ended, and its events with it", next_step=command(given, "status"))
    return 0


def _ping_options(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("-c", dest="count", metavar="N", type=_count, default=1, help="how many (default: 1)")
    parser.add_argument("--deadline", metavar="SECONDS", type=deadline, default=3.0, help="for each (default: 3)")
    output_option(parser)


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 10_000:
        raise ValueError(text)
    return count


_count.__name__ = "count"  # argparse names the rule by it


def _events_options(parser: Parser) -> None:
    parser.add_argument("-f", dest="follow", action="store_true", help="go on with what happens")
    parser.add_argument("--after", metavar="N", type=int, default=0, help="skip events up to number N")
    output_option(parser)


VERBS = {
    "ping": Verb(options=_ping_options, run=_ping),
    "events": Verb(options=_events_options, run=_events),
}
