"""Blobs are kept and read off the loop, and every question gets its answer, in order."""

import asyncio
import threading
from pathlib import Path

import pytest

from meshnode.host import blobhand
from meshnode.host.blobhand import BlobHand
from meshnode.host.blobs import BlobStore
from meshnode.kernel.blobs import BlobRead, BlobsKept, DropBlobs, KeepBlobs, ReadBlob, digest_of

ONE, TWO = digest_of(b"one"), digest_of(b"two")


async def answers(store: BlobStore, count: int, *effects: KeepBlobs | ReadBlob | DropBlobs) -> list[object]:
    told: list[object] = []
    enough = asyncio.Event()

    def tell(answer: BlobsKept | BlobRead) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(answer)
        if len(told) == count:
            enough.set()

    hand = BlobHand(store, tell)
    try:
        for effect in effects:
            hand.perform(effect)
        async with asyncio.timeout(30):
            await enough.wait()
    finally:
        hand.close()
    return told


def test_what_is_kept_is_read_and_what_is_dropped_is_missing(tmp_path: Path):
    told = asyncio.run(
        answers(
            BlobStore(tmp_path), 4,
            KeepBlobs(1, (b"one", b"two"), "state"), ReadBlob(2, ONE, "state"), DropBlobs((ONE, "no digest")),
            ReadBlob(3, ONE), ReadBlob(4, TWO),
        )
    )  # fmt: skip
    assert told == [
        BlobsKept(1, "", "state"), BlobRead(2, ONE, b"one", "", "state"), BlobRead(3, ONE, b"", "missing"),
        BlobRead(4, TWO, b"two"),
    ]  # fmt: skip


def test_a_flipped_bit_is_told_as_corrupt_and_never_handed_out(tmp_path: Path):
    store = BlobStore(tmp_path)
    store.put(b"one")
    (tmp_path / ONE[:2] / ONE[2:]).write_bytes(b"onf")
    assert asyncio.run(answers(store, 1, ReadBlob(1, ONE))) == [BlobRead(1, ONE, b"", "corrupt")]


def test_a_disk_that_refuses_is_told_in_its_own_words(tmp_path: Path):
    (tmp_path / "blobs").write_text("a file where the folder should be")
    store = BlobStore(tmp_path / "blobs")
    kept, read = asyncio.run(answers(store, 2, KeepBlobs(1, (b"one",)), ReadBlob(2, ONE)))
    assert isinstance(kept, BlobsKept) and isinstance(read, BlobRead)
    assert kept.error and read.error == "Not a directory"


def test_more_than_the_disk_can_take_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blobhand, "JOBS_MAX", 2)
    told = asyncio.run(answers(BlobStore(tmp_path), 3, *(KeepBlobs(number, (b"one",)) for number in range(3))))
    assert sorted((kept.batch_no, bool(kept.error)) for kept in told) == [(0, False), (1, False), (2, True)]
