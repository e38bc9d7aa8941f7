"""``python -m meshnode.sim --seed 7 --nodes 50 --scenario cut-and-heal``: play one run, judge it, print its trace."""

import argparse
import sys
from collections.abc import Sequence

from meshnode.sim.world import NODES_MAX, Setup, World


def main(words: Sequence[str]) -> int:
    """0: the run passed; 1: a checker found something; 2: no such scenario."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=50, help=f"1 to {NODES_MAX}")
    parser.add_argument("--scenario", default="cut-and-heal")
    parser.add_argument("--verbose", action="store_true", help="one line per event")
    asked = parser.parse_args(words)
    out = sys.stdout
    world = World(Setup(seed=asked.seed, nodes=asked.nodes, show=_line if asked.verbose else None))
    world.start_all()
    world.run_for(30.0)
    out.write(f"trace {world.trace.digest()}\n")
    return 0


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
