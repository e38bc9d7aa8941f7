"""An agent is run from its own file while that is what was given, else from the bundle, else not at all."""

import os
from pathlib import Path

import pytest

from meshnode.host.blobs import BlobStore
from meshnode.host.bundles import Bundles, NoFile
from meshnode.kernel.blobs import digest_of
from meshnode.model.recipe import Recipe


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def bundles(tmp_path: Path, store: BlobStore) -> Bundles:
    return Bundles(tmp_path / "bundles", store)


def test_the_same_file_at_its_own_path_is_run_there(tmp_path: Path, bundles: Bundles):
    path = tmp_path / "words.py"
    path.write_bytes(b"one")
    assert bundles.file_of(Recipe(file=str(path), bundle=digest_of(b"one"))) == path
    assert bundles.file_of(Recipe(file=str(path))) == path


def test_a_bundle_that_has_not_arrived_is_named_and_found_when_it_has(bundles: Bundles, store: BlobStore):
    recipe = Recipe(file="/no/such/words.py", bundle=digest_of(b"one"))
    with pytest.raises(NoFile, match="its bundle has not arrived"):
        bundles.file_of(recipe)
    store.put(b"one")
    path = bundles.file_of(recipe)
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o777) == ("words.py", b"one", 0o400)


def test_a_copy_somebody_changed_is_laid_down_anew(bundles: Bundles, store: BlobStore):
    recipe = Recipe(file="/no/such/words.py", bundle=store.put(b"one"))
    path = bundles.file_of(recipe)
    path.chmod(0o600)
    path.write_bytes(b"another")
    os.utime(path, ns=(1, 1))
    assert bundles.file_of(recipe).read_bytes() == b"one"


def test_a_damaged_bundle_is_never_run(tmp_path: Path, bundles: Bundles, store: BlobStore):
    digest = store.put(b"one")
    (tmp_path / "blobs" / digest[:2] / digest[2:]).write_bytes(b"onf")
    with pytest.raises(NoFile, match="damaged"):
        bundles.file_of(Recipe(file="/no/such/words.py", bundle=digest))


def test_a_bundle_that_is_no_digest_never_becomes_a_path(bundles: Bundles):
    with pytest.raises(NoFile):
        bundles.file_of(Recipe(file="/no/such/words.py", bundle="../../etc"))


def test_without_a_bundle_the_missing_file_is_named(bundles: Bundles):
    with pytest.raises(NoFile, match=r"words\.py is not on this machine"):
        bundles.file_of(Recipe(file="/no/such/words.py"))


def test_many_files_are_remembered_within_bounds(tmp_path: Path, bundles: Bundles):
    for number in range(300):
        path = tmp_path / f"{number}.py"
        path.write_bytes(b"%d" % number)
        assert bundles.file_of(Recipe(file=str(path), bundle=digest_of(b"%d" % number))) == path
    assert len(bundles._known) == 256
