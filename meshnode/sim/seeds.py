"""Programs that play one seed after the other, each in the memory that one of them takes."""

import argparse
import gc
import sys
from collections.abc import Callable

OK, FAILED = 0, 1


def parser(prog: str, description: str, seeds: int) -> argparse.ArgumentParser:
    """Of ``python -m meshnode.sim.PROG``; ``seeds``: how many it plays if nobody says."""
    made = argparse.ArgumentParser(prog=f"python -m meshnode.sim.{prog}", description=description)
    made.add_argument("--seeds", type=int, default=seeds, help="how many")
    made.add_argument("--first", type=int, default=0, help="the first of them")
    return made


def play_all(asked: argparse.Namespace, play: Callable[[int], tuple[str, str]]) -> int:
    """0: nothing was wrong; 1: something was. ``play`` plays a seed: what is told of it, and why it failed, or ""."""
    failed = 0
    gc.disable()
    for seed in range(asked.first, asked.first + asked.seeds):
        told, why = play(seed)
        gc.collect()
        failed += bool(why)
        sys.stdout.write(f"seed {seed}: {told}{f'; FAILED {why}' if why else ''}\n")
        sys.stdout.flush()
    return FAILED if failed else OK
