"""The enroller's desk: decides who is admitted, never twice on one invite, and whose certificate is renewed.

Invariant: an invite is written down as used before anybody hears a yes. Signing the certificate draws on the system's
randomness, so the desk asks the host for it, after the commit.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Signer, Verifier
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.security.authority import check_csr
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment_letters import (
    RenewalRequest,
    Request,
    meaning,
    proofs_hold,
    read_request,
    renewal_holds,
    transcript,
)
from meshnode.security.identity import KEY_BYTES, node_id
from meshnode.security.invite import InviteBody, check_invite_signature, read_invite
from meshnode.security.members import Members, make_member
from meshnode.security.messages import EnrolmentAsked, IssueLeaf, RefuseEnrolment
from meshnode.security.signed import decode

ANSWER_AGAIN_MS = 10 * 60 * 1000
KEPT_AFTER_EXPIRY_MS = 24 * 3600 * 1000  # no clock error we tolerate brings an invite back that is this long expired
FORGOTTEN_AT_ONCE_MAX = 64


class _Used(msgspec.Struct, frozen=True, array_like=True, tag="used"):
    """Who used an invite. An empty ``member`` is never answered again: what the journal held could not be read."""

    record_key: bytes
    csr_sha256: bytes
    used_ms: int
    expires_ms: int
    member: bytes


class EnrolmentDesk:
    """Judges requests. ``admin`` is ``None`` on a node that cannot admit anybody.

    Args:
        bundle: root-signed, as carried; what a new node is given.
        restored: INVITE records of the journal.
        banned: members whose certificates nobody renews.
    """

    def __init__(
        self,
        mesh: str,
        bundle: bytes,
        admin: Signer | None,
        trust: Members,
        verifier: Verifier,
        restored: Sequence[Record] = (),
        *,
        clock: MeshClock | None = None,
        banned: Callable[[NodeId], bool] = lambda _node: False,
        used_max: int = 4096,
    ) -> None:
        self._mesh = mesh
        self._bundle = bundle
        self._admin = admin
        self._trust = trust
        self._verifier = verifier
        self._clock = clock or MeshClock(0)
        self._banned = banned
        self._used_max = used_max
        self._used: dict[bytes, _Used] = {}
        for record in restored:
            self._restore(record)

    def handle(self, event: EnrolmentAsked, now: Instant) -> list[Effect]:
        try:
            return self._judge(event, now)
        except RemoteError as refusal:
            return [RefuseEnrolment(event.request_no, refusal.reason, meaning(refusal.reason).message)]

    def wake(self, now: Instant) -> list[Effect]:  # noqa: ARG002 - the desk has no deadlines, and is still a machine
        return []

    def deadline(self) -> int | None:
        return None

    def is_used(self, invite_id: bytes) -> bool:
        return invite_id in self._used

    def _judge(self, event: EnrolmentAsked, now: Instant) -> list[Effect]:
        if self._admin is None:
            raise RemoteError("not-an-enroller")
        request = read_request(event.body)
        if isinstance(request, RenewalRequest):
            return [self._renewed(request, event)]
        invite = self._check_invite(request, now)
        self._check_request(request, invite, event)
        used = self._used.get(invite.invite_id)
        if used is None:
            return self._admit(self._admin, event.request_no, request, invite, now)
        if not self._is_lost_answer(used, request, now):
            raise RemoteError("invite-used")
        return self._grant(event.request_no, request, invite, used, ())

    def _renewed(self, request: RenewalRequest, event: EnrolmentAsked) -> IssueLeaf:
        """Who an admin made a member stays one, however long it slept, until a policy says otherwise: nothing has to
        be written down for it."""
        if not renewal_holds(request, transcript(event.nonce, event.server_leaf_sha256, request.csr), self._verifier):
            raise RemoteError("bad-proof")
        member = self._trust.admit(request.member)
        if isinstance(member, str):
            raise RemoteError(member)
        if member.public_key != request.record_key:
            raise RemoteError("of-another-node")
        if self._banned(member.node):
            raise RemoteError("banned")
        check_csr(request.csr, request.record_key)
        return IssueLeaf(
            event.request_no, request.csr, member.name, request.record_key, member.record, self._bundle, again=True
        )

    def _check_invite(self, request: Request, now: Instant) -> InviteBody:
        try:
            signed, invite = read_invite(request.invite)
        except RemoteError as error:
            raise RemoteError("altered", error.reason) from error
        if invite.mesh != self._mesh:
            raise RemoteError("wrong-mesh", invite.mesh)
        if signed.by not in self._trust.bundle.admins:
            raise RemoteError("unknown-admin")
        try:
            check_invite_signature(signed, self._verifier)
        except RemoteError as error:
            raise RemoteError("altered", error.reason) from error
        if self._clock.now_ms(now) >= invite.expires_ms:
            raise RemoteError("expired")
        return invite

    def _check_request(self, request: Request, invite: InviteBody, event: EnrolmentAsked) -> None:
        statement = transcript(event.nonce, event.server_leaf_sha256, request.csr)
        if not proofs_hold(request, invite.one_time_key, statement, self._verifier):
            raise RemoteError("bad-proof")
        check_csr(request.csr, request.record_key)

    def _admit(
        self, admin: Signer, request_no: int, request: Request, invite: InviteBody, now: Instant
    ) -> list[Effect]:
        self._check_newcomer(invite.name, request.record_key)
        at_ms = self._clock.now_ms(now)
        forgotten = self._forget_expired(at_ms)
        if len(self._used) >= self._used_max:
            raise RemoteError("desk-full")
        member = make_member(
            admin,
            mesh=self._mesh,
            name=invite.name,
            record_key=request.record_key,
            roles=invite.roles,
            region=invite.region,
            labels={},
            issued_ms=self._trust.issue_ms(node_id(request.record_key), at_ms),
            invite_id=invite.invite_id,
        )
        admitted = self._trust.admit(member)
        if isinstance(admitted, str):
            raise RemoteError(admitted)
        csr_sha256 = hashlib.sha256(request.csr).digest()
        used = _Used(request.record_key, csr_sha256, at_ms, invite.expires_ms, member)
        self._used[invite.invite_id] = used
        return self._grant(request_no, request, invite, used, forgotten)

    def _check_newcomer(self, name: str, record_key: bytes) -> None:
        """The same key under the same name may come again on a new invite, when its certificate has lapsed."""
        namesake = self._trust.by_name(name)
        if namesake is not None and namesake.public_key != record_key:
            raise RemoteError("duplicate-name", name)
        known = self._trust.member(node_id(record_key))
        if known is not None and known.name != name:
            raise RemoteError("duplicate-key", known.name)

    def _is_lost_answer(self, used: _Used, request: Request, now: Instant) -> bool:
        same = used.record_key == request.record_key and used.csr_sha256 == hashlib.sha256(request.csr).digest()
        return bool(used.member) and same and abs(self._clock.now_ms(now) - used.used_ms) <= ANSWER_AGAIN_MS

    def _grant(
        self, request_no: int, request: Request, invite: InviteBody, used: _Used, forgotten: tuple[Record, ...]
    ) -> list[Effect]:
        """An answer given again is persisted again: the first commit may still be under way."""
        record = Record(RecordKind.INVITE, invite.invite_id, msgspec.msgpack.encode(used))
        issue = IssueLeaf(request_no, request.csr, invite.name, request.record_key, used.member, self._bundle)
        return [Persist((record, *forgotten), then=(issue,))]

    def _forget_expired(self, at_ms: int) -> tuple[Record, ...]:
        expired = [key for key, used in self._used.items() if used.expires_ms + KEPT_AFTER_EXPIRY_MS < at_ms]
        for key in expired[:FORGOTTEN_AT_ONCE_MAX]:
            del self._used[key]
        return tuple(Record(RecordKind.INVITE, key, b"") for key in expired[:FORGOTTEN_AT_ONCE_MAX])

    def _restore(self, record: Record) -> None:
        if record.kind is not RecordKind.INVITE or not record.body:
            return
        try:
            used = decode(record.body, _Used, "used-malformed")
        except RemoteError:
            used = _Used(bytes(KEY_BYTES), b"", 0, 1 << 53, b"")  # unreadable: used for ever, answered never
        self._used[record.key] = used
        if used.member:
            self._trust.admit(used.member)
