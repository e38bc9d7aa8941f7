"""``call``: ask a skill for a result, whoever offers it."""

import json
import re
import sys
from pathlib import Path

import msgspec

from meshnode.cli.output import json_of, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, deadline, output_option, warn
from meshnode.cli.words import milliseconds, one_line
from meshnode.kernel.decoding import JUNK
from meshnode.model.commands import CallSkill
from meshnode.model.errors import Invalid
from meshnode.model.views import CallView

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# What the API takes, less the room a command needs around its arguments.
FILE_BYTES_MAX = 1_000_000


def _call(given: Given) -> int:
    wanted = CallSkill(
        skill=given.skill.removeprefix("skill/"),
        arguments={**_json_object(given.json), **dict(map(argument, given.arguments))},
        deadline_s=given.deadline,
        to=given.to,
        idempotency_key=given.key,
        session=given.session,
        batch=given.batch,
    )
    if given.stream:
        return _stream(given, wanted)
    view = client_of(given).call(wanted)
    show_one(given, view, lambda: [json_of(view.result)], view.call_id)
    if given.output in ("table", "wide"):
        warn(call_line(view))
    return 0


def _stream(given: Given, wanted: CallSkill) -> int:
    """Each item on a line of its own as it comes; at the end who answered, and the result if there is one."""
    people = given.output in ("table", "wide")
    for heard in client_of(given).call_stream(wanted):
        if isinstance(heard, CallView):
            if people and heard.result is not None:
                print(json_of(heard.result))
            elif not people:
                show_one(given, heard, list, heard.call_id)
            if people:
                warn(call_line(heard))
        elif people:
            print(msgspec.json.encode(heard.item).decode())
        elif given.output != "name":
            show_one(given, heard, list, "")
        sys.stdout.flush()  # whoever reads through a pipe sees it now
    return 0


def call_line(view: CallView) -> str:
    """Who answered, how fast, how safe what it changed is: beside the result, which alone can be piped."""
    tries = "1 attempt" if view.attempts == 1 else f"{view.attempts} attempts"
    words = [f"{view.instance}@{view.node}", milliseconds(view.took_ms), tries]
    if view.durability:
        words.append(f"kept: {view.durability}" + (f", version {view.version}" if view.version else ""))
    if view.replayed:
        words.append("(stored answer)")
    return one_line("  ".join([*words, f"call {view.call_id}"]))


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
    except JUNK:
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


def _options(parser: Parser) -> None:
    parser.add_argument("skill", metavar="SKILL", help="its name, or cap/TAG for any that has that capability")
    parser.add_argument("arguments", metavar="KEY=VALUE", nargs="*", help="JSON or text; KEY=@FILE reads a file")
    parser.add_argument("--json", metavar="OBJECT", default="", help="all arguments as one JSON object")
    parser.add_argument("--deadline", metavar="SECONDS", type=deadline, default=10.0, help="default: 10")
    parser.add_argument("--to", metavar="WHO", default="", help="NODE, AGENT/NODE, agent/AGENT or agent/AGENT/SLOT")
    parser.add_argument("--key", metavar="KEY", default="", help="idempotency key: a repeat gets the first answer")
    parser.add_argument("--session", metavar="NAME", default="", help="calls of one session go to one instance")
    parser.add_argument("--batch", action="store_true", help="it may wait: refused first where there is too much to do")
    parser.add_argument("--stream", action="store_true", help="show items as they come")
    output_option(parser)


VERBS = {"call": Verb(options=_options, run=_call)}
