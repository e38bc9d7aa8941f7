"""Journals with thousands of documents: written by a node's own key before it starts, as if people had stored them."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from bench.nodes import Nodes
from bench.state.rooms import KIND, NAMESPACE
from meshnode.crdt.replica import Documents, DocumentsConfig
from meshnode.host import keystore
from meshnode.host.journal import JournalWriter
from meshnode.kernel import rng
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.records import Record
from meshnode.security.identity import Ed25519Verifier
from meshnode.security.members import Members
from meshnode.security.roles import Roles

BATCH = 500
BOOT = 1  # of the run in which the mesh was made: it wrote no documents
JOURNAL = "journal"


def fields_of(number: int) -> dict[str, object]:
    """As ``writers.manifest`` is stored."""
    return {
        "apiVersion": "v1", "spec": {"replicas": number % 1000, "generation": number},
        "labels": {"line": f"l{number % 7}"},
    }  # fmt: skip


def documents(author: Path, count: int) -> list[Record]:
    """So many documents of the node whose directory this is."""
    identity = keystore.load(author)
    trust = Members(identity.bundle, Ed25519Verifier())
    assert not isinstance(trust.admit(identity.member_record), str)
    room = Documents(
        DocumentsConfig(), signer=identity.signer, verifier=Ed25519Verifier(), authority=Roles(trust), trust=trust,
        boot=BOOT, restored=(), rng=rng.fork(b"bench", "documents"),
    )  # fmt: skip
    wall_ms = time.time_ns() // 1_000_000
    records: list[Record] = []
    for number in range(count):
        now = Instant(number, wall_ms + number // 1000, ClockTrust.SYNCED)
        change = room.put(KIND, NAMESPACE, f"doc-{number}", fields_of(number), now)  # pyright: ignore[reportArgumentType]
        records += change.records
    return records


def fill(mesh: Nodes, count: int) -> None:
    """All nodes of a mesh that does not run hold the same documents, written by the first."""
    records = documents(mesh.all[0].directory, count)
    for node in mesh.all:
        identity = keystore.load(node.directory)
        asyncio.run(_written(node.directory, identity, records))


async def _written(directory: Path, identity: keystore.Identity, records: Sequence[Record]) -> None:
    opened = JournalWriter.open(directory / JOURNAL, node=identity.node)
    try:
        for first in range(0, len(records), BATCH):
            stored: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            opened.writer.append(records[first : first + BATCH], stored.set_result)
            error = await stored
            if error is not None:
                raise error
    finally:
        opened.writer.close()
