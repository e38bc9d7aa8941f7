"""From a verb to the module that knows it; errors to stderr as what and what next; the exit code."""

import importlib
import sys

from meshnode.cli.parser import Verb, parse, parser_of
from meshnode.cli.verbs import HIDDEN, VERBS
from meshnode.cli.words import printable
from meshnode.model.errors import Invalid, LocalError


def dispatch(directory: str, verb: str, rest: list[str]) -> int:
    """Run one verb; what stands before it (``-C DIR``) holds unless it is said again behind it."""
    try:
        return _run(directory, verb, rest)
    except LocalError as error:
        show_error(error)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        show_error(LocalError(f"{place}{error.strerror or error}"))
        return 1


def show_error(error: LocalError) -> None:
    sys.stdout.flush()
    print(f"error: {printable(error.message)}", file=sys.stderr)
    if error.next_step:
        print(f" -> {printable(error.next_step)}", file=sys.stderr)


def _run(directory: str, verb: str, rest: list[str]) -> int:
    if verb == "--version":
        verb = "version"
    if verb == "help":
        verb, rest = rest[0], ["--help"]
    entry = VERBS.get(verb) or HIDDEN.get(verb)
    if entry is None:
        raise _unknown(verb)
    module, summary = entry
    known: Verb = importlib.import_module(f"meshnode.cli.{module}").VERBS[verb]
    parser = parser_of(verb, summary)
    parser.set_defaults(directory=directory)
    known.options(parser)
    return known.run(parse(parser, rest, dashed=known.dashed))


def _unknown(verb: str) -> Invalid:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    kind = "option" if verb.startswith("-") else "command"
    next_step = f"did you mean: meshnode {near[0]}" if near else "meshnode --help"
    return Invalid(f"unknown {kind}: {verb}" if verb else "no command given", next_step=next_step)
