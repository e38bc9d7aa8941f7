"""The command line's front step: refuses a Python that cannot work, and ends quietly when told to.

This module and ``verbs`` import nothing beyond ``sys`` and ``os``, so that ``--help`` and the refusal are instant, and
so that an older Python gets as far as the sentence that explains itself.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
BROKEN_PIPE = 141


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run one command; the exit code follows the table in ``meshnode --help``."""
    refusal = unfit(sys.version_info[:2], sys.flags.optimize)
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    try:
        code = _command(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `meshnode ls | head -1`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def unfit(version: tuple[int, ...], optimize: int) -> str:
    """Why this Python cannot run meshnode; empty when it can."""
    if not (3, 11) <= version < (3, 13):
        has = ".".join(map(str, version))
        return f"error: meshnode needs Python 3.11 or 3.12, and this is {has}\n -> python3.12 -m meshnode.cli"
    if optimize:
        return "error: meshnode does not run without its assertions\n -> leave python -O and PYTHONOPTIMIZE out"
    return ""


def _command(argv: list[str]) -> int:
    from meshnode.cli.verbs import help_text, split

    directory, verb, rest = split(argv)
    if verb in ("", "help", "-h", "--help") and not rest:
        print(help_text())
        return 0 if verb else 2
    from meshnode.cli.dispatch import dispatch

    return dispatch(directory, verb, rest)
