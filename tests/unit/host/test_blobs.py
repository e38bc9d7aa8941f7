"""Blobs are whole, or they are not there, or they are named as corrupt."""

import hashlib
from pathlib import Path

import pytest

from meshnode.host.blobs import BlobCorrupt, BlobMissing, BlobStore


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_blob_comes_back_by_the_hash_of_its_content(store: BlobStore) -> None:
    digest = store.put(b"weights")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert store.get(digest) == b"weights"
    assert store.has(digest)
    assert list(store.digests()) == [digest]


def test_storing_twice_writes_once(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put(b"weights")
    path = tmp_path / "blobs" / digest[:2] / digest[2:]
    before = path.stat().st_ino
    store.put(b"weights")
    assert path.stat().st_ino == before


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    digest = "0" * 64
    with pytest.raises(BlobMissing, match=digest):
        store.get(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(store: BlobStore, digest: str) -> None:
    with pytest.raises(BlobMissing, match="no digest"):
        store.get(digest)


def test_a_corrupt_blob_is_never_handed_out_and_can_be_stored_again(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put(b"weights")
    path = tmp_path / "blobs" / digest[:2] / digest[2:]
    path.write_bytes(b"weighty")
    with pytest.raises(BlobCorrupt, match="not what was stored"):
        store.get(digest)
    with pytest.raises(BlobMissing):
        store.get(digest)
    assert list(store.digests()) == []
    store.put(b"weights")
    assert store.get(digest) == b"weights"


def test_storing_over_a_corrupt_blob_mends_it(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put(b"weights")
    (tmp_path / "blobs" / digest[:2] / digest[2:]).write_bytes(b"weighty")
    store.put(b"weights")
    assert store.get(digest) == b"weights"


def test_removing_twice_is_harmless(store: BlobStore) -> None:
    digest = store.put(b"x")
    store.remove(digest)
    store.remove(digest)
    assert not store.has(digest)
