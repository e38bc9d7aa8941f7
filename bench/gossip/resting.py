"""What meshes of several sizes cost at rest, and each byte by what it is for: the short form of three groups.

    python -m bench.gossip.resting [NODES ...] [--profile edge] [--letters] [--settle S] [--seconds S]

Real daemons as in ``idle-bytes``, ``idle-bytes-edge``, ``idle-growth`` and ``idle-memory``, without the anchors. With
``--letters`` each daemon counts what it writes, which costs it a little: figures of the processor are without.
"""

import argparse
import asyncio
import os
import sys
from collections import Counter

from bench.gossip.fleet import Fleet, fleet
from bench.gossip.idle import Idle, idle
from bench.gossip.letters import PIECE, WROTE, read

DAEMONS = ("bench.gossip.daemon", "bench.gossip.letters")
RECORD_BYTES = 22  # of TLS 1.3 around one piece: header, content type, tag
SETTLE_S, IDLE_S = 20.0, 60.0

Wrote = tuple[Counter[str], Counter[str]]  # frames and bytes of all nodes, by kind


async def rest(count: int, profile: str, settle_s: float, for_s: float, *, sorting: bool) -> None:
    async with fleet(count, ("--profile", profile), DAEMONS[sorting]) as made:
        made.meet()
        await made.be_whole()
        await asyncio.sleep(settle_s)
        before = _wrote(made)
        figures = await idle(made, 0.0, for_s)
        frames, octets = (after - since for after, since in zip(_wrote(made), before, strict=True))
    sys.stdout.write(
        f"{count} nodes, {profile}: {figures.bytes_s:.0f} B/s and {figures.packets_s:.2f} packets/s a node, "
        f"{figures.percent:.3f} % of a core, RSS {figures.rss_mib:.1f} MiB, PSS {figures.pss_mib:.1f}; {settle_s:g} to "
        f"{settle_s + for_s:g} s after all were whole, load {os.getloadavg()[0]:.1f}\n"
    )
    if sorting:
        sys.stdout.write(_account(figures, frames, octets, count * for_s))
    sys.stdout.flush()


def _wrote(made: Fleet) -> Wrote:
    frames, octets = Counter[str](), Counter[str]()
    for node in made.running:
        for kind, (number, size) in read([token for what, token in node.learned if what == WROTE]).items():
            frames[kind] += number
            octets[kind] += size
    return frames, octets


def _account(figures: Idle, frames: Counter[str], octets: Counter[str], node_s: float) -> str:
    """Largest first; what no piece explains are headers of packets, and packets that only acknowledge."""
    records = frames[PIECE] * RECORD_BYTES / node_s
    kinds = {kind: size / node_s for kind, size in octets.items() if kind != PIECE}
    lines = [(f"{frames[kind] / node_s:7.3f}/s  {kind}", size) for kind, size in kinds.items()]
    lines.append((f"{frames[PIECE] / node_s:7.3f}/s  TLS records", records))
    headers = figures.bytes_s - records - sum(kinds.values())
    lines.append((f"{figures.packets_s:7.3f}/s  TCP, IP and Ethernet headers", headers))
    return "".join(f"  {size:8.1f} B/s  {what}\n" for what, size in sorted(lines, key=lambda line: -line[1]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.resting", description="what a mesh costs at rest")
    parser.add_argument("nodes", type=int, nargs="*", default=[50])
    parser.add_argument("--profile", choices=("edge", "default", "relay"), default="default")
    parser.add_argument("--letters", action="store_true", help="each byte by what it is for")
    parser.add_argument("--settle", type=float, default=SETTLE_S, metavar="S")
    parser.add_argument("--seconds", type=float, default=IDLE_S, metavar="S")
    given = parser.parse_args()
    counts: list[int] = given.nodes
    for count in counts:
        asyncio.run(rest(count, given.profile, given.settle, given.seconds, sorting=given.letters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
