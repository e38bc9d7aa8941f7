"""The record key: who somebody is, what a signature covers, and what a verifier remembers."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key, node_id

SIGNER = RecordSigner(bytes(range(32)))
# Order of the base point of Ed25519 (RFC 8032 section 5.1).
L = 2**252 + 27742317777372353535851937790883648493


def test_a_node_is_the_hash_of_its_record_key() -> None:
    assert SIGNER.node == node_id(SIGNER.public_key) == hashlib.sha256(SIGNER.public_key).digest()


def test_signatures_are_the_same_each_time() -> None:
    again = RecordSigner(bytes(range(32)))
    assert SIGNER.sign("member", b"body") == again.sign("member", b"body")


def test_new_keys_differ() -> None:
    assert new_record_key() != new_record_key()


def test_a_signature_holds_for_its_key_context_and_body_only() -> None:
    verifier, signature = Ed25519Verifier(), SIGNER.sign("member", b"body")
    stranger = RecordSigner(bytes(32))
    assert verifier.verify(SIGNER.public_key, "member", b"body", signature)
    assert not verifier.verify(SIGNER.public_key, "invite", b"body", signature)
    assert not verifier.verify(SIGNER.public_key, "member", b"bodY", signature)
    assert not verifier.verify(stranger.public_key, "member", b"body", signature)


def test_context_and_body_cannot_flow_into_each_other() -> None:
    signature = SIGNER.sign("ab", b"c")
    assert not Ed25519Verifier().verify(SIGNER.public_key, "a", b"bc", signature)


def test_a_malleated_signature_is_refused() -> None:
    signature = SIGNER.sign("member", b"body")
    twin = signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")
    assert not Ed25519Verifier().verify(SIGNER.public_key, "member", b"body", twin)


@pytest.mark.parametrize(
    ("key", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), b""), (b"\xff" * 32, bytes(64))]
)
def test_keys_and_signatures_of_no_shape_are_refused(key: bytes, signature: bytes) -> None:
    assert not Ed25519Verifier().verify(key, "member", b"body", signature)


@given(junk=st.binary(max_size=80), at=st.integers(0, 63), bit=st.integers(0, 7))
def test_no_junk_verifies(junk: bytes, at: int, bit: int) -> None:
    verifier = Ed25519Verifier()
    flipped = bytearray(SIGNER.sign("member", junk))
    flipped[at] ^= 1 << bit
    assert not verifier.verify(SIGNER.public_key, "member", junk, bytes(flipped))
    assert not verifier.verify(junk, "member", junk, bytes(flipped))


def test_the_memory_of_verdicts_is_bounded_and_changes_none() -> None:
    verifier = Ed25519Verifier(cache_max=4)
    for number in range(20):
        body = bytes((number,))
        signature = SIGNER.sign("member", body)
        assert verifier.verify(SIGNER.public_key, "member", body, signature)
        assert verifier.verify(SIGNER.public_key, "member", body, signature)
        assert not verifier.verify(SIGNER.public_key, "member", body + b"x", signature)
    assert len(verifier._good) == 4


def test_a_signer_does_not_print_its_key() -> None:
    assert bytes(range(32)).hex() not in repr(SIGNER)
