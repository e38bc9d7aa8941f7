"""The trust bundle: what a joiner believes, and nothing before its root has the right hash."""

import hashlib

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.errors import RemoteError
from meshnode.security import authority
from meshnode.security.bundle import BUNDLE_BYTES_MAX, make_bundle, read_bundle, root_fingerprint
from tests.unit.security import world


def reason(data: bytes, root_sha256: bytes = world.ROOT_SHA256) -> str:
    with pytest.raises(RemoteError) as refused:
        read_bundle(data, root_sha256)
    return refused.value.reason


def signed_by_root(body: object) -> bytes:
    """A bundle whose signature is right, whatever it says."""
    key = serialization.load_pem_private_key(world.ROOT_KEY, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    packed = msgspec.msgpack.encode(body)
    signature = key.sign(b"meshnode/bundle/v1\0" + packed, ec.ECDSA(hashes.SHA256()))
    root = world.der(world.ROOT)
    return b"mb1" + len(root).to_bytes(2) + root + len(signature).to_bytes(2) + signature + packed


def test_a_bundle_comes_back_as_it_was_signed() -> None:
    bundle = read_bundle(world.BUNDLE, world.ROOT_SHA256)
    assert (bundle.mesh, bundle.version, bundle.admins) == (world.MESH, 1, (world.ADMIN.public_key,))
    assert bundle.root_pem == world.ROOT
    assert bundle.root_sha256 == world.ROOT_SHA256 == hashlib.sha256(world.der(world.ROOT)).digest()
    assert bundle.data == world.BUNDLE


def test_a_bundle_may_carry_the_next_root() -> None:
    _, successor = authority.make_root(world.MESH, world.NOW_MS)
    data = make_bundle(
        world.ROOT_KEY,
        world.ROOT,
        mesh=world.MESH,
        version=2,
        admins=(world.ADMIN.public_key,),
        more_roots_pem=(successor,),
    )
    assert read_bundle(data, world.ROOT_SHA256).root_pem == world.ROOT + successor


def test_the_hash_of_the_root_is_judged_before_anything_behind_it() -> None:
    assert (
        reason(b"mb1" + (4).to_bytes(2) + b"junk" + b"\xff\xff and what follows is never looked at") == "root-mismatch"
    )


def test_an_impostor_with_its_own_root_is_refused() -> None:
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    data = make_bundle(key, root, mesh=world.MESH, version=1, admins=(world.ADMIN.public_key,))
    assert reason(data) == "root-mismatch"
    assert read_bundle(data, root_fingerprint(root)).mesh == world.MESH


def test_our_root_in_front_of_another_signature_is_refused() -> None:
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    theirs = make_bundle(key, root, mesh=world.MESH, version=1, admins=(bytes(32),))
    ours = world.der(world.ROOT)
    tail = theirs[3 + 2 + len(world.der(root)) :]
    assert reason(b"mb1" + len(ours).to_bytes(2) + ours + tail) == "bundle-signature"


def test_a_root_that_is_no_certificate_is_refused_even_when_its_hash_fits() -> None:
    junk = b"not a certificate"
    data = b"mb1" + len(junk).to_bytes(2) + junk + (2).to_bytes(2) + b"xx" + b"body"
    assert reason(data, hashlib.sha256(junk).digest()) == "bundle-malformed"


@pytest.mark.parametrize(
    "body",
    [
        ["bundle", world.MESH, 1, [], [bytes(32)]],
        ["bundle", world.MESH, 1, [world.der(world.ENROLLER)], [bytes(32)]],
        ["bundle", world.MESH, 1, [world.der(world.ROOT), b"junk"], [bytes(32)]],
        ["bundle", world.MESH, 1, [world.der(world.ROOT)] * 5, [bytes(32)]],
        ["bundle", world.MESH, 1, [world.der(world.ROOT)], []],
        ["bundle", world.MESH, 1, [world.der(world.ROOT)], [bytes(31)]],
        ["bundle", world.MESH, 1, [world.der(world.ROOT)], [bytes(32)] * 17],
        ["bundle", world.MESH, -1, [world.der(world.ROOT)], [bytes(32)]],
        ["bundle", "../mesh", 1, [world.der(world.ROOT)], [bytes(32)]],
        ["member", world.MESH, 1, [world.der(world.ROOT)], [bytes(32)]],
        {"a": 1},
    ],
)
def test_even_the_root_may_not_sign_nonsense(body: object) -> None:
    assert reason(signed_by_root(body)) == "bundle-malformed"


def test_a_bundle_has_a_size_limit() -> None:
    assert reason(world.BUNDLE + bytes(BUNDLE_BYTES_MAX)) == "bundle-too-long"


def test_a_bundle_cut_anywhere_is_refused() -> None:
    for end in range(len(world.BUNDLE)):
        assert reason(world.BUNDLE[:end]) in {"bundle-malformed", "root-mismatch", "bundle-signature"}


@given(at=st.integers(0, len(world.BUNDLE) - 1), bit=st.integers(0, 7))
def test_a_bundle_with_any_bit_turned_is_refused(at: int, bit: int) -> None:
    data = bytearray(world.BUNDLE)
    data[at] ^= 1 << bit
    assert reason(bytes(data)) in {"bundle-malformed", "root-mismatch", "bundle-signature"}


def test_the_certificate_of_the_root_is_what_the_fingerprint_is_of() -> None:
    assert root_fingerprint(world.ROOT) == x509.load_pem_x509_certificate(world.ROOT).fingerprint(hashes.SHA256())
