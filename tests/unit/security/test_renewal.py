"""A certificate's next one: when it is asked for, of whom, and who is refused."""

import pytest

from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import SECOND, ClockTrust, Instant
from meshnode.kernel.rng import fork
from meshnode.model.ids import NodeId
from meshnode.security import authority
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment import EnrolmentRefused, make_answer, make_renewal_request, read_renewed
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.messages import (
    CertificateChanged,
    EnrolmentAsked,
    IssueLeaf,
    LeafRenewed,
    RenewalFailed,
    RenewalWanted,
    RenewLeaf,
)
from meshnode.security.renewal import LATER_PART, WAIT_US, Leaf, Renewal
from tests.unit.security import world
from tests.unit.security.world import DAY_MS, NOW_MS, refusal

HOME = ("10.0.0.1", 7447)
LEAF = Leaf("ab", NOW_MS, NOW_MS + 7 * DAY_MS)
NEXT = LeafRenewed("cd", NOW_MS + 4 * DAY_MS, NOW_MS + 11 * DAY_MS)


def at(wall_ms: int) -> Instant:
    return Instant((wall_ms - NOW_MS + 1_000) * 1_000, wall_ms, ClockTrust.SYNCED)


def renewal(leaf: Leaf = LEAF, luck: bytes = b"1") -> Renewal:
    made = Renewal(leaf, MeshClock(0), fork(luck, "renewal"), name="alpha", enrollers=lambda: [HOME, HOME])
    made.start(at(NOW_MS))
    return made


def until(machine: Renewal, wall_ms: int) -> tuple[int, list[Effect]]:
    """Woken whenever it wants to be; when it first said something, and what."""
    while (due_us := machine.deadline()) is not None:
        now = Instant(due_us, NOW_MS - 1_000 + due_us // 1_000, ClockTrust.SYNCED)
        assert now.wall_ms <= wall_ms, "nothing by then"
        effects = machine.wake(now)
        if effects:
            return now.wall_ms, effects
    raise AssertionError("it wants nothing any more")


def texts(effects: list[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Note)]


@pytest.mark.parametrize("luck", [b"1", b"2", b"3"])
def test_it_is_asked_for_at_half_of_the_life_or_a_little_later(luck: bytes) -> None:
    when_ms, effects = until(renewal(luck=luck), LEAF.until_ms)
    part = (when_ms - LEAF.from_ms) / (LEAF.until_ms - LEAF.from_ms)
    assert 0.5 <= part <= 0.5 + 1 / LATER_PART + 0.01
    assert effects == [RenewLeaf((HOME,))]


def test_not_all_who_were_made_at_once_ask_at_once() -> None:
    assert len({until(renewal(luck=bytes([n])), LEAF.until_ms)[0] // 3_600_000 for n in range(20)}) > 3


def test_where_there_is_no_certificate_nothing_is_renewed() -> None:
    machine = renewal(Leaf())
    assert machine.deadline() is None
    assert machine.handle(RenewalWanted(), at(NOW_MS)) == []


def test_a_renewed_one_is_told_and_the_next_is_asked_for_at_half_of_its_life() -> None:
    machine = renewal()
    until(machine, LEAF.until_ms)
    told = machine.handle(NEXT, at(NEXT.from_ms))
    assert told[-1] == CertificateChanged() and "renewed, until 2027-01-26" in texts(told)[0]
    assert machine.leaf == Leaf("cd", NEXT.from_ms, NEXT.until_ms)
    when_ms, _ = until(machine, NEXT.until_ms)
    assert when_ms >= (NEXT.from_ms + NEXT.until_ms) // 2


def test_a_person_need_not_wait_and_only_one_is_under_way() -> None:
    machine = renewal()
    assert machine.handle(RenewalWanted(), at(NOW_MS)) == [RenewLeaf((HOME,))]
    assert machine.handle(RenewalWanted(), at(NOW_MS + 1)) == []


def test_a_refusal_is_told_once_and_asked_for_again_ever_more_rarely() -> None:
    machine = renewal()
    when_ms, _ = until(machine, LEAF.until_ms)
    waits: list[int] = []
    for number in range(9):
        told = machine.handle(RenewalFailed("banned"), at(when_ms))
        assert len(told) == (number == 0)
        before_ms = when_ms
        when_ms, effects = until(machine, when_ms + 2 * DAY_MS)
        assert effects == [RenewLeaf((HOME,))]
        waits.append(when_ms - before_ms)
    assert 30_000 <= waits[0] <= 60_000
    assert 1_800_000 <= waits[-1] <= 3_600_000


def test_a_host_that_never_answers_is_a_failure() -> None:
    machine = renewal()
    machine.handle(RenewalWanted(), at(NOW_MS))
    (told,) = texts(machine.wake(Instant(1_000_000 + WAIT_US, NOW_MS, ClockTrust.SYNCED)))
    assert "no answer" in told
    assert machine.deadline() is not None


def test_an_enroller_near_its_own_end_is_not_asked_every_minute() -> None:
    """What it gives is ever shorter."""
    machine = renewal()
    machine.handle(RenewalWanted(), at(NOW_MS))
    machine.handle(LeafRenewed("cd", NOW_MS, NOW_MS + 10_000), at(NOW_MS + 9_000))
    due_us = machine.deadline()
    assert due_us is not None and due_us >= 3600 * SECOND


# -- the desk ---------------------------------------------------------------------------------------------------------


class Asker:
    """A member with a new TLS key."""

    def __init__(self, name: str = "nano-7", signer: RecordSigner | None = None) -> None:
        self.signer = signer or RecordSigner(new_record_key())
        self.member = world.member_record(name, self.signer.public_key)
        self.csr = authority.make_csr(authority.new_tls_key(), self.signer.public_key)

    def asked(self, **changes: bytes) -> EnrolmentAsked:
        words = {"member": self.member, "csr": self.csr, "nonce": world.NONCE, "server": world.SERVER_LEAF} | changes
        body = make_renewal_request(words["member"], words["csr"], self.signer, words["nonce"], words["server"])
        return EnrolmentAsked(7, body, world.NONCE, world.SERVER_LEAF)


def answered(issue: IssueLeaf) -> bytes:
    chain = authority.issue_leaf(
        issue.csr, mesh=world.MESH, name=issue.name, record_key=issue.record_key, wall_ms=NOW_MS,
        enroller_key_pem=world.ENROLLER_KEY, enroller_cert_pem=world.ENROLLER,
    )  # fmt: skip
    return make_answer(chain, issue.member, issue.bundle, [])


def test_a_member_gets_its_next_certificate_however_long_it_slept() -> None:
    asker, desk = Asker(), world.desk()
    late = world.at(NOW_MS + 400 * DAY_MS)
    (issue,) = desk.handle(asker.asked(), late)
    assert isinstance(issue, IssueLeaf) and issue.again
    assert (issue.request_no, issue.name, issue.record_key) == (7, "nano-7", asker.signer.public_key)
    admission = read_renewed(answered(issue), world.bundle(), "nano-7")
    assert admission.member == asker.member


def test_whoever_answers_for_another_name_is_not_believed() -> None:
    (issue,) = world.desk().handle(Asker().asked(), world.NOW)
    assert isinstance(issue, IssueLeaf)
    with pytest.raises(EnrolmentRefused):
        read_renewed(answered(issue), world.bundle(), "nano-8")


def test_who_is_banned_gets_none() -> None:
    asker = Asker()
    banned: list[NodeId] = [asker.signer.node]
    desk = world.desk(banned=lambda node: node in banned)
    assert refusal(desk.handle(asker.asked(), world.NOW)) == "banned"
    banned.clear()
    assert isinstance(desk.handle(asker.asked(), world.NOW)[0], IssueLeaf)


def test_what_does_not_fit_is_refused_by_name() -> None:
    asker, other, desk = Asker(), Asker("nano-8"), world.desk()
    assert refusal(desk.handle(asker.asked(nonce=bytes(32)), world.NOW)) == "bad-proof"
    assert refusal(desk.handle(asker.asked(server=bytes(32)), world.NOW)) == "bad-proof"
    assert refusal(desk.handle(asker.asked(member=other.member), world.NOW)) == "of-another-node"
    assert refusal(desk.handle(asker.asked(csr=other.csr), world.NOW)) == "bad-csr"
    stranger = Asker(signer=RecordSigner(new_record_key()))
    forged = world.member_record("nano-9", stranger.signer.public_key, admin=RecordSigner(new_record_key()))
    assert refusal(desk.handle(stranger.asked(member=forged), world.NOW)) == "unknown-admin"
