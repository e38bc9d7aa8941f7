"""After the holes are filled, what is made anew lies together."""

import sys
from pathlib import Path

from tests.patience import finished

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import asyncio, json
from meshnode.host.pools import fill_pools
PAGE = 4096
holes = [bytes(100) for _ in range(20_000)]
del holes[::7]
used = {id(each) // PAGE for each in holes}
before = {id(each) // PAGE for each in [bytes(100) for _ in range(50)]}
fillers = fill_pools()
after = {id(each) // PAGE for each in [bytes(100) for _ in range(50)]}
print(len(before & used), len(after & used), len(after))
"""


def test_new_objects_go_to_fresh_pools_once_the_holes_are_filled() -> None:
    done = finished([sys.executable, "-c", PROGRAM], check=True, cwd=ROOT)
    shared_before, shared_after, pages = map(int, done.stdout.split())
    assert shared_before > 0
    assert shared_after == 0
    assert pages <= 3
