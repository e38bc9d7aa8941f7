"""``publish`` and ``subscribe``: events of topics, out and in."""

import sys
import time

import msgspec

from meshnode.cli.output import show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option, warn
from meshnode.cli.words import clock, one_line
from meshnode.client.events import TopicEvent
from meshnode.kernel.decoding import JUNK
from meshnode.model.errors import Invalid
from meshnode.model.view_parts import TopicEventView
from meshnode.model.views import PublishedView
from meshnode.wire.events import is_filter


def _publish(given: Given) -> int:
    view = client_of(given).publish(given.topic, _data(given.data))
    show_one(given, view, lambda: [_published(view)], view.topic)
    return 0


def _published(view: PublishedView) -> str:
    nodes = "1 other node" if view.nodes == 1 else f"{view.nodes} other nodes"
    return one_line(f"{view.topic}: to {view.listeners} here, to {nodes}")


def _data(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except JUNK as error:
        raise Invalid(
            f"the event is no JSON: {error}", next_step="""meshnode publish TOPIC '{"ok": true}'"""
        ) from error


def _subscribe(given: Given) -> int:
    """Goes on until Ctrl-C, until the node ends, or until so many came."""
    for name in given.topics:
        if not is_filter(name):
            raise Invalid(f"{name}: neither topic/a/b nor topic/a/*", next_step="meshnode subscribe 'topic/*'")
    left = given.count
    for heard in client_of(given).subscribe(*given.topics):
        if heard.event is None:
            warn(one_line(f"listening to {', '.join(given.topics)}"))
        else:
            _show(given, heard, heard.event)
            left -= 1
        sys.stdout.flush()  # whoever reads through a pipe sees it now
        sys.stderr.flush()
        if given.count and left <= 0:
            break
    return 0


def _show(given: Given, heard: TopicEvent, event: TopicEventView) -> None:
    if heard.dropped:
        warn(f"{heard.dropped} events were lost here: they came faster than they were read")
    if given.output in ("table", "wide"):
        now, data = clock(int(time.time() * 1000)), msgspec.json.encode(event.data).decode()
        print(one_line(f"{now}  {event.topic}  by {event.publisher}  {data}"))
    elif given.output == "name":
        print(event.topic)
    else:
        print(msgspec.json.encode(event).decode())


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


count.__name__ = "number of events"  # argparse names the rule by it


def _publish_options(parser: Parser) -> None:
    parser.add_argument("topic", metavar="TOPIC", help="e.g. topic/line/3")
    parser.add_argument("data", metavar="JSON", nargs="?", default="null", help="the event (default: null)")
    output_option(parser)


def _subscribe_options(parser: Parser) -> None:
    parser.add_argument(
        "topics", metavar="TOPIC", nargs="+", help="e.g. topic/line/3, or topic/line/* and everything below it"
    )
    parser.add_argument("--count", metavar="N", type=count, default=0, help="end after so many events")
    output_option(parser)


VERBS = {
    "publish": Verb(options=_publish_options, run=_publish),
    "subscribe": Verb(options=_subscribe_options, run=_subscribe),
}
