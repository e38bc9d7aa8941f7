"""The one judgement of a peer: whose certificate it is, and when."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.security import authority
from meshnode.security.check_peer import SKEW_MS, check_peer
from meshnode.security.clock import MeshClock
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.messages import PeerIdentity
from meshnode.security.names import valid_name
from tests.unit.security import world
from tests.unit.security.world import MESH, NOW, NOW_MS, chain_of, forged_leaf

URI = x509.UniformResourceIdentifier
SIGNER = RecordSigner(new_record_key())
TLS_KEY = authority.new_tls_key()
CHAIN = chain_of(
    authority.issue_leaf(
        authority.make_csr(TLS_KEY, SIGNER.public_key),
        mesh=MESH,
        name="nano-7",
        record_key=SIGNER.public_key,
        enroller_key_pem=world.ENROLLER_KEY,
        enroller_cert_pem=world.ENROLLER,
        wall_ms=NOW_MS,
    )
)
LEAF_MS = 7 * world.DAY_MS


def check(chain: list[bytes], now: Instant = NOW, floor_ms: int = 0, expect: NodeId | None = None) -> PeerIdentity:
    return check_peer(chain, MESH, MeshClock(floor_ms), now, expect)


def reason(chain: list[bytes], now: Instant = NOW, floor_ms: int = 0, expect: NodeId | None = None) -> str:
    with pytest.raises(RemoteError) as refused:
        check(chain, now, floor_ms, expect)
    return refused.value.reason


def test_a_chain_speaks_for_the_node_of_its_record_key() -> None:
    assert check(CHAIN) == PeerIdentity(SIGNER.node, "nano-7", SIGNER.public_key, NOW_MS + LEAF_MS)
    assert check(CHAIN, expect=SIGNER.node).name == "nano-7"
    assert check(CHAIN, expect=NodeId(b"")).name == "nano-7"


def test_somebody_else_than_the_one_dialled_is_refused() -> None:
    assert reason(CHAIN, expect=NodeId(bytes(32))) == "unexpected-peer"


def test_a_malleated_twin_of_a_certificate_is_the_same_node() -> None:
    leaf = x509.load_der_x509_certificate(CHAIN[0])
    r, s = decode_dss_signature(leaf.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signature = encode_dss_signature(r, order - s)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    twin = _tlv(0x30, leaf.tbs_certificate_bytes + algorithm + _tlv(3, b"\0" + signature))
    assert twin != CHAIN[0]
    assert check([twin, *CHAIN[1:]]) == check(CHAIN)


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/a"), URI(f"spiffe://{MESH}/node/b")]), "san"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/a"), x509.DNSName("a.example")]), "san"),
        (forged_leaf(names=[x509.DNSName(MESH)]), "san"),
        (forged_leaf(names=[x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]), "san"),
        (forged_leaf(names=[]), "certificate-malformed"),
        (forged_leaf(names=[URI("spiffe://other.mesh/node/a")]), "trust-domain"),
        (forged_leaf(names=[URI(f"https://{MESH}/node/a")]), "trust-domain"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}.evil/node/a")]), "trust-domain"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/agent/a")]), "trust-domain"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/")]), "name"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/a/b")]), "name"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/*")]), "name"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/Boss")]), "name"),
        (forged_leaf(names=[URI(f"spiffe://{MESH}/node/" + "a" * 64)]), "name"),
        (forged_leaf(ca=True), "ca-as-leaf"),
        (forged_leaf(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH]), "leaf-usage"),
        (forged_leaf(purposes=[]), "certificate-malformed"),
        (forged_leaf(key=ec.generate_private_key(ec.SECP384R1())), "leaf-usage"),
        (forged_leaf(record_key=None), "certificate-malformed"),
        (forged_leaf(record_key=bytes(31)), "record-key"),
        (forged_leaf(record_key=bytes(33)), "record-key"),
        (forged_leaf(from_ms=NOW_MS - 40 * world.DAY_MS, until_ms=NOW_MS - 30 * world.DAY_MS), "expired"),
        (forged_leaf(from_ms=NOW_MS + world.DAY_MS, until_ms=NOW_MS + 2 * world.DAY_MS), "not-yet-valid"),
    ],
)
def test_leaves_no_honest_enroller_signs_are_refused_by_name(leaf: bytes, expected: str) -> None:
    assert reason(chain_of(leaf)) == expected


def test_the_forger_of_these_tests_can_also_make_a_leaf_that_passes() -> None:
    assert check(chain_of(forged_leaf())).name == "boss"


@pytest.mark.parametrize("chain", [[], CHAIN[:1], CHAIN * 2, [CHAIN[0] + bytes(5000), *CHAIN[1:]]])
def test_a_chain_of_another_size_is_refused(chain: list[bytes]) -> None:
    assert reason(chain) == "chain-size"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_negative_serial_number_is_refused(place: int) -> None:
    certificate = x509.load_der_x509_certificate(CHAIN[place])
    # As DER writes it: as short as the number allows, which is random, with room for the sign.
    number = certificate.serial_number.to_bytes(certificate.serial_number.bit_length() // 8 + 1)
    assert number in CHAIN[place]
    chain = list(CHAIN)
    chain[place] = CHAIN[place].replace(number, b"\x80" + number[1:])
    assert reason(chain) == "serial"


def test_a_curve_nobody_knows_is_refused_and_not_raised() -> None:
    p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030101")
    assert p256 in CHAIN[0]
    assert reason([CHAIN[0].replace(p256, unknown), *CHAIN[1:]]) == "certificate-malformed"


# -- dates ------------------------------------------------------------------------------------------------------------


def test_a_leaf_lives_from_its_start_to_its_end_with_ten_minutes_of_grace() -> None:
    start, end = NOW_MS - 10 * world.MINUTE_MS, NOW_MS + LEAF_MS
    assert check(CHAIN, world.at(start - SKEW_MS))
    assert reason(CHAIN, world.at(start - SKEW_MS - 1000)) == "not-yet-valid"
    assert check(CHAIN, world.at(end + SKEW_MS))
    assert reason(CHAIN, world.at(end + SKEW_MS + 1000)) == "expired"


def test_a_machine_in_1970_accepts_what_is_not_valid_yet_by_its_clock() -> None:
    assert check(CHAIN, world.at(0, ClockTrust.FLOOR)).name == "nano-7"


def test_a_synchronised_clock_below_the_floor_is_not_believed() -> None:
    assert check(CHAIN, world.at(0), floor_ms=1).name == "nano-7"
    assert reason(CHAIN, world.at(0)) == "not-yet-valid"


def test_a_machine_in_1970_still_refuses_what_expired_below_its_floor() -> None:
    old = forged_leaf(from_ms=NOW_MS - 40 * world.DAY_MS, until_ms=NOW_MS - 30 * world.DAY_MS)
    assert reason(chain_of(old), world.at(0, ClockTrust.FLOOR), floor_ms=NOW_MS) == "expired"
    assert check(chain_of(old), world.at(0, ClockTrust.FLOOR)).name == "boss"  # without a floor nobody can know


def test_an_expired_intermediate_is_refused_too() -> None:
    key, enroller = authority.make_enroller(MESH, "gw", world.ROOT_KEY, world.ROOT, NOW_MS - 200 * world.DAY_MS)
    leaf = forged_leaf(issuer_pem=enroller, issuer_key_pem=key)
    assert reason(chain_of(leaf)) == "expired"


# -- junk -------------------------------------------------------------------------------------------------------------


@given(place=st.integers(0, 2), at=st.integers(0, 2000), byte=st.integers(0, 255))
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_changed_byte_is_a_named_refusal_or_leaves_whole_names_and_keys(place: int, at: int, byte: int) -> None:
    changed = bytearray(CHAIN[place])
    changed[at % len(changed)] = byte
    outcome = judged([*CHAIN[:place], bytes(changed), *CHAIN[place + 1 :]])
    if isinstance(outcome, PeerIdentity):  # OpenSSL, before us, has refused the signature; we see a name and a key
        assert valid_name(outcome.name)
        assert len(outcome.record_key) == 32
        assert outcome.name == "nano-7" or place == 0
    else:
        assert outcome in REASONS


REASONS = {
    "chain-size", "serial", "ca-as-leaf", "leaf-usage", "san", "trust-domain", "name", "record-key", "not-yet-valid",
    "expired", "unexpected-peer", "certificate-malformed",
}  # fmt: skip


def judged(chain: list[bytes]) -> PeerIdentity | str:
    try:
        return check(chain)
    except RemoteError as refused:
        return refused.reason


@given(chain=st.lists(st.binary(max_size=200), min_size=2, max_size=5))
def test_junk_is_a_named_refusal(chain: list[bytes]) -> None:
    assert reason(chain) in {"certificate-malformed", "serial"}


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 128:
        return bytes((tag, length)) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(digits))) + digits + content
