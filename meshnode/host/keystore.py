"""The identity directory of a node: made whole or not at all, private, and checked when it is read.

``DIR/identity/``: ``root.sha256``, ``bundle``, ``member``, ``record.key``, ``tls.key``, ``leaf.pem``; on the node that
made the mesh also ``admin.key``, ``enroller.key``, ``enroller.pem`` and ``root.sealed.pem`` (for the recovery words);
on the others ``seeds``, the addresses to dial first. ``tls.next.key`` is there only while a certificate is renewed.
"""

import contextlib
import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshnode.host.atomic import create_directory, replace_file
from meshnode.host.identity import CHAIN_FILE, TLS_KEY_FILE, Enroller, Identity
from meshnode.kernel.ports import Member
from meshnode.model.addresses import parted
from meshnode.model.errors import LocalError, NotFound, RemoteError
from meshnode.security import authority
from meshnode.security.bundle import Bundle, make_bundle, read_bundle, root_fingerprint
from meshnode.security.clock import RELEASED_MS
from meshnode.security.identity import KEY_BYTES, Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.members import Members, make_member
from meshnode.security.roles import ADMIN, MEMBER
from meshnode.security.secret import Secret

ROOT_FILE = "root.sha256"
BUNDLE_FILE = "bundle"
MEMBER_FILE = "member"
RECORD_KEY_FILE = "record.key"
ADMIN_KEY_FILE = "admin.key"
ENROLLER_KEY_FILE = "enroller.key"
ENROLLER_FILE = "enroller.pem"
SEALED_ROOT_FILE = "root.sealed.pem"
SEEDS_FILE = "seeds"
NEXT_KEY_FILE = "tls.next.key"
FILE_BYTES_MAX = 64 * 1024


class AlreadyAMember(LocalError):
    """This directory has an identity. Nothing changed."""

    code = "already-a-member"


class IdentityBroken(LocalError):
    """The identity directory cannot be used as it is. Nothing changed."""

    code = "identity-broken"


class CannotStore(LocalError):
    """The identity could not be written. Nothing is left of the attempt."""

    code = "cannot-store"


def exists(directory: Path) -> bool:
    return identity_directory(directory).is_dir()


def identity_directory(directory: Path) -> Path:
    return directory / "identity"


def create_mesh(directory: Path, *, name: str, region: str = "", wall_ms: int, mesh: str = "") -> tuple[Identity, str]:
    """Make a mesh of one: its root, this node as its first admin and enroller. Returns the recovery words with it.

    The words are kept nowhere: whoever loses them can never make another enroller for this mesh.
    """
    refuse_second(directory)
    mesh = mesh or f"m{secrets.token_hex(4)}.mesh"
    at_ms = max(wall_ms, RELEASED_MS)  # a machine in 1970 must not found a mesh that ends in 1990
    root_key, root = authority.make_root(mesh, at_ms)
    enroller_key, enroller = authority.make_enroller(mesh, name, root_key, root, at_ms)
    admin_key, record_key, tls_key = new_record_key(), new_record_key(), authority.new_tls_key()
    admin, record = RecordSigner(admin_key), RecordSigner(record_key)
    leaf = authority.issue_leaf(
        authority.make_csr(tls_key, record.public_key),
        mesh=mesh,
        name=name,
        record_key=record.public_key,
        enroller_key_pem=enroller_key,
        enroller_cert_pem=enroller,
        wall_ms=at_ms,
    )
    member = make_member(
        admin,
        mesh=mesh,
        name=name,
        record_key=record.public_key,
        roles=(ADMIN, MEMBER),
        region=region,
        labels={},
        issued_ms=at_ms,
    )
    words = authority.recovery_words(secrets.token_bytes(16))
    files = {
        ROOT_FILE: root_fingerprint(root).hex().encode(),
        BUNDLE_FILE: make_bundle(root_key, root, mesh=mesh, version=1, admins=(admin.public_key,)),
        MEMBER_FILE: member,
        RECORD_KEY_FILE: record_key,
        TLS_KEY_FILE: tls_key,
        CHAIN_FILE: leaf,
        ADMIN_KEY_FILE: admin_key,
        ENROLLER_KEY_FILE: enroller_key,
        ENROLLER_FILE: enroller,
        SEALED_ROOT_FILE: authority.seal_root(root_key, words),
    }
    _create(directory, files)
    return load(directory), words


def store_admission(
    directory: Path,
    *,
    root_sha256: bytes,
    bundle: bytes,
    member: bytes,
    chain_pem: bytes,
    tls_key: bytes,
    record_key: bytes,
    seeds: tuple[str, ...],
) -> Identity:
    """Keep what an enroller granted, as one whole. ``seeds``: "HOST:PORT" of nodes to dial first."""
    refuse_second(directory)
    files = {
        ROOT_FILE: root_sha256.hex().encode(),
        BUNDLE_FILE: bundle,
        MEMBER_FILE: member,
        RECORD_KEY_FILE: record_key,
        TLS_KEY_FILE: tls_key,
        CHAIN_FILE: chain_pem,
    }
    if seeds:
        files[SEEDS_FILE] = "\n".join(seeds).encode()
    _create(directory, files)
    return load(directory)


def load(directory: Path) -> Identity:
    """Read and check the identity. Raises ``NotFound`` if there is none, ``IdentityBroken`` if it cannot be trusted."""
    at = identity_directory(directory)
    if not at.is_dir():
        raise NotFound(
            f"{directory} holds no node identity",
            next_step="`meshnode up` makes a new mesh there, `meshnode join TOKEN` enters an existing one",
        )
    _check_private(at)
    signer = RecordSigner(_read_key(at / RECORD_KEY_FILE))
    bundle = _read_bundle(at)
    member = _read_member(at, bundle, signer)
    _finish_renewal(at)
    leaf = _read_leaf(at)
    return Identity(
        directory=at,
        mesh=bundle.mesh,
        name=member.name,
        region=member.region,
        roles=member.roles,
        signer=signer,
        member_record=member.record,
        bundle=bundle,
        leaf=leaf,
        admin=_read_admin(at, bundle),
        enroller=_read_enroller(at),
        seeds=_read_seeds(at),
    )


def renew(directory: Path, *, chain_pem: bytes, tls_key: bytes) -> Identity:
    """Put another leaf and its key in the place of those in use; a crash leaves both of the old or both of the new.

    Raises ``CannotStore``; then the old ones are in use still.
    """
    at = identity_directory(directory)
    try:
        replace_file(at / NEXT_KEY_FILE, tls_key)
        replace_file(at / CHAIN_FILE, chain_pem)
    except OSError as error:
        raise CannotStore(
            f"the new certificate cannot be written to {at}: {error.strerror or error}",
            next_step="check free space and permissions of that directory; it is tried again",
        ) from error
    return load(directory)


def refuse_second(directory: Path) -> None:
    """Raises ``AlreadyAMember``: an identity is never overwritten."""
    if exists(directory):
        raise AlreadyAMember(
            f"{directory} already holds the identity of a node; nothing was changed",
            next_step="choose another directory with -C DIR; `meshnode id` shows who this one is",
        )


def _create(directory: Path, files: dict[str, bytes]) -> None:
    try:
        create_directory(identity_directory(directory), files)
    except FileExistsError as error:
        raise AlreadyAMember(f"{directory} got an identity meanwhile; nothing was changed") from error
    except OSError as error:
        raise CannotStore(
            f"the identity cannot be written to {directory}: {error.strerror or error}; nothing was left there",
            next_step="check free space and permissions of that directory, then try again",
        ) from error


def _check_private(at: Path) -> None:
    for path in (at, *sorted(at.iterdir())):
        try:
            status = path.lstat()
        except FileNotFoundError:  # the daemon renews its certificate at this moment
            continue
        if status.st_mode & 0o077:
            raise IdentityBroken(
                f"{path} can be read by others (mode {status.st_mode & 0o777:04o}): its keys may be known",
                next_step=f"if nobody else uses this machine: `chmod -R go= {at}`; else make a new identity",
            )
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise IdentityBroken(
                f"{path} belongs to user {status.st_uid}, and this is user {os.geteuid()}",
                next_step="run as the user who made this node",
            )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise _broken(path, "it is missing") from error
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from error
    if not 0 < len(content) <= FILE_BYTES_MAX:
        raise _broken(path, "it is empty" if not content else "it is too long")
    return content


def _read_key(path: Path) -> bytes:
    key = _read(path)
    if len(key) != KEY_BYTES:
        raise _broken(path, f"it has {len(key)} bytes instead of {KEY_BYTES}")
    return key


def _read_bundle(at: Path) -> Bundle:
    try:
        root_sha256 = bytes.fromhex(_read(at / ROOT_FILE).decode("ascii"))
    except ValueError as error:
        raise _broken(at / ROOT_FILE, "it is not a fingerprint in hex") from error
    try:
        return read_bundle(_read(at / BUNDLE_FILE), root_sha256)
    except RemoteError as error:
        raise _broken(at / BUNDLE_FILE, str(error)) from error


def _read_member(at: Path, bundle: Bundle, signer: RecordSigner) -> Member:
    verdict = Members(bundle, Ed25519Verifier()).admit(_read(at / MEMBER_FILE))
    if isinstance(verdict, str):
        raise _broken(at / MEMBER_FILE, verdict)
    if verdict.node != signer.node:
        raise _broken(at / MEMBER_FILE, f"it is about another record key than {RECORD_KEY_FILE}")
    return verdict


def _finish_renewal(at: Path) -> None:
    """A key that waits takes its place when the certificate for it is there. One whose certificate never came stays
    until the next renewal: the daemon may be writing that certificate now, and this be another process."""
    waiting = at / NEXT_KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        if _fits(at / CHAIN_FILE, waiting):
            waiting.replace(at / TLS_KEY_FILE)


def _fits(chain: Path, key: Path) -> bool:
    try:
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        return serialization.load_pem_private_key(key.read_bytes(), None).public_key() == leaf.public_key()
    except (ValueError, TypeError):
        return False


def _read_leaf(at: Path) -> x509.Certificate:
    path = at / CHAIN_FILE
    try:
        leaf = x509.load_pem_x509_certificates(_read(path))[0]
        key = serialization.load_pem_private_key(_read(at / TLS_KEY_FILE), None)
    except (ValueError, TypeError) as error:
        raise _broken(path, f"it or {TLS_KEY_FILE} cannot be parsed") from error
    if key.public_key() != leaf.public_key():
        raise _broken(path, f"it is not for the key in {TLS_KEY_FILE}")
    return leaf


def _read_admin(at: Path, bundle: Bundle) -> RecordSigner | None:
    path = at / ADMIN_KEY_FILE
    if not path.exists():
        return None
    admin = RecordSigner(_read_key(path))
    if admin.public_key not in bundle.admins:
        raise _broken(path, "the mesh knows no such admin")
    return admin


def _read_enroller(at: Path) -> Enroller | None:
    if not (at / ENROLLER_KEY_FILE).exists():
        return None
    return Enroller(certificate_pem=_read(at / ENROLLER_FILE), key_pem=Secret(_read(at / ENROLLER_KEY_FILE)))


def _read_seeds(at: Path) -> tuple[tuple[str, int], ...]:
    path = at / SEEDS_FILE
    if not path.exists():
        return ()
    seeds: list[tuple[str, int]] = []
    for line in _read(path).decode(errors="replace").split():
        seed = parted(line)
        if seed is None:
            raise _broken(path, f"{line!r} is not HOST:PORT")
        seeds.append(seed)
    return tuple(seeds)


def _broken(path: Path, what: str) -> IdentityBroken:
    return IdentityBroken(
        f"{path} cannot be used: {what}",
        next_step="restore the directory from a backup, or remove it and join again with a new invite",
    )
