"""What a directory of thousands costs one real daemon: it is started over a journal that holds so many rows.

python -m bench.gossip.thousands
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import msgspec

from bench.gossip.effort import FULL, Effort
from bench.gossip.fleet import Fleet, fleet
from bench.gossip.idle import Idle, idle
from bench.rows import Meter, Row, show, skipped
from hw.report import HardwareReport, probe
from meshnode.gossip import directory
from meshnode.gossip.directory import Status
from meshnode.gossip.letters import SignedRow
from meshnode.host import keystore
from meshnode.host.journal import JournalWriter
from meshnode.kernel.records import Record, RecordKind
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.members import make_member
from meshnode.security.roles import MEMBER

MEMORY_MIB, BOOT_S = 20.0, 2.0
REGIONS, PORT = 20, 7007
BATCH = 500
FACTS_BYTES_MAX = 4096
JOURNAL = "journal"
SYSTEMS = ("Debian GNU/Linux 12 (bookworm)", "Ubuntu 24.04.1 LTS", "Ubuntu 22.04.5 LTS", "Fedora Linux 41")
MODELS = ("AMD EPYC 9654", "AMD Ryzen 9 7950X", "Intel(R) Xeon(R) Gold 6430", "Cortex-A78AE", "Apple M2")


async def thousands(effort: Effort) -> AsyncIterator[Row]:
    if not effort.full:
        yield skipped("idle-memory-10k", "MiB", MEMORY_MIB)
        yield skipped("boot-10k", "s", BOOT_S)
        return
    meter = Meter()
    alone_s, alone = await _looked_at(effort, 0)
    full_s, full = await _looked_at(effort, effort.rows)
    facts = len(_facts(0))
    yield meter.row(
        "idle-memory-10k", full.rss_mib - alone.rss_mib, "MiB", MEMORY_MIB, n=effort.rows,
        why=f"RSS {full.rss_mib:.1f} with {effort.rows:,} rows of nodes that cannot be reached, {alone.rss_mib:.1f} "
        f"without (PSS {full.pss_mib:.1f}, {alone.pss_mib:.1f}); each row has some {facts} bytes of facts, as "
        f"this machine would tell them, with figures of its own; processor {full.percent:.2f} %",
    )  # fmt: skip
    yield meter.row(
        "boot-10k", full_s, "s", BOOT_S, n=1,
        why=f"from the start of the process to a daemon that answers, {effort.rows:,} rows in its journal; "
        f"{alone_s:.2f} s without",
    )  # fmt: skip


async def _looked_at(effort: Effort, rows: int) -> tuple[float, Idle]:
    """How long a daemon over so many rows takes to start, and what it costs then."""
    begun_s: list[float] = []

    async def fill(made: Fleet) -> None:
        await written(made.nodes[0].directory, rows)
        begun_s.append(time.monotonic())

    async with fleet(1, before=fill) as made:
        started_s = time.monotonic() - begun_s[0]
        return started_s, await idle(made, effort.settle_s, 10)


async def written(at: Path, count: int) -> None:
    """Put rows of so many other nodes of the mesh into a node's journal, as if it had met them all."""
    founder = keystore.load(at)
    assert founder.admin is not None
    opened = JournalWriter.open(at / JOURNAL, node=founder.node)
    try:
        for first in range(0, count, BATCH):
            numbers = range(first, min(count, first + BATCH))
            records = [_record(founder.admin, founder.mesh, number) for number in numbers]
            stored: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            opened.writer.append(records, stored.set_result)
            error = await stored
            if error is not None:
                raise error
    finally:
        opened.writer.close()


def _record(admin: RecordSigner, mesh: str, number: int) -> Record:
    signer, wall_ms = RecordSigner(new_record_key()), time.time_ns() // 1_000_000
    member = make_member(
        admin, mesh=mesh, name=f"far-{number}", record_key=signer.public_key, roles=(MEMBER,),
        region=f"region-{number % REGIONS}", labels={}, issued_ms=wall_ms,
    )  # fmt: skip
    endpoints = ((f"10.99.{number // 250}.{number % 250 + 1}", PORT),)  # no route leads there
    body = directory.encode_row(directory.Row(signer.node, 1, 0, Status.ALIVE, endpoints, _facts(number), wall_ms))
    signed = SignedRow(body, signer.sign(directory.CONTEXT, body), member)
    return Record(RecordKind.DIRECTORY, signer.node, msgspec.msgpack.encode(signed))


@cache
def _here() -> HardwareReport:
    return probe(Path("/"))


def _facts(number: int) -> bytes:
    """What another machine would say of itself: in the words of this one, with figures and names of its own."""
    here, luck = _here(), random.Random(number)
    cores, room = 1 << luck.randrange(7), luck.randrange(1 << 30, 1 << 40, 4096)
    replace = msgspec.structs.replace
    return replace(
        here,
        machine=replace(here.machine, kernel=f"6.{luck.randrange(20)}.{luck.randrange(99)}", os=luck.choice(SYSTEMS)),
        cpu=replace(here.cpu, logical=cores, usable=float(cores), model=luck.choice(MODELS)),
        memory=replace(here.memory, total_bytes=room, limit_bytes=room - luck.randrange(1 << 29)),
        disks=tuple(
            replace(disk, total_bytes=room * 8, free_bytes=luck.randrange(room * 8)) for disk in here.disks
        ),
    ).to_json(FACTS_BYTES_MAX)  # fmt: skip


async def _alone() -> None:
    async for row in thousands(FULL):
        print(show(row), flush=True)


if __name__ == "__main__":
    asyncio.run(_alone())
