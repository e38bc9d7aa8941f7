"""Talking: call a skill, ping a node, read the node's story."""

import json
import re
import statistics
import sys
from pathlib import Path

import msgspec

from meshnode.cli.dispatch import show_error
from meshnode.cli.output import json_of, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.words import clock, milliseconds, one_line
from meshnode.model.commands import CallSkill
from meshnode.model.errors import Invalid, LocalError, Offline
from meshnode.model.views import CallView, PingView

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# What the API takes, less the room a command needs around its arguments.
FILE_BYTES_MAX = 1_000_000
PARTIAL = 5
DEADLINE_S_MAX = 86_400.0


def _call(given: Given) -> int:
    wanted = CallSkill(
        skill=given.skill,
        arguments={**_json_object(given.json), **dict(map(argument, given.arguments))},
        deadline_s=given.deadline,
        to=given.to,
        idempotency_key=given.key,
    )
    view = client_of(given).call(wanted)
    show_one(given, view, lambda: [json_of(view.result)], view.call_id)
    if given.output in ("table", "wide"):
        warn(call_line(view))
    return 0


def call_line(view: CallView) -> str:
    """Who answered, how fast: beside the result, so that the result alone can be piped."""
    tries = "1 attempt" if view.attempts == 1 else f"{view.attempts} attempts"
    return one_line(f"{view.instance}@{view.node}  {milliseconds(view.took_ms)}  {tries}  call {view.call_id}")


def argument(given: str) -> tuple[str, object]:
    """``key=value``: JSON where it reads as JSON, else text; ``key=@FILE`` is the file's text, ``key=@@x`` is ``@x``.

    Raises:
        Invalid: no key, or a file that cannot be read as text.
    """
    key, equals, value = given.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise Invalid(f"{given}: an argument is key=value", next_step="meshnode call SKILL text=hello n=3")
    if value.startswith("@@"):
        return key, value[1:]
    if value.startswith("@"):
        return key, _text_of(Path(value[1:]), key)
    try:
        parsed: object = json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return key, value
    return key, parsed


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are no JSON: they stay text


def _text_of(path: Path, key: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise Invalid(f"{key}: {path} is larger than {FILE_BYTES_MAX} bytes", next_step="pass its path instead")
        return content.decode()
    except OSError as error:
        raise Invalid(f"{key}: cannot read {path}: {error.strerror}", next_step="check the path") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{key}: {path} is not UTF-8 text", next_step="pass its path instead") from error


def _json_object(text: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise Invalid(
            f"--json: {error}", next_step='an object by argument name: --json \'{"text": "hello"}\''
        ) from error


def _ping(given: Given) -> int:
    name: str = given.node.removeprefix("node/")
    client = client_of(given)
    answered: list[PingView] = []
    failed: LocalError | None = None
    for number in range(1, given.count + 1):
        try:
            view = client.ping(name, given.deadline)
        except LocalError as error:
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


def _pong(view: PingView, number: int) -> str:
    offset = f"  clock {view.clock_offset_ms:+.0f} ms" if view.path != "self" else ""
    return one_line(f"{number}: {view.node}  {milliseconds(view.rtt_ms)}  {view.path}{offset}")


def _ping_summary(count: int, rtts: list[float]) -> str:
    if not rtts:
        return f"0 of {count} answered"
    middle = statistics.median(rtts)
    words = " / ".join(milliseconds(value) for value in (min(rtts), middle, max(rtts)))
    return f"{len(rtts)} of {count} answered, min / median / max {words}"


def _events(given: Given) -> int:
    for told in client_of(given).events(given.after, follow=given.follow):
        event = told.event
        line = one_line(f"{clock(event.at_ms)}  {event.subject}  {event.text}")
        show_one(given, told, lambda line=line: [line], event.subject)
        sys.stdout.flush()  # whoever reads through a pipe follows as well
    if given.follow:
        raise Offline("the node has ended, and its events with it", next_step=command(given, "status"))
    return 0


def _call_options(parser: Parser) -> None:
    parser.add_argument("skill", metavar="SKILL")
    parser.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="JSON or text; KEY=@FILE reads a file")
    parser.add_argument("--json", metavar="OBJECT", default="", help="all arguments as one JSON object")
    parser.add_argument("--deadline", metavar="SECONDS", type=_seconds, default=10.0, help="default: 10")
    parser.add_argument("--to", metavar="NODE", default="", help="narrows to a node, or to AGENT/NODE")
    parser.add_argument("--key", metavar="KEY", default="", help="idempotency key: a repeat gets the first answer")
    output_option(parser)


def _ping_options(parser: Parser) -> None:
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("-c", dest="count", metavar="N", type=_count, default=1, help="how many (default: 1)")
    parser.add_argument("--deadline", metavar="SECONDS", type=_seconds, default=3.0, help="for each (default: 3)")
    output_option(parser)


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 10_000:
        raise ValueError(text)
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds <= DEADLINE_S_MAX:
        raise ValueError(text)
    return seconds


_count.__name__ = "count"  # argparse names the rule by it
_seconds.__name__ = "SECONDS"


def _events_options(parser: Parser) -> None:
    parser.add_argument("-f", dest="follow", action="store_true", help="go on with what happens")
    parser.add_argument("--after", metavar="N", type=int, default=0, help="skip events up to number N")
    output_option(parser)


VERBS = {
    "call": Verb(options=_call_options, run=_call),
    "ping": Verb(options=_ping_options, run=_ping),
    "events": Verb(options=_events_options, run=_events),
}
