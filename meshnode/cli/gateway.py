"""The optional fleet view: starts the program that serves it, in the place of this one."""

import importlib.util
import os
import sys
from typing import NoReturn

from meshnode.cli.parser import Given, Parser, Verb, directory_of
from meshnode.client.locate import data_dir
from meshnode.model.errors import NotFound

PROGRAM = "cloud_gateway"
_VALUES = ("listen", "store", "token_file", "tls_cert", "tls_key")


def _gateway(given: Given) -> NoReturn:
    argv: list[str] = []
    for option in _VALUES:
        value: str = getattr(given, option)
        if value:
            argv += [f"--{option.replace('_', '-')}", value]
    for name in given.name:
        argv += ["--name", name]
    _become(given, argv)


def _ui(given: Given) -> NoReturn:
    _become(given, ["--local", *(["--no-open"] if given.no_open else [])])


def _become(given: Given, argv: list[str]) -> NoReturn:
    """Nobody needs the gateway: it is known here by its name only."""
    if importlib.util.find_spec(PROGRAM) is None:
        raise NotFound("the gateway is not part of this installation", next_step="pip install meshnode")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(  # noqa: S606 - our own interpreter and module
        sys.executable, [sys.executable, "-m", PROGRAM, "--dir", str(data_dir(directory_of(given))), *argv]
    )


def _gateway_options(parser: Parser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="", help="default: 127.0.0.1 and a free port that is remembered"
    )
    parser.add_argument(
        "--store", metavar="URL", default="", help="sqlite:FILE (default: in DIR/gateway) or postgresql://..."
    )
    parser.add_argument("--token-file", metavar="FILE", default="", help="holds the token (default: one is made)")
    parser.add_argument("--tls-cert", metavar="FILE", default="", help="PEM; needed where other machines can connect")
    parser.add_argument("--tls-key", metavar="FILE", default="", help="PEM, without a password")
    parser.add_argument(
        "--name", metavar="HOST", action="append", default=[], help="by which others call this machine; again for more"
    )


def _ui_options(parser: Parser) -> None:
    parser.add_argument("--no-open", action="store_true", help="only print the address")


VERBS = {"gateway": Verb(options=_gateway_options, run=_gateway), "ui": Verb(options=_ui_options, run=_ui)}
