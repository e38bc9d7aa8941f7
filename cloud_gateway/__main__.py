"""``python -m cloud_gateway``: the program behind ``meshnode gateway`` and ``meshnode ui``."""

import argparse
import asyncio
import logging
import signal
import sys
import threading
import webbrowser
from pathlib import Path

from cloud_gateway import home
from cloud_gateway.first_look import Known, check_roles, look
from cloud_gateway.memory import be_frugal
from cloud_gateway.settings import LOOPBACK, MEMORY, Settings, check_open, parse_address, read_token
from cloud_gateway.store.port import StoreFailed
from meshnode.client.locate import data_dir
from meshnode.model.errors import LocalError, NotFound

INTERRUPTED = 130


def main(argv: list[str]) -> int:
    try:
        given = _parser().parse_args(argv)
        known = known_of(given)
        settings = settings_of(given)
        from cloud_gateway.service import serve  # only what starts needs uvicorn

        be_frugal()
        asyncio.run(serve(settings, known, lambda ready: _tell(settings, ready)))
    except LocalError as error:
        return _refuse(error.message, error.next_step, error.exit_code)
    except StoreFailed as error:
        return _refuse(f"the store cannot be opened: {error}", "", 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    return 0


def known_of(given: argparse.Namespace) -> Known:
    """What the node says. Raises ``LocalError``: there is none, or it may not."""
    directory = data_dir(given.dir)
    if not (directory / "identity").exists():
        raise NotFound(
            f"there is no node in {directory}, and a gateway sees the mesh through one",
            next_step="choose its directory with -C DIR, or make one: meshnode up",
        )
    known = look(directory)
    if not given.local:
        check_roles(known)
    return known


def settings_of(given: argparse.Namespace) -> Settings:
    """Makes the gateway's directory. Raises ``LocalError``: what is wrong, and what to do."""
    directory = data_dir(given.dir)
    if given.local:
        return Settings(
            directory=directory, store=MEMORY, token=home.fresh_token(), local=True, opens=not given.no_open
        )
    host, port = parse_address(given.listen) if given.listen else (LOOPBACK, 0)
    check_open(host, tls=bool(given.tls_cert), token=bool(given.token_file))
    kept = home.make_home(directory)
    return Settings(
        directory=directory,
        store=given.store or f"sqlite:{kept / 'history.db'}",
        token=read_token(Path(given.token_file)) if given.token_file else home.kept_token(kept),
        host=host,
        port=port,
        remembered=not given.listen,
        names=tuple(given.name),
        tls_cert=Path(given.tls_cert) if given.tls_cert else None,
        tls_key=Path(given.tls_key) if given.tls_key else None,
    )


def _tell(settings: Settings, ready: object) -> None:
    from cloud_gateway.api.settings import PAGE
    from cloud_gateway.service import Ready

    assert isinstance(ready, Ready)
    through = f"through {ready.node} of mesh {ready.mesh}" if ready.node else "its node does not answer"
    where = "nothing is kept" if settings.store == MEMORY else f"kept in {ready.store}"
    sys.stdout.write(f"ready  {ready.page}  ({through}; {where})\n")
    sys.stdout.flush()
    if not page_is_whole(PAGE):
        sys.stderr.write(
            "warning: the page's libraries are not installed, so it stays empty; the API is whole: make setup\n"
        )
    if ready.problem:
        sys.stderr.write(f"warning: {ready.problem}: what was kept is shown, and the node is tried again\n")
    if settings.opens:
        threading.Thread(target=webbrowser.open, args=(ready.page,), name="browser", daemon=True).start()


def page_is_whole(page: Path) -> bool:
    """A wheel has what is needed; in a clone `make setup` installs it."""
    return (page / "vendor" / "preact.js").exists()


def _refuse(message: str, next_step: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n" + (f" -> {next_step}\n" if next_step else ""))
    return code


class _Line(logging.Formatter):
    """One line with its fields behind it: ``TIME LEVEL NAME: TEXT  why=...``."""

    _PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={value}" for name, value in record.__dict__.items() if name not in self._PLAIN)
        return super().format(record) + fields


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cloud_gateway", allow_abbrev=False)
    parser.add_argument("--dir", default=None, help="the node's directory")
    parser.add_argument("--listen", metavar="HOST:PORT", default="")
    parser.add_argument("--store", metavar="URL", default="")
    parser.add_argument("--token-file", metavar="FILE", default="")
    parser.add_argument("--tls-cert", metavar="FILE", default="")
    parser.add_argument("--tls-key", metavar="FILE", default="")
    parser.add_argument("--name", metavar="HOST", action="append", default=[])
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--no-open", action="store_true")
    return parser


if __name__ == "__main__":
    _log_to_stderr()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the loop takes it: an end in order
    sys.exit(main(sys.argv[1:]))
