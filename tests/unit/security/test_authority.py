"""Keys and certificates as they are made, and the sealed root."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from meshnode.model.errors import Invalid, RemoteError
from meshnode.security import authority
from tests.unit.security import world

RECORD_KEY = bytes(range(32))


def leaf_of(csr: bytes, *, name: str = "nano-7", wall_ms: int = world.NOW_MS) -> x509.Certificate:
    chain = authority.issue_leaf(
        csr,
        mesh=world.MESH,
        name=name,
        record_key=RECORD_KEY,
        enroller_key_pem=world.ENROLLER_KEY,
        enroller_cert_pem=world.ENROLLER,
        wall_ms=wall_ms,
    )
    certificates = x509.load_pem_x509_certificates(chain)
    assert len(certificates) == 2
    certificates[0].verify_directly_issued_by(certificates[1])
    return certificates[0]


def csr_with(
    *,
    key: object = None,
    record_key: bytes | None = RECORD_KEY,
    uri: str = "",
) -> bytes:
    own = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder()
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "boss")]))
    if record_key is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(authority.RECORD_KEY_OID, record_key), False)
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
    algorithm = None if isinstance(own, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(own, algorithm).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


def flipped(request: bytes) -> bytes:
    """The request with the last bit of its signature turned: never the same bytes again."""
    return request[:-1] + bytes((request[-1] ^ 1,))


def test_the_root_may_have_two_levels_below_it_and_lives_for_twenty_years() -> None:
    root = x509.load_pem_x509_certificate(world.ROOT)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 2)
    assert 19.9 * 365 < (root.not_valid_after_utc - root.not_valid_before_utc).days < 20.1 * 365


def test_an_enroller_may_sign_leaves_of_its_mesh_only() -> None:
    enroller = x509.load_pem_x509_certificate(world.ENROLLER)
    enroller.verify_directly_issued_by(x509.load_pem_x509_certificate(world.ROOT))
    limits = enroller.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert limits.value.permitted_subtrees == [x509.UniformResourceIdentifier(world.MESH)]
    assert enroller.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert (enroller.not_valid_after_utc - enroller.not_valid_before_utc).days == 180


def test_a_leaf_says_one_name_and_the_record_key() -> None:
    leaf = leaf_of(authority.make_csr(authority.new_tls_key(), RECORD_KEY))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"spiffe://{world.MESH}/node/nano-7")]
    assert leaf.extensions.get_extension_for_oid(authority.RECORD_KEY_OID).value.public_bytes() == RECORD_KEY
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert lifetime.total_seconds() == 7 * 24 * 3600 + 600


def test_no_name_is_taken_from_the_request() -> None:
    leaf = leaf_of(csr_with(uri=f"spiffe://{world.MESH}/node/boss"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://{world.MESH}/node/nano-7"]
    assert "boss" not in leaf.subject.rfc4514_string()


def test_a_leaf_never_outlives_its_enroller() -> None:
    late_ms = world.NOW_MS + 178 * world.DAY_MS
    leaf = leaf_of(csr_with(), wall_ms=late_ms)
    assert leaf.not_valid_after_utc == x509.load_pem_x509_certificate(world.ENROLLER).not_valid_after_utc


def test_an_expired_enroller_issues_nothing_and_says_what_to_do() -> None:
    with pytest.raises(authority.EnrollerExpired) as refused:
        leaf_of(csr_with(), wall_ms=world.NOW_MS + 181 * world.DAY_MS)
    assert refused.value.code == "enroller-expired"
    assert refused.value.next_step


def test_a_machine_in_1970_can_still_make_certificates() -> None:
    key, root = authority.make_root("m1.mesh", 0)
    _, enroller = authority.make_enroller("m1.mesh", "gw", key, root, 0)
    assert x509.load_pem_x509_certificate(enroller).not_valid_before_utc.year == 1969


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"\x30\x00",
        bytes(3000),
        csr_with(record_key=None),
        csr_with(record_key=bytes(32)),
        csr_with(record_key=RECORD_KEY + b"\0"),
        csr_with(key=ec.generate_private_key(ec.SECP384R1())),
        csr_with(key=ed25519.Ed25519PrivateKey.generate()),
        csr_with()[:-1],
        flipped(csr_with()),
    ],
    ids=["empty", "hollow", "long", "no-key", "other-key", "long-key", "p384", "ed25519", "cut", "bad-signature"],
)
def test_requests_that_are_not_what_we_make_are_refused(csr: bytes) -> None:
    with pytest.raises(RemoteError) as refused:
        leaf_of(csr)
    assert refused.value.reason == "bad-csr"


@pytest.mark.parametrize("name", ["Boss", "a/b", ""])
def test_nobody_is_certified_under_a_name_that_is_none(name: str) -> None:
    with pytest.raises(Invalid):
        leaf_of(csr_with(), name=name)


def test_recovery_words_are_pronounceable_and_differ_for_each_entropy() -> None:
    words = authority.recovery_words(bytes(16))
    assert words == "-".join(["babab"] * 8)
    # The specification's own example: 127.0.0.1 is lusab-babad.
    assert authority.recovery_words(bytes((127, 0, 0, 1)) * 4) == "-".join(["lusab-babad"] * 4)
    many = {authority.recovery_words(hashlib.md5(bytes((number,))).digest()) for number in range(256)}
    assert len(many) == 256


def test_the_words_open_the_root_however_they_are_typed() -> None:
    words = authority.recovery_words(bytes(range(16)))
    sealed = authority.seal_root(world.ROOT_KEY, words)
    assert b"ENCRYPTED" in sealed
    assert authority.open_root(sealed, words.upper().replace("-", "  ") + "\n") == world.ROOT_KEY


@pytest.mark.parametrize("words", ["", "babab", authority.recovery_words(bytes(16))])
def test_other_words_open_nothing(words: str) -> None:
    sealed = authority.seal_root(world.ROOT_KEY, authority.recovery_words(bytes(range(16))))
    with pytest.raises(Invalid) as refused:
        authority.open_root(sealed, words)
    assert "eight words" in refused.value.next_step


@pytest.mark.parametrize("sealed", [b"", b"junk", world.ROOT_KEY])
def test_what_is_no_sealed_root_is_refused(sealed: bytes) -> None:
    with pytest.raises(Invalid):
        authority.open_root(sealed, "babab")
