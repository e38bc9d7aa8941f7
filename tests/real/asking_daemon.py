"""A real daemon that asks within a second whether anybody can dial it, instead of after a quarter of a minute.

``python tests/real/asking_daemon.py [obliging] --dir DIR ...``; obliging, a planted fault: it says that it reached
whoever asks, and dials nobody.
"""

import os
import sys

from meshnode.daemon.main import run
from meshnode.gossip import dialback
from meshnode.gossip.letters import Dialback, Tried, post
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId


def oblige(_trying: dialback.Trying, peer: NodeId, letter: Dialback, _now: Instant) -> list[Effect]:
    """In the place of ``Trying.asked``."""
    return [post(peer, Tried(letter.number, dialback.REACHED))]


if __name__ == "__main__":
    words = sys.argv[1:]
    dialback.FIRST_US = dialback.AGAIN_US = SECOND // 2  # type: ignore[misc]
    dialback.HIDDEN_US = SECOND  # type: ignore[misc]
    if words[0] == "obliging":
        dialback.OPEN_US = SECOND  # type: ignore[misc]
        dialback.Trying.asked = oblige  # type: ignore[method-assign]
        words = words[1:]
    status = run(words)
    sys.stdout.flush()
    os._exit(status)
