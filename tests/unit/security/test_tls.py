"""Real TLS over memory: who gets through, who does not, and the whole way of a machine into the mesh."""

import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshnode.kernel.effects import Persist
from meshnode.kernel.instant import ClockTrust
from meshnode.model.errors import RemoteError
from meshnode.security import authority, tls
from meshnode.security.bundle import read_bundle
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment import make_answer, make_greeting, make_request, read_answer, read_greeting
from meshnode.security.messages import EnrolmentAsked, IssueLeaf
from tests.unit.security import world
from tests.unit.security.world import Joiner, Node, Pipe, client_of, judge, server_of


@pytest.fixture(name="a")
def node_a(tmp_path: Path) -> Node:
    return world.node(tmp_path, "edge-1")


@pytest.fixture(name="b")
def node_b(tmp_path: Path) -> Node:
    return world.node(tmp_path, "edge-2")


def forged(directory: Path, key: ec.EllipticCurvePrivateKey, chain_pem: bytes, signer: Node) -> Node:
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return world.stored(directory, "forged", signer.signer, chain_pem, key_pem)


# -- two members ------------------------------------------------------------------------------------------------------


def test_two_members_recognise_each_other(a: Node, b: Node) -> None:
    pipe = Pipe(server_of(a), client_of(b)).shake()
    assert pipe.refused == ""
    assert judge(pipe.server, expect=b.signer.node).name == "edge-2"
    assert judge(pipe.client, expect=a.signer.node).name == "edge-1"
    assert pipe.client.version() == "TLSv1.3"
    assert pipe.server.selected_alpn_protocol() == pipe.client.selected_alpn_protocol() == "meshnode/1"


def test_the_verified_chain_ends_at_the_root(a: Node, b: Node) -> None:
    pipe = Pipe(server_of(a), client_of(b)).shake()
    assert tls.verified_chain(pipe.server) == world.chain_of(b.chain_pem)
    assert tls.presented_leaf(pipe.client) == world.chain_of(a.chain_pem)[0]


def test_a_connection_without_a_verified_chain_is_refused(a: Node, b: Node) -> None:
    fresh = Pipe(server_of(a), client_of(b)).server
    unverified = Pipe(
        tls.enrolment_server_context(a.chain_path, a.key_path), tls.enrolment_client_context(None)
    ).shake()
    assert unverified.refused == ""
    assert tls.presented_leaf(unverified.client) == world.chain_of(a.chain_pem)[0]
    for end in (fresh, unverified.client, unverified.server):
        with pytest.raises(RemoteError) as refused:
            tls.verified_chain(end)
        assert refused.value.reason == "no-chain"
    with pytest.raises(RemoteError):
        tls.presented_leaf(unverified.server)


def test_a_client_without_a_certificate_is_refused(a: Node) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    pipe = Pipe(server_of(a), bare).shake()
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in pipe.refused
    assert "CERTIFICATE_REQUIRED" in pipe.refused


def test_an_older_tls_is_refused(a: Node) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "UNSUPPORTED_PROTOCOL" in Pipe(server_of(a), old).shake().refused


def test_members_of_a_mesh_of_the_same_name_under_another_root_are_refused(tmp_path: Path, a: Node) -> None:
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    enroller_key, enroller = authority.make_enroller(world.MESH, "gw", key, root, world.NOW_MS)
    stranger = world.node(tmp_path, "edge-9", enroller_key=enroller_key, enroller=enroller)
    assert "CERTIFICATE_VERIFY_FAILED" in Pipe(server_of(a), client_of(stranger)).shake().refused
    assert "CERTIFICATE_VERIFY_FAILED" in Pipe(server_of(stranger), client_of(a)).shake().refused


def test_an_enroller_cannot_certify_for_another_mesh(tmp_path: Path, a: Node) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier("spiffe://other.mesh/node/edge-1")]
    stranger = forged(tmp_path, key, world.forged_leaf(key=key, names=names), a)
    assert "permitted subtree" in Pipe(server_of(a), client_of(stranger)).shake().refused


def test_a_leaf_cannot_act_as_an_enroller(tmp_path: Path, a: Node, b: Node) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = x509.load_pem_x509_certificates(b.chain_pem)[0].public_bytes(serialization.Encoding.PEM)
    chain = world.forged_leaf(key=key, issuer_pem=leaf, issuer_key_pem=b.key_path.read_bytes())
    impostor = forged(tmp_path, key, chain + world.ENROLLER, a)
    assert "CERTIFICATE_VERIFY_FAILED" in Pipe(server_of(a), client_of(impostor)).shake().refused


def test_an_enroller_cannot_make_enrollers(tmp_path: Path, a: Node) -> None:
    sub_key, sub = authority.make_enroller(world.MESH, "sub", world.ENROLLER_KEY, world.ENROLLER, world.NOW_MS)
    nephew = world.node(tmp_path, "nephew", enroller_key=sub_key, enroller=sub)
    longer = world.stored(
        tmp_path, "longer", nephew.signer, nephew.chain_pem + world.ENROLLER, nephew.key_path.read_bytes()
    )
    assert "path length" in Pipe(server_of(a), client_of(longer)).shake().refused


def test_dates_are_left_to_our_own_judgement(tmp_path: Path, a: Node) -> None:
    sleeper = world.node(tmp_path, "sleeper", wall_ms=world.NOW_MS - 60 * world.DAY_MS)
    pipe = Pipe(server_of(a), client_of(sleeper)).shake()
    assert pipe.refused == ""
    with pytest.raises(RemoteError) as refused:
        judge(pipe.server)
    assert refused.value.reason == "expired"


def test_a_machine_in_1970_talks_to_the_mesh(a: Node, b: Node) -> None:
    pipe = Pipe(server_of(a), client_of(b)).shake()
    assert judge(pipe.server, world.at(0, ClockTrust.FLOOR), MeshClock(world.NOW_MS)).name == "edge-2"


def test_no_session_can_be_taken_up_again(a: Node, b: Node) -> None:
    """A resumed session has no verified chain: every check would be skipped."""
    pipe = Pipe(server_of(a), client_of(b)).shake()
    pipe.server.write(b"x")
    assert pipe.client.read(1) == b"x"
    session = pipe.client.session
    assert session is None or not session.has_ticket


def test_a_member_that_asks_for_another_protocol_gets_none_selected(a: Node, b: Node) -> None:
    context = client_of(b)
    context.set_alpn_protocols(["meshnode-enrol/1", "h2"])
    pipe = Pipe(server_of(a), context).shake()
    assert pipe.server.selected_alpn_protocol() is None


# -- the whole way in -------------------------------------------------------------------------------------------------


def test_a_machine_with_a_token_gets_in_and_talks_to_the_mesh(tmp_path: Path, a: Node) -> None:
    token, desk = world.token(), world.desk()
    enroller = tls.enrolment_server_context(a.chain_path, a.key_path)
    nonces = [hashlib.sha256(bytes((number,))).digest() for number in range(2)]

    first = Pipe(enroller, tls.enrolment_client_context(None)).shake()
    bundle = read_bundle(greeted(first, nonces[0])[1], token.root_sha256)

    second = Pipe(enroller, tls.enrolment_client_context(bundle.root_pem)).shake()
    assert second.refused == ""
    assert second.client.selected_alpn_protocol() == "meshnode-enrol/1"
    server = judge(second.client)
    assert server.name == "edge-1"
    nonce, _ = greeted(second, nonces[1])
    joiner = Joiner.with_token(token)
    seen = hashlib.sha256(tls.presented_leaf(second.client)).digest()
    second.client.write(make_request(token, joiner.csr, joiner.signer, nonce, seen))

    own_leaf = hashlib.sha256(world.chain_of(a.chain_pem)[0]).digest()
    effects = desk.handle(EnrolmentAsked(1, second.server.read(16384), nonces[1], own_leaf), world.NOW)
    second.server.write(performed(effects))
    admission = read_answer(second.client.read(16384), token)

    member = world.stored(tmp_path, "nano-7", joiner.signer, admission.chain_pem, joiner.tls_key)
    pipe = Pipe(server_of(a, bundle.root_pem), client_of(member, bundle.root_pem)).shake()
    assert pipe.refused == ""
    assert judge(pipe.server, expect=joiner.signer.node).name == "nano-7"


def test_a_joiner_that_reaches_an_impostor_learns_it_from_the_bundle_and_from_tls(tmp_path: Path) -> None:
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    enroller_key, enroller = authority.make_enroller(world.MESH, "gw", key, root, world.NOW_MS)
    impostor = world.node(tmp_path, "edge-1", enroller_key=enroller_key, enroller=enroller)
    theirs = tls.enrolment_server_context(impostor.chain_path, impostor.key_path)
    pipe = Pipe(theirs, tls.enrolment_client_context(world.ROOT)).shake()
    assert "CERTIFICATE_VERIFY_FAILED" in pipe.refused


def test_a_joiner_needs_no_certificate_but_may_not_use_an_older_tls(a: Node) -> None:
    enroller = tls.enrolment_server_context(a.chain_path, a.key_path)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "UNSUPPORTED_PROTOCOL" in Pipe(enroller, old).shake().refused


def greeted(pipe: Pipe, nonce: bytes) -> tuple[bytes, bytes]:
    pipe.server.write(make_greeting(nonce, world.BUNDLE))
    greeting = read_greeting(pipe.client.read(16384))
    return greeting.nonce, greeting.bundle


def performed(effects: list[object]) -> bytes:
    """What the host does after the commit."""
    (persist,) = effects
    assert isinstance(persist, Persist)
    (issue,) = persist.then
    assert isinstance(issue, IssueLeaf)
    chain = authority.issue_leaf(
        issue.csr,
        mesh=world.MESH,
        name=issue.name,
        record_key=issue.record_key,
        enroller_key_pem=world.ENROLLER_KEY,
        enroller_cert_pem=world.ENROLLER,
        wall_ms=world.NOW_MS,
    )
    return make_answer(chain, issue.member, issue.bundle, ["10.0.0.1:7447"])
