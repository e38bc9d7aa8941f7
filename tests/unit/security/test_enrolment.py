"""Joining: the desk that decides, and the joiner that checks what it is given."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.ports import Member
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.security import authority
from meshnode.security.bundle import make_bundle, root_fingerprint
from meshnode.security.clock import MeshClock
from meshnode.security.desk import EnrolmentDesk
from meshnode.security.enrolment import (
    Admission,
    EnrolmentRefused,
    make_answer,
    make_greeting,
    make_refusal,
    read_answer,
    read_greeting,
)
from meshnode.security.enrolment_letters import BODY_BYTES_MAX, MEANINGS, read_request
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.messages import EnrolmentAsked, IssueLeaf
from tests.unit.security import world
from tests.unit.security.world import Joiner, refusal

HOUR_MS = 3_600_000


def granted(effects: list[Effect]) -> tuple[tuple[Record, ...], IssueLeaf]:
    assert len(effects) == 1
    (persist,) = effects
    assert isinstance(persist, Persist), persist
    (issue,) = persist.then
    assert isinstance(issue, IssueLeaf)
    return persist.records, issue


def answered(issue: IssueLeaf, **changes: object) -> bytes:
    """What the host sends after it has signed the leaf."""
    wishes: dict[str, object] = {
        "mesh": world.MESH,
        "name": issue.name,
        "record_key": issue.record_key,
        "enroller_key_pem": world.ENROLLER_KEY,
        "enroller_cert_pem": world.ENROLLER,
        "wall_ms": world.NOW_MS,
        **changes,
    }
    chain = authority.issue_leaf(issue.csr, **wishes)  # type: ignore[arg-type]
    return make_answer(chain, issue.member, issue.bundle, ["10.0.0.1:7447"])


def refused_answer(body: bytes, joiner: Joiner) -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as error:
        read_answer(body, joiner.token)
    assert error.value.next_step
    assert error.value.exit_code == 4
    return error.value


# -- the desk ---------------------------------------------------------------------------------------------------------


def test_an_invited_machine_is_admitted_after_the_invite_is_written_down_as_used() -> None:
    trust = world.members()
    desk, joiner = world.desk(trust), Joiner.with_token(world.token())
    records, issue = granted(desk.handle(joiner.asked(7), world.NOW))
    assert [(record.kind, record.key) for record in records] == [(RecordKind.INVITE, joiner.token.invite_id)]
    assert (issue.request_no, issue.name, issue.record_key) == (7, "nano-7", joiner.signer.public_key)
    assert (issue.csr, issue.bundle) == (joiner.csr, world.BUNDLE)
    member = trust.by_name("nano-7")
    assert member is not None
    assert (member.record, member.roles, member.region) == (issue.member, ("member",), "eu")


def test_the_joiner_can_use_what_it_is_given() -> None:
    joiner = Joiner.with_token(world.token())
    _, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    admission = read_answer(answered(issue), joiner.token)
    assert admission.member == issue.member
    assert admission.bundle == world.BUNDLE
    assert admission.peers == ["10.0.0.1:7447"]


def test_a_lost_answer_is_given_again_for_ten_minutes() -> None:
    desk, joiner = world.desk(), Joiner.with_token(world.token())
    _, first = granted(desk.handle(joiner.asked(1), world.NOW))
    other_connection = bytes(reversed(world.NONCE))
    later = world.at(world.NOW_MS + 10 * world.MINUTE_MS)
    _, again = granted(desk.handle(joiner.asked(2, nonce=other_connection), later))
    assert (again.request_no, again.member) == (2, first.member)
    too_late = world.at(world.NOW_MS + 10 * world.MINUTE_MS + 1)
    assert refusal(desk.handle(joiner.asked(3), too_late)) == "invite-used"


def test_a_used_invite_admits_no_second_machine() -> None:
    desk, token = world.desk(), world.token()
    granted(desk.handle(Joiner.with_token(token).asked(), world.NOW))
    assert refusal(desk.handle(Joiner.with_token(token).asked(), world.NOW)) == "invite-used"


def test_a_used_invite_admits_no_second_tls_key_of_the_same_machine() -> None:
    desk, joiner = world.desk(), Joiner.with_token(world.token())
    granted(desk.handle(joiner.asked(), world.NOW))
    joiner.csr = authority.make_csr(authority.new_tls_key(), joiner.signer.public_key)
    assert refusal(desk.handle(joiner.asked(), world.NOW)) == "invite-used"


def test_a_restart_does_not_forget_which_invites_were_used() -> None:
    token = world.token()
    joiner = Joiner.with_token(token)
    records, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    noise = (Record(RecordKind.BOOT, b"", b"7"), Record(RecordKind.INVITE, b"forgotten", b""))
    trust = world.members()
    desk = world.desk(trust, restored=(*noise, *records))
    assert isinstance(trust.by_name("nano-7"), Member)
    assert refusal(desk.handle(Joiner.with_token(token).asked(), world.NOW)) == "invite-used"
    _, again = granted(desk.handle(joiner.asked(), world.NOW))
    assert again.member == issue.member


def test_an_unreadable_record_of_an_invite_counts_as_used() -> None:
    joiner = Joiner.with_token(world.token())
    desk = world.desk(restored=(Record(RecordKind.INVITE, joiner.token.invite_id, b"\xc1 torn"),))
    assert refusal(desk.handle(joiner.asked(), world.NOW)) == "invite-used"


def test_a_long_expired_invite_is_forgotten_and_still_refused() -> None:
    desk, joiner = world.desk(used_max=1), Joiner.with_token(world.token())
    granted(desk.handle(joiner.asked(), world.NOW))
    newcomer = Joiner.with_token(world.token("nano-8"))
    assert refusal(desk.handle(newcomer.asked(), world.NOW)) == "desk-full"
    two_days_on = world.at(world.NOW_MS + 2 * world.DAY_MS)
    late = Joiner.with_token(world.token("nano-8", now_ms=two_days_on.wall_ms))
    records, _ = granted(desk.handle(late.asked(), two_days_on))
    assert Record(RecordKind.INVITE, joiner.token.invite_id, b"") in records
    assert refusal(desk.handle(joiner.asked(), two_days_on)) == "expired"


def test_an_invite_ends_at_its_hour() -> None:
    joiner = Joiner.with_token(world.token())
    granted(world.desk().handle(joiner.asked(), world.at(world.NOW_MS + HOUR_MS - 1)))
    assert refusal(world.desk().handle(joiner.asked(), world.at(world.NOW_MS + HOUR_MS))) == "expired"


def test_an_enroller_that_woke_up_in_1970_still_knows_an_expired_invite() -> None:
    desk = world.desk(clock=MeshClock(world.NOW_MS + HOUR_MS))
    assert refusal(desk.handle(Joiner.with_token(world.token()).asked(), world.at(0))) == "expired"


def test_a_name_that_is_taken_is_refused_and_the_invite_is_not_spent() -> None:
    trust = world.members()
    taken = world.admitted(trust, "nano-7")
    desk, joiner = world.desk(trust), Joiner.with_token(world.token())
    assert refusal(desk.handle(joiner.asked(), world.NOW)) == "duplicate-name"
    assert not desk.is_used(joiner.token.invite_id)
    assert trust.by_name("nano-7") == taken


def test_a_member_may_come_again_under_its_name_and_on_a_new_invite() -> None:
    trust = world.members()
    desk, joiner = world.desk(trust), Joiner.with_token(world.token())
    granted(desk.handle(joiner.asked(), world.NOW))
    joiner.token = world.token(entropy=bytes(48), region="us")
    granted(desk.handle(joiner.asked(), world.at(world.NOW_MS + 1)))
    member = trust.by_name("nano-7")
    assert member is not None
    assert member.region == "us"


def test_a_member_may_not_come_again_under_another_name() -> None:
    desk, joiner = world.desk(), Joiner.with_token(world.token())
    granted(desk.handle(joiner.asked(), world.NOW))
    joiner.token = world.token("nano-8")
    assert refusal(desk.handle(joiner.asked(), world.NOW)) == "duplicate-key"


def test_a_node_without_an_admin_key_admits_nobody() -> None:
    desk = EnrolmentDesk(world.MESH, world.BUNDLE, None, world.members(), Ed25519Verifier())
    assert refusal(desk.handle(Joiner.with_token(world.token()).asked(), world.NOW)) == "not-an-enroller"
    assert MEANINGS["not-an-enroller"].elsewhere


def test_an_invite_for_another_mesh_is_refused() -> None:
    joiner = Joiner.with_token(world.token(mesh="other.mesh"))
    assert refusal(world.desk().handle(joiner.asked(), world.NOW)) == "wrong-mesh"


def test_an_invite_by_somebody_who_is_no_admin_is_refused() -> None:
    joiner = Joiner.with_token(world.token(admin=RecordSigner(new_record_key())))
    assert refusal(world.desk().handle(joiner.asked(), world.NOW)) == "unknown-admin"


def test_an_altered_invite_is_refused() -> None:
    joiner = Joiner.with_token(world.token())
    invite = joiner.token.invite.replace(b"nano-7", b"boss-7")
    joiner.token = msgspec.structs.replace(joiner.token, invite=invite)
    assert refusal(world.desk().handle(joiner.asked(), world.NOW)) == "altered"


def test_a_proof_holds_for_one_connection_and_one_enroller_only() -> None:
    desk, joiner = world.desk(), Joiner.with_token(world.token())
    captured = joiner.asked()
    elsewhere = (
        EnrolmentAsked(1, captured.body, bytes(32), captured.server_leaf_sha256),
        EnrolmentAsked(1, captured.body, captured.nonce, bytes(32)),
    )
    for asked in elsewhere:
        assert refusal(desk.handle(asked, world.NOW)) == "bad-proof"
    granted(desk.handle(captured, world.NOW))


def test_a_thief_of_the_invite_without_its_seed_is_refused() -> None:
    joiner = Joiner.with_token(world.token())
    body = json.loads(joiner.request())
    thief = Joiner.with_token(msgspec.structs.replace(joiner.token, seed=world.token("nano-8").seed))
    stolen = json.loads(thief.request())
    assert refusal(world.desk().handle(thief.asked(), world.NOW)) == "bad-proof"
    mixed = json.dumps({**stolen, "invite_proof": body["invite_proof"]}).encode()
    asked = EnrolmentAsked(1, mixed, world.NONCE, world.SERVER_LEAF)
    assert refusal(world.desk().handle(asked, world.NOW)) == "bad-proof"


def test_a_record_key_one_does_not_hold_cannot_be_brought_in() -> None:
    joiner, victim = Joiner.with_token(world.token()), RecordSigner(new_record_key())
    joiner.csr = authority.make_csr(joiner.tls_key, victim.public_key)
    body = json.loads(joiner.request())
    body["record_key"] = msgspec.json.decode(msgspec.json.encode(victim.public_key))
    asked = EnrolmentAsked(1, json.dumps(body).encode(), world.NONCE, world.SERVER_LEAF)
    assert refusal(world.desk().handle(asked, world.NOW)) == "bad-proof"


def test_a_request_for_another_record_key_is_refused_before_the_invite_is_spent() -> None:
    desk, joiner = world.desk(), Joiner.with_token(world.token())
    joiner.csr = authority.make_csr(joiner.tls_key, bytes(32))
    assert refusal(desk.handle(joiner.asked(), world.NOW)) == "bad-csr"
    assert not desk.is_used(joiner.token.invite_id)


def test_an_endless_request_is_refused_for_its_length() -> None:
    asked = EnrolmentAsked(1, b" " * (BODY_BYTES_MAX + 1), world.NONCE, world.SERVER_LEAF)
    assert refusal(world.desk().handle(asked, world.NOW)) == "too-long"


def test_a_request_fits_into_its_limit_with_much_to_spare() -> None:
    assert len(Joiner.with_token(world.token()).request()) < BODY_BYTES_MAX // 4


@given(body=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_junk_is_refused_as_malformed(body: bytes) -> None:
    assert refusal(world.desk().handle(EnrolmentAsked(1, body, b"", b""), world.NOW)) == "malformed"


REQUEST = Joiner.with_token(world.token()).request()
REASONS = {"malformed", "altered", "wrong-mesh", "unknown-admin", "bad-proof", "bad-csr"}


@given(at=st.integers(0, len(REQUEST) - 1), byte=st.integers(0, 255))
def test_a_request_with_any_byte_changed_is_refused_by_name_or_says_the_same(at: int, byte: int) -> None:
    body = REQUEST[:at] + bytes((byte,)) + REQUEST[at + 1 :]
    effects = world.desk().handle(EnrolmentAsked(1, body, world.NONCE, world.SERVER_LEAF), world.NOW)
    if isinstance(effects[0], Persist):
        assert read_request(body) == read_request(REQUEST)  # an idle bit of base64, or a key we skip
    else:
        assert refusal(effects) in REASONS


def test_the_desk_is_a_machine_without_deadlines() -> None:
    desk = world.desk()
    assert desk.deadline() is None
    assert desk.wake(world.NOW) == []


# -- the joiner -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", sorted(MEANINGS))
def test_each_refusal_reaches_the_person_with_its_name_and_a_next_step(reason: str) -> None:
    error = refused_answer(make_refusal(reason, MEANINGS[reason].message), Joiner.with_token(world.token()))
    assert (error.code, error.message) == (reason, MEANINGS[reason].message)


def test_words_of_the_other_side_cannot_paint_on_the_terminal() -> None:
    error = refused_answer(make_refusal("new-\x1breason", "\x1b[2Jgone\r\n"), Joiner.with_token(world.token()))
    assert (error.code, error.message) == ("enrolment-refused", "the enroller refused: [2Jgone (new-reason)")


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 9000, b" " * 20_000, b'{"type":"admitted"}', REQUEST])
def test_an_answer_that_is_none_is_refused(body: bytes) -> None:
    assert refused_answer(body, Joiner.with_token(world.token())).code == "bad-answer"


def test_an_impostor_with_its_own_root_is_found_out() -> None:
    joiner = Joiner.with_token(world.token())
    _, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    theirs = make_bundle(key, root, mesh=world.MESH, version=1, admins=(world.ADMIN.public_key,))
    answer = msgspec.structs.replace(issue, bundle=theirs)
    assert refused_answer(answered(answer), joiner).code == "root-mismatch"


def test_a_bundle_of_another_mesh_under_the_same_root_is_refused() -> None:
    other = make_bundle(world.ROOT_KEY, world.ROOT, mesh="b.mesh", version=1, admins=(world.ADMIN.public_key,))
    joiner = Joiner.with_token(world.token())
    _, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    assert refused_answer(answered(msgspec.structs.replace(issue, bundle=other)), joiner).code == "wrong-mesh"


def test_a_chain_of_another_root_is_refused() -> None:
    joiner = Joiner.with_token(world.token())
    _, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    key, root = authority.make_root(world.MESH, world.NOW_MS)
    enroller_key, enroller = authority.make_enroller(world.MESH, "gw", key, root, world.NOW_MS)
    body = answered(issue, enroller_key_pem=enroller_key, enroller_cert_pem=enroller)
    assert refused_answer(body, joiner).code == "bad-answer"
    assert root_fingerprint(root) != world.ROOT_SHA256


def test_an_identity_of_somebody_else_is_refused() -> None:
    joiner = Joiner.with_token(world.token())
    _, issue = granted(world.desk().handle(joiner.asked(), world.NOW))
    other_name = answered(issue, name="nano-8")
    record = world.member_record("nano-8", joiner.signer.public_key)
    other_member = answered(msgspec.structs.replace(issue, member=record))
    other_key = world.member_record("nano-7", RecordSigner(new_record_key()).public_key)
    mixed = answered(msgspec.structs.replace(issue, member=other_key))
    unsigned = answered(
        msgspec.structs.replace(issue, member=world.member_record("nano-7", bytes(32), admin=joiner.signer))
    )
    for body in (other_name, other_member, mixed, unsigned):
        assert refused_answer(body, joiner).code == "bad-answer"


@given(data=st.data())
def test_an_answer_with_any_byte_changed_is_accepted_unharmed_or_refused_by_name(data: st.DataObject) -> None:
    body = ANSWER
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes((data.draw(st.integers(0, 255)),)) + body[at + 1 :]
    outcome = _read(changed)
    if isinstance(outcome, Admission):
        assert (outcome.member, outcome.bundle) == (MEMBER, world.BUNDLE)
    else:
        assert outcome in {"bad-answer", "root-mismatch", "wrong-mesh"}


def _read(body: bytes) -> Admission | str:
    try:
        return read_answer(body, JOINER.token)
    except EnrolmentRefused as error:
        return error.code


JOINER = Joiner.with_token(world.token())
_, ISSUE = granted(world.desk().handle(JOINER.asked(), world.NOW))
ANSWER, MEMBER = answered(ISSUE), ISSUE.member


# -- the greeting -----------------------------------------------------------------------------------------------------


def test_a_greeting_comes_back_as_it_was_made() -> None:
    greeting = read_greeting(make_greeting(world.NONCE, world.BUNDLE))
    assert (greeting.nonce, greeting.bundle) == (world.NONCE, world.BUNDLE)


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 20_000, make_refusal("expired", "x")])
def test_a_greeting_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteError) as error:
        read_greeting(body)
    assert error.value.reason in {"malformed", "too-long"}


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_greeting_with_a_nonce_of_another_length_is_refused(length: int) -> None:
    body = make_greeting(bytes(16), world.BUNDLE).replace(
        msgspec.json.encode(bytes(16)), msgspec.json.encode(bytes(length))
    )
    with pytest.raises(RemoteError) as error:
        read_greeting(body)
    assert error.value.reason == "malformed"
