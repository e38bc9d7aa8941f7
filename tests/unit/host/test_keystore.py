"""The identity directory: whole or absent, private, and honest about what is wrong with it."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.host import keystore
from meshnode.host.atomic import replace_file
from meshnode.host.keystore import AlreadyAMember, CannotStore, IdentityBroken
from meshnode.model.errors import Invalid, NotFound
from meshnode.security.authority import issue_leaf, make_csr, new_tls_key, open_root
from meshnode.security.bundle import root_fingerprint
from meshnode.security.clock import RELEASED_MS

WALL_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "node"
    keystore.create_mesh(directory, name="alder", region="eu-1", wall_ms=WALL_MS)
    return directory


@pytest.fixture
def node(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path / "node")
    return tmp_path / "node"


def test_a_founder_is_what_it_was_made_as_after_reading_it_back(tmp_path: Path) -> None:
    identity, words = keystore.create_mesh(tmp_path / "n", name="alder", region="eu-1", wall_ms=WALL_MS)
    again = keystore.load(tmp_path / "n")
    assert (again.mesh, again.name, again.region, again.roles) == (identity.mesh, "alder", "eu-1", ("admin", "member"))
    assert again.node == identity.node
    assert again.admin is not None
    assert again.admin.public_key in again.bundle.admins
    assert again.enroller is not None
    assert again.not_before_ms <= WALL_MS < again.expires_ms
    sealed = (again.directory / "root.sealed.pem").read_bytes()
    assert b"PRIVATE KEY" in open_root(sealed, words)
    with pytest.raises(Invalid):
        open_root(sealed, "wrong-words")


def test_nobody_but_the_owner_can_read_any_of_it(made: Path) -> None:
    at = keystore.identity_directory(made)
    assert at.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in at.iterdir()} == {0o600}


def test_no_secret_shows_in_a_log_of_the_identity(made: Path) -> None:
    identity = keystore.load(made)
    assert identity.enroller is not None
    assert "PRIVATE KEY" not in repr(identity)
    assert identity.enroller.key_pem.reveal().decode() not in repr(identity)


def test_two_meshes_have_different_names_and_roots(made: Path, tmp_path: Path) -> None:
    other, _ = keystore.create_mesh(tmp_path / "o", name="alder", wall_ms=WALL_MS)
    mine = keystore.load(made)
    assert other.mesh != mine.mesh
    assert other.bundle.root_sha256 != mine.bundle.root_sha256


def test_a_mesh_founded_in_1970_does_not_end_in_1990(tmp_path: Path) -> None:
    identity, _ = keystore.create_mesh(tmp_path / "n", name="alder", wall_ms=0)
    assert identity.expires_ms > RELEASED_MS


def test_a_bad_name_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot name a node"):
        keystore.create_mesh(tmp_path / "n", name="Not A Name", wall_ms=WALL_MS)
    assert not (tmp_path / "n").exists()


def test_an_identity_is_never_overwritten(node: Path) -> None:
    before = keystore.load(node).node
    with pytest.raises(AlreadyAMember):
        keystore.create_mesh(node, name="birch", wall_ms=WALL_MS)
    assert keystore.load(node).node == before


def test_an_empty_directory_says_how_to_begin(tmp_path: Path) -> None:
    assert not keystore.exists(tmp_path)
    with pytest.raises(NotFound) as caught:
        keystore.load(tmp_path)
    assert "meshnode up" in caught.value.next_step
    assert "meshnode join" in caught.value.next_step


@pytest.mark.parametrize("name", ["root.sha256", "bundle", "member", "record.key", "tls.key", "leaf.pem"])
@pytest.mark.parametrize("harm", ["missing", "empty", "junk", "endless"])
def test_a_damaged_file_is_named(node: Path, name: str, harm: str) -> None:
    path = keystore.identity_directory(node) / name
    match harm:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "junk":
            path.write_bytes(b"\xffjunk")
        case _:
            path.write_bytes(bytes(1 << 20))
    with pytest.raises(IdentityBroken) as caught:
        keystore.load(node)
    assert name in caught.value.message


@pytest.mark.parametrize("name", ["bundle", "member", "record.key", "tls.key", "leaf.pem", "admin.key", "root.sha256"])
def test_a_file_of_another_node_is_noticed(node: Path, tmp_path: Path, name: str) -> None:
    keystore.create_mesh(tmp_path / "other", name="alder", wall_ms=WALL_MS)
    foreign = keystore.identity_directory(tmp_path / "other") / name
    replace_file(keystore.identity_directory(node) / name, foreign.read_bytes())
    with pytest.raises(IdentityBroken):
        keystore.load(node)


def test_a_key_that_others_can_read_is_not_used(node: Path) -> None:
    path = keystore.identity_directory(node) / "tls.key"
    path.chmod(0o640)
    with pytest.raises(IdentityBroken, match=r"tls\.key can be read by others \(mode 0640\)") as caught:
        keystore.load(node)
    assert "chmod" in caught.value.next_step


def _failing(real: Callable[..., object], at_call: int) -> Callable[..., object]:
    calls = iter(range(1, 10_000))

    def called(*arguments: object, **named: object) -> object:
        if next(calls) == at_call:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    return called


@pytest.mark.parametrize("at_call", range(1, 16))
def test_a_disk_that_fills_up_at_any_moment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_call: int
) -> None:
    """10 files and the directory are synced, then the names on the way to it: fifteen moments."""
    deep = tmp_path / "not" / "there" / "yet"
    with monkeypatch.context() as planted:
        planted.setattr(os, "fsync", _failing(os.fsync, at_call))
        with pytest.raises(CannotStore, match="No space left on device; nothing was left there"):
            keystore.create_mesh(deep, name="alder", wall_ms=WALL_MS)
    assert not (tmp_path / "not").exists()
    keystore.create_mesh(deep, name="alder", wall_ms=WALL_MS)
    assert keystore.load(deep).name == "alder"


def test_a_temporary_directory_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(tempfile, "mkdtemp", _failing(tempfile.mkdtemp, 1))
        with pytest.raises(CannotStore):
            keystore.create_mesh(tmp_path / "deep" / "er", name="alder", wall_ms=WALL_MS)
    assert list(tmp_path.iterdir()) == []


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(Path, "rename", _failing(Path.rename, 1))
        with pytest.raises(CannotStore):
            keystore.create_mesh(tmp_path, name="alder", wall_ms=WALL_MS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_power_cut_left_is_swept_away_by_the_next_attempt(tmp_path: Path) -> None:
    (tmp_path / ".new-identity-abc").mkdir()
    (tmp_path / ".new-identity-abc" / "record.key").write_bytes(bytes(32))
    keystore.create_mesh(tmp_path, name="alder", wall_ms=WALL_MS)
    assert [path.name for path in tmp_path.iterdir()] == ["identity"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotStore, match="file"):
        keystore.create_mesh(tmp_path / "file" / "node", name="alder", wall_ms=WALL_MS)


def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leaf.pem"
    replace_file(path, b"old")
    with monkeypatch.context() as planted:
        planted.setattr(os, "fsync", _failing(os.fsync, 1))
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["leaf.pem"]
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_pinned_root_is_the_one_in_the_bundle(made: Path) -> None:
    identity = keystore.load(made)
    pinned = (identity.directory / "root.sha256").read_text()
    assert bytes.fromhex(pinned) == identity.bundle.root_sha256 == root_fingerprint(identity.bundle.root_pem)


def renewed_key(node: Path) -> tuple[bytes, bytes]:
    """A chain and its key, as an enroller would give them."""
    identity = keystore.load(node)
    assert identity.enroller is not None
    key = new_tls_key()
    chain = issue_leaf(
        make_csr(key, identity.signer.public_key), mesh=identity.mesh, name=identity.name,
        record_key=identity.signer.public_key, enroller_key_pem=identity.enroller.key_pem.reveal(),
        enroller_cert_pem=identity.enroller.certificate_pem, wall_ms=WALL_MS + 1_000_000,
    )  # fmt: skip
    return chain, key


def test_a_renewed_certificate_takes_the_place_of_the_old_one_with_its_key(node: Path) -> None:
    before = keystore.load(node)
    chain, key = renewed_key(node)
    after = keystore.renew(node, chain_pem=chain, tls_key=key)
    assert (after.leaf_sha256, after.key_path.read_bytes()) == (keystore.load(node).leaf_sha256, key)
    assert after.leaf_sha256 != before.leaf_sha256 and after.node == before.node
    assert not (after.directory / keystore.NEXT_KEY_FILE).exists()
    assert {path.stat().st_mode & 0o777 for path in after.directory.iterdir()} == {0o600}


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_crash_while_renewing_leaves_the_old_pair_or_the_new_one(
    node: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, (chain, key), done = keystore.load(node), renewed_key(node), list[str]()

    def crashing(target: Path, content: bytes) -> None:
        if len(done) == writes:
            raise OSError("the power went")
        replace_file(target, content)
        done.append(target.name)

    monkeypatch.setattr(keystore, "replace_file", crashing)
    if writes < 2:
        with pytest.raises(CannotStore):
            keystore.renew(node, chain_pem=chain, tls_key=key)
    else:
        keystore.renew(node, chain_pem=chain, tls_key=key)
    monkeypatch.undo()
    after = keystore.load(node)
    assert (after.leaf_sha256 == before.leaf_sha256) is (writes < 2)
    assert keystore.renew(node, chain_pem=chain, tls_key=key).key_path.read_bytes() == key


def test_a_key_that_never_got_its_certificate_hurts_nobody(node: Path) -> None:
    before = keystore.load(node)
    replace_file(before.directory / keystore.NEXT_KEY_FILE, renewed_key(node)[1])
    assert keystore.load(node).leaf_sha256 == before.leaf_sha256
    replace_file(before.chain_path, renewed_key(node)[0])  # for neither of the two keys
    with pytest.raises(IdentityBroken):
        keystore.load(node)
