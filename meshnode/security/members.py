"""Who belongs to the mesh: member records signed by admins, and the table of those this node has admitted."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from meshnode.kernel.ports import Member, Signer, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.security.bundle import Bundle
from meshnode.security.identity import KEY_BYTES, node_id
from meshnode.security.names import valid_labels, valid_name, valid_region, valid_roles
from meshnode.security.signed import Signed, check_signature, decode, read_signed, seal

RECORD_BYTES_MAX = 4096
SHARED_MAX = 4096
INVITE_ID_BYTES = 16
_CONTEXT = "member"
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class MemberBody(msgspec.Struct, frozen=True, array_like=True, tag="member"):
    """What an admin says about one node. ``invite_id`` is empty for the founder."""

    mesh: str
    name: str
    record_key: bytes
    roles: tuple[str, ...]
    region: str
    labels: dict[str, str]
    issued_ms: int
    invite_id: bytes = b""


def make_member(
    admin: Signer,
    *,
    mesh: str,
    name: str,
    record_key: bytes,
    roles: tuple[str, ...],
    region: str,
    labels: dict[str, str],
    issued_ms: int,
    invite_id: bytes = b"",
) -> bytes:
    """Sign a member record. Deterministic: equal arguments give equal bytes."""
    sorted_labels = dict(sorted(labels.items()))
    body = MemberBody(mesh, name, record_key, roles, region, sorted_labels, issued_ms, invite_id)
    assert _fits(body)
    return seal(admin, _CONTEXT, msgspec.msgpack.encode(body))


class _Row(msgspec.Struct, frozen=True, gc=False):
    member: Member
    issued_ms: int

    @property
    def order(self) -> tuple[int, bytes]:
        """Of two that one admin signed the higher one is in force, whatever order they came in."""
        return (self.issued_ms, read_signed(self.member.record, RECORD_BYTES_MAX).body)

    @property
    def by(self) -> bytes:
        """The admin's key."""
        return read_signed(self.member.record, RECORD_BYTES_MAX).by


class _Shared:
    """What thousands of members have in common is kept once."""

    def __init__(self) -> None:
        self._regions: dict[str, str] = {}
        self._roles: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._labels: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def region(self, region: str) -> str:
        return _once(self._regions, region, region)

    def roles(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        return _once(self._roles, roles, roles)

    def labels(self, labels: dict[str, str]) -> dict[str, str]:
        return _once(self._labels, tuple(labels.items()), labels)


class Members:
    """The table of admitted members; implements ``kernel.ports.Trust``.

    The first record key to hold a name keeps it: a second key under the same name is refused and both are noted,
    because one invite used on two sides of a cut, or a stolen enroller, looks just like that.

    What one admin signs is in order: his newest record replaces the others. What another one signs he may not have
    known: both are kept, and the member has the roles that both give it.
    """

    def __init__(
        self, bundle: Bundle, verifier: Verifier, *, members_max: int = 16_384, conflicts_max: int = 256
    ) -> None:
        self._bundle = bundle
        self._verifier = verifier
        self._members_max = members_max
        self._conflicts_max = conflicts_max
        self._rows: dict[NodeId, _Row] = {}
        self._names: dict[str, NodeId] = {}
        self._shared = _Shared()
        self._apart: dict[NodeId, dict[bytes, _Row]] = {}  # versions by admin, of those with more than one
        self._conflicts: dict[str, dict[NodeId, None]] = {}

    @property
    def bundle(self) -> Bundle:
        """The bundle whose admins are believed."""
        return self._bundle

    def __len__(self) -> int:
        return len(self._rows)

    def admit(self, record: bytes) -> Member | str:
        """Check an admin-signed member record and remember it: the member in force, or the name of the refusal."""
        try:
            return self._admit(record)
        except RemoteError as refusal:
            return refusal.reason

    def member(self, node: NodeId) -> Member | None:
        row = self._rows.get(node)
        return row.member if row else None

    def by_name(self, name: str) -> Member | None:
        node = self._names.get(name)
        return None if node is None else self.member(node)

    def all(self) -> list[Member]:
        """Everybody admitted, by name."""
        return [self._rows[self._names[name]].member for name in sorted(self._names)]

    def conflicts(self) -> dict[str, tuple[NodeId, ...]]:
        """Names claimed by more than one key; the first of each is the one in force."""
        return {name: tuple(nodes) for name, nodes in sorted(self._conflicts.items())}

    def _admit(self, record: bytes) -> Member:
        signed = read_signed(record, RECORD_BYTES_MAX)
        body = self._judged(signed)
        node = node_id(body.record_key)
        held = self._rows.get(node)
        versions = self._versions(node)
        before = versions.get(signed.by)
        if held and before and before.order >= (body.issued_ms, signed.body):
            return held.member
        roles, region = self._shared.roles(body.roles), self._shared.region(body.region)
        labels = self._shared.labels(body.labels)
        member = Member(node, body.name, body.record_key, roles, region, labels, record)
        versions = {**versions, signed.by: _Row(member, body.issued_ms)}
        row = _in_force(versions)
        self._claim_name(row.member.name, node, held)
        self._rows[node] = row
        if len(versions) > 1:
            self._apart[node] = versions
        return row.member

    def issue_ms(self, node: NodeId, at_ms: int) -> int:
        """When the next record about a node is to say that it was signed: later than those before, whatever the clock
        says."""
        return max([at_ms, *(row.issued_ms + 1 for row in self._versions(node).values())])

    def _versions(self, node: NodeId) -> dict[bytes, _Row]:
        held = self._rows.get(node)
        return {} if held is None else self._apart.get(node) or {held.by: held}

    def _judged(self, signed: Signed) -> MemberBody:
        if signed.by not in self._bundle.admins:
            raise RemoteError("unknown-admin")
        check_signature(signed, _CONTEXT, self._verifier)
        body = decode(signed.body, MemberBody, "member-malformed")
        if body.mesh != self._bundle.mesh:
            raise RemoteError("wrong-mesh", body.mesh)
        if not _fits(body):
            raise RemoteError("member-malformed", "a field is out of bounds")
        return body

    def _claim_name(self, name: str, node: NodeId, held: _Row | None) -> None:
        holder = self._names.get(name)
        if holder is not None and holder != node:
            self._note_conflict(name, holder, node)
            raise RemoteError("duplicate-name", name)
        if held is None and len(self._rows) >= self._members_max:
            raise RemoteError("members-full")
        if held is not None:
            del self._names[held.member.name]
        self._names[name] = node

    def _note_conflict(self, name: str, holder: NodeId, claimant: NodeId) -> None:
        if name not in self._conflicts and len(self._conflicts) >= self._conflicts_max:
            return
        noted = self._conflicts.setdefault(name, {holder: None})
        if len(noted) < self._conflicts_max:
            noted[claimant] = None


def _in_force(versions: Mapping[bytes, _Row]) -> _Row:
    """The newest one, with the roles that all of them give."""
    newest = max(versions.values(), key=lambda row: row.order)
    given = newest.member.roles
    roles = tuple(role for role in given if all(role in row.member.roles for row in versions.values()))
    return newest if roles == given else _Row(msgspec.structs.replace(newest.member, roles=roles), newest.issued_ms)


def _once(known: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> ValueT:
    return known.setdefault(key, value) if len(known) < SHARED_MAX else known.get(key, value)


def _fits(body: MemberBody) -> bool:
    return (
        valid_name(body.name)
        and valid_name(body.mesh)
        and len(body.record_key) == KEY_BYTES
        and valid_roles(body.roles)
        and valid_region(body.region)
        and valid_labels(body.labels)
        and 0 <= body.issued_ms < 1 << 53
        and len(body.invite_id) in {0, INVITE_ID_BYTES}
    )
