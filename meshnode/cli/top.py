"""``meshnode top``: nodes, agents and what happens, on the whole screen, asked anew every second."""

import curses
import os
import sys
import time

from meshnode.cli.parser import Given, Parser, Verb, directory_of
from meshnode.cli.top_model import Top
from meshnode.cli.top_screen import screen
from meshnode.cli.words import clock
from meshnode.client.client import Client
from meshnode.model.errors import Invalid, LocalError

EVERY_S = 1.0
TIMEOUT_S = 3.0  # a node that says nothing must not freeze the screen for longer
FILTER_CHARS_MAX = 60
_ESCAPE, _ENTER = 27, (curses.KEY_ENTER, 10, 13)
_BACK = (curses.KEY_BACKSPACE, 8, 127)


def _top(given: Given) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("top needs a terminal", next_step="meshnode status; meshnode ls -w shows nodes again and again")
    client = Client(directory_of(given), timeout_s=TIMEOUT_S)
    client.status()  # a node that is not there is told as everywhere, not on a screen of its own
    os.environ.setdefault("ESCDELAY", "25")
    return curses.wrapper(_shown, client, given.every)


def _shown(window: curses.window, client: Client, every_s: float) -> int:
    styles = _styles()
    curses.curs_set(0)
    top = Top(client)
    due_s = time.monotonic()
    while True:
        if time.monotonic() >= due_s:
            top.refresh()
            due_s = time.monotonic() + every_s
        _draw(window, top, styles)
        window.timeout(max(1, int((due_s - time.monotonic()) * 1000)))
        if not _obey(top, client, window.getch()):
            return 0


def _draw(window: curses.window, top: Top, styles: dict[str, int]) -> None:
    height, width = window.getmaxyx()
    window.erase()
    # The last cell of the last line cannot be written without scrolling.
    for at, (text, style) in enumerate(screen(top, width - 1, height)):
        window.addstr(at, 0, text, styles[style])
    window.refresh()


def _obey(top: Top, client: Client, key: int) -> bool:
    """What a key asks for; False ends."""
    if top.typing:
        _type(top, key)
        return True
    if key == ord("q") and not top.story:
        return False
    if key in (_ESCAPE, ord("q")):
        top.story, top.filter = (), "" if not top.story else top.filter
    elif key in (ord("\t"), curses.KEY_RIGHT, ord("l")):
        top.turn(1)
    elif key in (curses.KEY_BTAB, curses.KEY_LEFT, ord("h")):
        top.turn(-1)
    elif key in _MOVES:
        top.move(_MOVES[key])
    elif key == ord("/"):
        top.typing = True
    elif key in _ENTER:
        top.story = _why(top, client)
    return True


_MOVES = {
    curses.KEY_DOWN: 1, ord("j"): 1, curses.KEY_UP: -1, ord("k"): -1, curses.KEY_NPAGE: 20, curses.KEY_PPAGE: -20,
    curses.KEY_HOME: -(10**9), curses.KEY_END: 10**9,
}  # fmt: skip


def _type(top: Top, key: int) -> None:
    if key in _ENTER or key == _ESCAPE:
        top.typing = False
        top.filter = "" if key == _ESCAPE else top.filter
    elif key in _BACK:
        top.filter = top.filter[:-1]
    elif 32 <= key < 127 and len(top.filter) < FILTER_CHARS_MAX:
        top.filter += chr(key)
    top.at = 0


def _why(top: Top, client: Client) -> list[str]:
    subject = top.subject()
    if not subject:
        return []
    try:
        told = client.why(subject)
    except LocalError as error:
        return [f"why {subject}", error.message]
    return [f"why {subject}", told.now, "", *(f"{clock(e.at_ms)[11:]}  {e.text}" for e in reversed(told.events))]


def _styles() -> dict[str, int]:
    plain = {"": 0, "title": curses.A_BOLD, "dim": curses.A_DIM, "here": curses.A_REVERSE}
    if os.environ.get("NO_COLOR") or not curses.has_colors():
        return {**plain, "good": 0, "warn": curses.A_BOLD, "bad": curses.A_BOLD}
    curses.use_default_colors()
    for number, colour in enumerate((curses.COLOR_GREEN, curses.COLOR_YELLOW, curses.COLOR_RED), start=1):
        curses.init_pair(number, colour, -1)
    names = ("good", "warn", "bad")
    return {**plain, **{name: curses.color_pair(number) for number, name in enumerate(names, start=1)}}


def _options(parser: Parser) -> None:
    parser.add_argument("--every", type=_seconds, default=EVERY_S, metavar="SECONDS", help="ask anew this often")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.2 <= seconds <= 3600:
        raise ValueError(text)
    return seconds


_seconds.__name__ = "SECONDS (0.2 to 3600)"
VERBS = {"top": Verb(options=_options, run=_top)}
