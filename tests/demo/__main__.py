"""``make demo``: the main job, played by real daemons and told with what a separate verifier saw.

Exits non-zero when a claim is wrong or takes five times its goal. ``--keep`` leaves the mesh running; ``--break FAULT``
plants a fault of ``tests/faults`` in every daemon, plays what it needs, and must fail; ``--chapters`` plays
only some.
"""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from tests.demo.chapters import PLAN, Demo
from tests.demo.fleet import Broken, Fleet
from tests.demo.looking import PATIENCE_S
from tests.demo.plot import CHAPTERS, CHAPTERS_OF, play
from tests.demo.story import SLACK_BROKEN, Story, Wrong, slack_at
from tests.demo.watching import AWAY_S
from tests.demo.witness import Verifier

TAIL_LINES = 15
PATIENCE_BROKEN_S = 9.0  # what a planted fault prevents never comes


def _leave(demo: Demo) -> None:
    """Nothing stays behind, and that is verified too."""
    fleet, verifier, story = demo.fleet, demo.verifier, demo.story
    story.chapter("The mesh goes down")
    pids = [node.process.pid for node in fleet.nodes if node.process is not None]
    if demo.gateway is not None:
        pids.append(demo.gateway.pid)
    forced = _end(demo)
    story.claim("every daemon ended by itself when asked", holds=not forced, seen=f"killed: {forced or 'none'}")
    runs = [node.run for node in fleet.nodes if node.run]
    seen = verifier.check("gone", pids=pids, ports=list(fleet.network.fronts.values()), runs=runs)
    story.claim("no process, port or socket is left", holds=seen["holds"], seen=seen["seen"])


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--break", dest="fault", choices=tuple(CHAPTERS_OF), default="")
    parser.add_argument("--away", type=float, default=AWAY_S, help="seconds for which the gateway stays dead")
    parser.add_argument("--chapters", default="", help=f"of {','.join(CHAPTERS)}; default: all, or what a fault needs")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    story = Story(slack=SLACK_BROKEN if given.fault else slack_at(load, cores))
    fleet, verifier = Fleet(PLAN, given.fault), Verifier(PATIENCE_BROKEN_S if given.fault else PATIENCE_S)
    story.tell(f"load of this machine {load:.1f}, {cores} cores: {story.slack:.0f} times a goal is a broken promise")
    if given.fault:
        story.tell(f"planted: {given.fault}")
    chapters = given.chapters.split(",") if given.chapters else CHAPTERS_OF.get(given.fault, list(CHAPTERS))
    demo = Demo(fleet, verifier, story, given.away, meters_only=bool(given.fault))
    kept = False
    try:
        kept = _tell(demo, chapters, keep=given.keep)
        return story.end()
    except KeyboardInterrupt:
        story.tell("interrupted")
        return 130
    finally:
        demo.close()
        verifier.close()
        if not kept:
            _end(demo)
            _remove(fleet.directory)


def _tell(demo: Demo, chapters: list[str], *, keep: bool) -> bool:
    """Play, then leave in order. True when the mesh was left running, as asked."""
    fleet, story = demo.fleet, demo.story
    try:
        play(demo, chapters)
    except Wrong:
        story.tell("the story stops here")
    except Broken as error:
        story.stops = False
        what, *more = str(error).splitlines()
        story.claim(what, holds=False)
        for line in more[-TAIL_LINES:]:
            story.tell(line)
    finally:
        demo.close()
    story.stops = False
    if story.wrong:
        for line in fleet.troubles():
            story.tell(line)
    elif keep:
        _stay(demo)
        return True
    _leave(demo)
    return False


def _end(demo: Demo) -> list[str]:
    """Everything that still runs, in order; what had to be killed is named."""
    stopped = demo.gateway is None or demo.gateway.stop()
    return [*([] if stopped else ["the gateway"]), *demo.fleet.stop()]


def _stay(demo: Demo) -> None:
    fleet, story = demo.fleet, demo.story
    fleet.network.leave_running()
    story.chapter("The mesh keeps running")
    for node in fleet.nodes:
        story.tell(f".venv/bin/meshnode -C '{node.directory}' status")
    if demo.gateway is not None:
        story.tell(f"the page of the fleet: {demo.gateway.address.page}")
        story.tell(f"end it: kill {demo.gateway.pid}")
    names = " ".join(node.name for node in fleet.nodes)
    story.tell(f"end it: for n in {names}; do .venv/bin/meshnode -C '{fleet.directory}/'$n down; done")
    story.tell(f"then:   rm -r '{fleet.directory}'")


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
