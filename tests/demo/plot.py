"""The order of the chapters, and what each planted fault needs of them to be noticed."""

from collections.abc import Callable

from tests.demo import watching
from tests.demo.chapters import Demo

CHAPTERS: dict[str, Callable[[Demo], None]] = {
    "form": Demo.form,
    "cold": Demo.cold,
    "machines": Demo.machines,
    "agents": Demo.agents,
    "calls": Demo.calls,
    "gateway": watching.watch,
    "power-cut": Demo.power_cut,
    "first-node": Demo.first_node,
    "cut": Demo.cut,
    "alone": Demo.alone,
    "heal": Demo.heal,
    "gateway-back": watching.return_,
    "lie": Demo.lie,
    "reckoning": Demo.reckon,
}
# What each planted fault needs to be noticed.
CHAPTERS_OF = {
    "forged-record": ["form", "lie"],
    "drop-documents": ["form", "cut", "heal"],
    "lost-write": ["form", "cut", "alone"],
    "double-count": ["form", "agents", "reckoning"],
    "lose-ack": ["form", "agents", "cut", "alone"],
    "stale-restore": ["form", "agents", "cut", "alone"],
    "two-owners": ["form", "agents", "cut", "heal"],
    "drop-merge": ["form", "agents", "cut", "heal", "reckoning"],
    "skip-event": ["form", "gateway", "gateway-back"],
}


def play(demo: Demo, chapters: list[str]) -> None:
    """In the order of the story; the first wrong claim ends it."""
    for name, chapter in CHAPTERS.items():
        if name in chapters:
            chapter(demo)
