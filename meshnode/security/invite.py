"""Invites and the tokens that carry them to a new machine.

    "mj1." + base64url( u16 length | msgpack [invite signed by an admin, one-time key seed] | 4 bytes of SHA-256 )

The invite says everything, under one signature: which mesh, which root, which name and roles, until when, where to
knock, and the public half of a one-time key. The seed is its private half and is only ever used to sign: no secret
crosses the wire, and no enroller has to store one. The length and the checksum tell a token cut in two from one
with a typing mistake.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence

import msgspec

from meshnode.kernel.ports import Signer, Verifier
from meshnode.model.errors import Invalid, RemoteError
from meshnode.security.identity import KEY_BYTES, Ed25519Verifier, RecordSigner
from meshnode.security.members import INVITE_ID_BYTES
from meshnode.security.names import check_name, valid_name, valid_region, valid_roles
from meshnode.security.secret import Secret
from meshnode.security.signed import Signed, check_signature, decode, read_signed, seal

PREFIX = "mj1."
TOKEN_CHARACTERS_MAX = 4096
INVITE_BYTES_MAX = 2048
ADDRESSES_MAX = 8
ADDRESS_CHARACTERS_MAX = 128
TTL_S_MAX = 30 * 24 * 3600
ENTROPY_BYTES = KEY_BYTES + INVITE_ID_BYTES
_CONTEXT = "invite"
_CHECKSUM_BYTES = 4
_TIME_MAX = 1 << 53
_AGAIN = "copy the whole token once more, from 'mj1.' to its end, or ask for a new one with `meshnode invite`"


class InviteBody(msgspec.Struct, frozen=True, array_like=True, tag="invite"):
    """What an admin promises: whoever holds the private half of ``one_time_key`` may come in as ``name``."""

    mesh: str
    name: str
    roles: tuple[str, ...]
    region: str
    invite_id: bytes
    one_time_key: bytes
    issued_ms: int
    expires_ms: int
    root_sha256: bytes
    addresses: tuple[str, ...]


class _Carried(msgspec.Struct, frozen=True, array_like=True, tag="token"):
    invite: bytes
    seed: bytes


class Token(msgspec.Struct, frozen=True):
    """An opened token. ``invite``: the signed invite as carried; ``addresses``: "HOST:PORT" of nodes to ask."""

    mesh: str
    name: str
    roles: tuple[str, ...]
    region: str
    addresses: tuple[str, ...]
    root_sha256: bytes
    invite_id: bytes
    expires_ms: int
    invite: bytes
    seed: Secret


def make_token(  # noqa: PLR0913 - an invite says many things, all by keyword
    admin: Signer,
    *,
    mesh: str,
    name: str,
    roles: Sequence[str],
    region: str,
    addresses: Sequence[str],
    root_sha256: bytes,
    entropy: bytes,
    now_ms: int,
    ttl_s: int,
) -> str:
    """Invite one machine. Equal arguments give an equal token: all luck is in ``entropy`` (48 bytes).

    Raises:
        Invalid: a name, region, address or time that breaks a rule.
    """
    assert len(entropy) == ENTROPY_BYTES
    seed, invite_id = entropy[:KEY_BYTES], entropy[KEY_BYTES:]
    _check_wishes(name, region, ttl_s)
    body = InviteBody(
        mesh,
        name,
        tuple(roles),
        region,
        invite_id,
        RecordSigner(seed).public_key,
        now_ms,
        now_ms + ttl_s * 1000,
        root_sha256,
        tuple(addresses),
    )
    if not _fits(body):
        raise Invalid("the invite breaks a limit", next_step=f"give at most {ADDRESSES_MAX} addresses of HOST:PORT")
    invite = seal(admin, _CONTEXT, msgspec.msgpack.encode(body))
    carried = msgspec.msgpack.encode(_Carried(invite, seed))
    packed = len(carried).to_bytes(2) + carried
    packed += hashlib.sha256(packed).digest()[:_CHECKSUM_BYTES]
    return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def parse_token(text: str) -> Token:
    """Open a token as a person pasted it; white space and line breaks in it do not matter.

    Raises:
        Invalid: not a token, cut short, altered, or too long; the message says which.
    """
    carried = _unpack(_packed(text))
    try:
        content = decode(carried, _Carried, "token-malformed")
        signed, body = read_invite(content.invite)
        check_invite_signature(signed, Ed25519Verifier(cache_max=1))
        seed_fits = len(content.seed) == KEY_BYTES and RecordSigner(content.seed).public_key == body.one_time_key
    except RemoteError as error:
        raise _altered() from error
    if not seed_fits:
        raise _altered()
    return Token(
        body.mesh,
        body.name,
        body.roles,
        body.region,
        body.addresses,
        body.root_sha256,
        body.invite_id,
        body.expires_ms,
        content.invite,
        Secret(content.seed),
    )


def read_invite(invite: bytes) -> tuple[Signed, InviteBody]:
    """The envelope and what it says. Nothing is verified yet.

    Raises:
        RemoteError: ``invite-malformed``, ``signed-malformed`` or ``signed-too-long``.
    """
    signed = read_signed(invite, INVITE_BYTES_MAX)
    body = decode(signed.body, InviteBody, "invite-malformed")
    if not _fits(body):
        raise RemoteError("invite-malformed", "a field is out of bounds")
    return signed, body


def check_invite_signature(signed: Signed, verifier: Verifier) -> None:
    """Whether ``signed.by`` really signed it; whether that is an admin is another question."""
    check_signature(signed, _CONTEXT, verifier)


def _packed(text: str) -> bytes:
    if len(text) > 2 * TOKEN_CHARACTERS_MAX:
        raise _too_long(len(text))
    token = "".join(text.split())
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise _too_long(len(token))
    if not token.startswith(PREFIX):
        raise Invalid(f"this is not an invite token: it does not begin with '{PREFIX}'", next_step=_AGAIN)
    payload = token[len(PREFIX) :]
    if len(payload) % 4 == 1:
        raise _truncated()
    try:
        return base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _altered() from error


def _unpack(packed: bytes) -> bytes:
    end = 2 + int.from_bytes(packed[:2])
    if len(packed) < end + _CHECKSUM_BYTES:
        raise _truncated()
    if len(packed) > end + _CHECKSUM_BYTES or hashlib.sha256(packed[:end]).digest()[:_CHECKSUM_BYTES] != packed[end:]:
        raise _altered()
    return packed[2:end]


def _altered() -> Invalid:
    return Invalid("this invite token was altered: it is not what an admin signed", next_step=_AGAIN)


def _truncated() -> Invalid:
    return Invalid("this invite token is cut short: its end is missing", next_step=_AGAIN)


def _too_long(characters: int) -> Invalid:
    message = f"this is not an invite token: it has {characters} characters, the limit is {TOKEN_CHARACTERS_MAX}"
    return Invalid(message, next_step=_AGAIN)


def _check_wishes(name: str, region: str, ttl_s: int) -> None:
    check_name(name)
    if not valid_region(region):
        raise Invalid(f"{region!r} cannot name a region", next_step="use one word of letters, digits, '-', '_' and '.'")
    if not 0 < ttl_s <= TTL_S_MAX:
        raise Invalid(f"an invite cannot live for {ttl_s} s", next_step=f"use 1 to {TTL_S_MAX} seconds")


def _fits(body: InviteBody) -> bool:
    return (
        valid_name(body.mesh)
        and valid_name(body.name)
        and valid_roles(body.roles)
        and valid_region(body.region)
        and len(body.invite_id) == INVITE_ID_BYTES
        and len(body.one_time_key) == KEY_BYTES
        and 0 <= body.issued_ms <= body.expires_ms < _TIME_MAX
        and len(body.root_sha256) == 32
        and len(body.addresses) <= ADDRESSES_MAX
        and all(_is_address(address) for address in body.addresses)
    )


def _is_address(address: str) -> bool:
    """ "HOST:PORT" in plain characters; an IPv6 host stands in brackets."""
    host, _, port = address.rpartition(":")
    plain = len(address) <= ADDRESS_CHARACTERS_MAX and address.isascii() and address.isprintable()
    return plain and bool(host) and " " not in host and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
