"""Invites and their tokens."""

import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.errors import Invalid, LocalError, RemoteError
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.invite import check_invite_signature, parse_token, read_invite
from meshnode.security.signed import Signed
from tests.unit.security import world

TEXT = world.token_text()


def refused(text: str) -> str:
    with pytest.raises(Invalid) as error:
        parse_token(text)
    assert error.value.next_step
    return error.value.message


def packed(carried: bytes) -> str:
    """A token around ``carried`` whose length and checksum are right."""
    head = len(carried).to_bytes(2) + carried
    return "mj1." + base64.urlsafe_b64encode(head + hashlib.sha256(head).digest()[:4]).decode().rstrip("=")


def unpacked(text: str) -> list[bytes]:
    payload = text.removeprefix("mj1.")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return msgspec.msgpack.decode(raw[2:-4])


def test_a_token_comes_back_as_it_was_made() -> None:
    token = parse_token(TEXT)
    assert (token.mesh, token.name, token.roles, token.region) == (world.MESH, "nano-7", ("member",), "eu")
    assert token.addresses == ("192.168.1.20:7447",)
    assert token.root_sha256 == world.ROOT_SHA256
    assert token.expires_ms == world.NOW_MS + 3_600_000
    assert len(TEXT) < 616


def test_a_token_depends_on_nothing_but_what_it_was_given() -> None:
    assert world.token_text() == TEXT
    assert world.token_text(entropy=bytes(48)) != TEXT


def test_a_token_does_not_print_its_seed() -> None:
    token = parse_token(TEXT)
    assert repr(token.seed.reveal())[2:-1] not in repr(token)


@given(breaks=st.lists(st.tuples(st.integers(0, len(TEXT)), st.sampled_from([" ", "\n", "\r\n", "\t"])), max_size=8))
def test_line_breaks_from_a_terminal_do_not_matter(breaks: list[tuple[int, str]]) -> None:
    text = TEXT
    for at, blank in breaks:
        text = text[:at] + blank + text[at:]
    assert parse_token(text) == parse_token(TEXT)


@pytest.mark.parametrize("text", ["", "hello", "mj2." + TEXT[4:], TEXT[1:], "https://example.org"])
def test_what_is_no_token_is_called_so(text: str) -> None:
    assert "not an invite token" in refused(text)


def test_a_token_cut_anywhere_is_called_cut_or_altered() -> None:
    for end in range(4, len(TEXT)):
        assert "cut short" in refused(TEXT[:end]), end


def test_a_token_with_any_letter_changed_is_called_altered() -> None:
    for at in range(4 + 3, len(TEXT) - 1):
        changed = TEXT[:at] + ("A" if TEXT[at] != "A" else "B") + TEXT[at + 1 :]
        assert "altered" in refused(changed), at


@pytest.mark.parametrize("text", [TEXT + "AAAA", TEXT[:40] + "!" + TEXT[41:], TEXT[:40] + "ä" + TEXT[41:]])
def test_a_token_with_foreign_letters_or_more_at_its_end_is_called_altered(text: str) -> None:
    assert "altered" in refused(text)


@pytest.mark.parametrize("text", ["mj1." + "A" * 5000, "x" * 10_000_000])
def test_an_endless_token_is_refused_for_its_length(text: str) -> None:
    assert "characters" in refused(text)


def test_a_forger_who_mends_the_checksum_is_still_caught_by_the_signature() -> None:
    kind, invite, seed = unpacked(TEXT)
    signed = msgspec.msgpack.decode(invite, type=Signed)
    body = msgspec.msgpack.decode(signed.body)
    body[3] = ["admin"]
    forged = Signed(signed.by, msgspec.msgpack.encode(body), signed.signature)
    assert "altered" in refused(packed(msgspec.msgpack.encode([kind, msgspec.msgpack.encode(forged), seed])))


def test_a_seed_that_is_not_the_invited_one_is_refused() -> None:
    kind, invite, _ = unpacked(TEXT)
    for seed in (bytes(32), bytes(31), b""):
        assert "altered" in refused(packed(msgspec.msgpack.encode([kind, invite, seed])))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Nano"},
        {"name": ""},
        {"region": "no where"},
        {"ttl_s": 0},
        {"ttl_s": 10**9},
        {"addresses": ("nowhere",)},
        {"addresses": ("host:0",)},
        {"addresses": ("host:99999",)},
        {"addresses": ("a b:1",)},
        {"addresses": (":1",)},
        {"addresses": tuple(f"host:{port}" for port in range(1, 10))},
        {"roles": ("two words",)},
    ],
)
def test_a_person_who_wishes_nonsense_is_told(change: dict[str, object]) -> None:
    with pytest.raises(Invalid) as error:
        world.token_text(**change)
    assert error.value.next_step


def test_addresses_may_be_names_and_both_kinds_of_numbers() -> None:
    addresses = ("box.local:7447", "10.0.0.1:1", "[fe80::1]:65535")
    assert world.token(addresses=addresses).addresses == addresses


def test_an_invite_of_a_self_made_admin_opens_but_names_its_signer() -> None:
    stranger = RecordSigner(new_record_key())
    token = world.token(admin=stranger)
    signed, _ = read_invite(token.invite)
    check_invite_signature(signed, Ed25519Verifier())
    assert signed.by == stranger.public_key != world.ADMIN.public_key


@given(text=st.text(max_size=200))
def test_any_text_gives_a_token_or_a_local_error(text: str) -> None:
    for candidate in (text, "mj1." + text):
        with pytest.raises(LocalError):
            parse_token(candidate)


@given(carried=st.binary(max_size=400))
def test_any_bytes_in_a_sound_token_are_refused_as_altered(carried: bytes) -> None:
    assert "altered" in refused(packed(carried))


@given(invite=st.binary(max_size=400))
def test_any_bytes_for_an_invite_are_refused_by_name(invite: bytes) -> None:
    with pytest.raises(RemoteError) as error:
        read_invite(invite)
    assert error.value.reason in {"signed-malformed", "invite-malformed"}
