"""Member records and the table of those admitted."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.ports import Member
from meshnode.security.bundle import make_bundle, read_bundle
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.members import MemberBody, Members
from meshnode.security.signed import Signed, seal
from tests.unit.security import world

KEY = RecordSigner(bytes(range(32))).public_key
OTHER = RecordSigner(bytes(range(1, 33))).public_key


def test_a_signed_member_is_found_by_node_and_by_name() -> None:
    trust = world.members()
    record = world.member_record("nano-7", KEY, roles=("member",))
    member = trust.admit(record)
    assert isinstance(member, Member)
    assert (member.name, member.public_key, member.roles, member.region) == ("nano-7", KEY, ("member",), "eu")
    assert member.record == record
    assert trust.member(member.node) == trust.by_name("nano-7") == member
    assert trust.all() == [member]


def test_nobody_is_known_before_admission() -> None:
    trust = world.members()
    assert trust.by_name("nano-7") is None
    assert trust.all() == []


def test_the_first_key_keeps_a_name_and_both_are_noted() -> None:
    trust = world.members()
    first = trust.admit(world.member_record("nano-7", KEY))
    assert isinstance(first, Member)
    assert trust.admit(world.member_record("nano-7", OTHER, issued_ms=world.NOW_MS + 1)) == "duplicate-name"
    assert trust.by_name("nano-7") == first
    assert len(trust.conflicts()["nano-7"]) == 2
    assert trust.conflicts()["nano-7"][0] == first.node


def test_noted_conflicts_are_bounded() -> None:
    trust = world.members(conflicts_max=2)
    for name in ("a", "b", "c"):
        trust.admit(world.member_record(name, RecordSigner(new_record_key()).public_key))
        for _ in range(3):
            trust.admit(world.member_record(name, RecordSigner(new_record_key()).public_key))
    assert [len(nodes) for nodes in trust.conflicts().values()] == [2, 2]


@given(order=st.permutations([0, 1, 2, 3]))
def test_the_newest_record_is_in_force_in_whatever_order_they_come(order: list[int]) -> None:
    records = [
        world.member_record("nano-7", KEY, roles=("member",), issued_ms=world.NOW_MS),
        world.member_record("nano-7", KEY, roles=("admin",), issued_ms=world.NOW_MS + 2),
        world.member_record("nano-7", KEY, roles=("member",), issued_ms=world.NOW_MS + 2),
        world.member_record("nano-8", KEY, roles=("member",), issued_ms=world.NOW_MS + 1),
    ]
    trust = world.members()
    for number in order:
        assert isinstance(trust.admit(records[number]), Member)
    forward = world.members()
    for record in records:
        forward.admit(record)
    assert trust.all() == forward.all()
    assert trust.by_name("nano-8") is None


def test_a_renamed_member_gives_its_old_name_back() -> None:
    trust = world.members()
    trust.admit(world.member_record("old", KEY))
    trust.admit(world.member_record("new", KEY, issued_ms=world.NOW_MS + 1))
    assert isinstance(trust.admit(world.member_record("old", OTHER)), Member)


def test_only_admins_of_the_bundle_are_believed() -> None:
    stranger = RecordSigner(new_record_key())
    assert world.members().admit(world.member_record("nano-7", KEY, admin=stranger)) == "unknown-admin"


def test_a_record_of_another_mesh_is_refused() -> None:
    assert world.members().admit(world.member_record("nano-7", KEY, mesh="other.mesh")) == "wrong-mesh"


def test_a_signature_made_for_something_else_is_refused() -> None:
    body = msgspec.msgpack.encode(MemberBody(world.MESH, "nano-7", KEY, ("admin",), "", {}, world.NOW_MS))
    assert world.members().admit(seal(world.ADMIN, "invite", body)) == "bad-signature"
    assert isinstance(world.members().admit(seal(world.ADMIN, "member", body)), Member)


def test_a_malleated_signature_is_refused() -> None:
    signed = msgspec.msgpack.decode(world.member_record("nano-7", KEY), type=Signed)
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signed.signature[32:], "little") + order
    twin = Signed(signed.by, signed.body, signed.signature[:32] + scalar.to_bytes(32, "little"))
    assert world.members().admit(msgspec.msgpack.encode(twin)) == "bad-signature"


def test_a_record_has_exactly_one_encoding() -> None:
    signed = msgspec.msgpack.decode(world.member_record("nano-7", KEY), type=Signed)
    longer = msgspec.msgpack.encode(["signed", signed.by, signed.body, signed.signature, "more"])
    assert world.members().admit(longer) == "signed-malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Nano"},
        {"record_key": bytes(31)},
        {"roles": ("member",) * 17},
        {"roles": ("two words",)},
        {"region": "no where"},
        {"labels": {"a b": "c"}},
        {"issued_ms": -1},
        {"issued_ms": 1 << 60},
        {"invite_id": bytes(3)},
    ],
)
def test_an_admin_may_not_sign_nonsense(change: dict[str, object]) -> None:
    body = MemberBody(world.MESH, "nano-7", KEY, ("member",), "", {}, world.NOW_MS)
    record = seal(world.ADMIN, "member", msgspec.msgpack.encode(msgspec.structs.replace(body, **change)))
    assert world.members().admit(record) == "member-malformed"


def test_records_have_a_size_limit_and_so_has_the_table() -> None:
    assert world.members().admit(bytes(5000)) == "signed-too-long"
    trust = world.members(members_max=1)
    assert isinstance(trust.admit(world.member_record("a", KEY)), Member)
    assert trust.admit(world.member_record("b", OTHER)) == "members-full"
    assert isinstance(trust.admit(world.member_record("a", KEY, issued_ms=world.NOW_MS + 1)), Member)


@given(at=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_record_with_any_bit_turned_is_refused_by_name(at: int, bit: int) -> None:
    record = bytearray(world.member_record("nano-7", KEY))
    record[at % len(record)] ^= 1 << bit
    assert world.members().admit(bytes(record)) in {"signed-malformed", "unknown-admin", "bad-signature"}


@given(junk=st.binary(max_size=300))
def test_junk_is_refused_by_name(junk: bytes) -> None:
    assert world.members().admit(junk) == "signed-malformed"


SECOND = RecordSigner(new_record_key())
BOTH = make_bundle(
    world.ROOT_KEY, world.ROOT, mesh=world.MESH, version=1, admins=(world.ADMIN.public_key, SECOND.public_key)
)


def of_two_admins() -> Members:
    return Members(read_bundle(BOTH, world.ROOT_SHA256), Ed25519Verifier())


@given(order=st.permutations([0, 1, 2, 3]))
def test_what_two_admins_signed_is_both_kept_and_only_what_both_give_is_given(order: list[int]) -> None:
    records = [
        world.member_record("n", KEY, roles=("member",), issued_ms=world.NOW_MS),
        world.member_record("n", KEY, roles=("member", "gateway"), issued_ms=world.NOW_MS + 1),
        world.member_record("n", KEY, admin=SECOND, roles=("gateway",), issued_ms=world.NOW_MS + 2),
        world.member_record("n", KEY, admin=SECOND, roles=("gateway", "admin"), issued_ms=world.NOW_MS + 3),
    ]
    trust = of_two_admins()
    for number in order:
        assert isinstance(trust.admit(records[number]), Member)
    member = trust.by_name("n")
    assert member is not None
    assert member.roles == ("gateway",)
    assert member.record == records[3]


def test_an_admin_takes_back_his_own_and_not_what_another_one_withholds() -> None:
    trust = of_two_admins()
    trust.admit(world.member_record("n", KEY, roles=("member",)))
    trust.admit(world.member_record("n", KEY, admin=SECOND, roles=("gateway",), issued_ms=world.NOW_MS + 1))
    assert trust.all()[0].roles == ()
    again = trust.admit(world.member_record("n", KEY, roles=("member", "gateway"), issued_ms=world.NOW_MS + 2))
    assert isinstance(again, Member)
    assert again.roles == ("gateway",)


def test_a_record_is_issued_later_than_those_before_though_the_clock_went_back() -> None:
    trust = world.members()
    member = trust.admit(world.member_record("n", KEY, issued_ms=world.NOW_MS))
    assert isinstance(member, Member)
    back_ms = world.NOW_MS - world.DAY_MS
    issued_ms = trust.issue_ms(member.node, back_ms)
    assert issued_ms == world.NOW_MS + 1
    newer = trust.admit(world.member_record("n", KEY, roles=("gateway",), issued_ms=issued_ms))
    assert isinstance(newer, Member)
    assert newer.roles == ("gateway",)
    assert trust.issue_ms(RecordSigner(new_record_key()).node, back_ms) == back_ms
