"""Fuzz target: what an unauthenticated joiner may send to the desk, and what an enroller may send to a joiner.

The first byte chooses the door: a request to the desk, an answer to the joiner, a greeting, a token as a person pasted
it, a bundle, a member record. The corpus holds honest ones of each, made to fit each other and the constants below.

Properties beside "only named refusals": the desk answers each request exactly once; nobody gets a certificate by a
request that says something else than the honest one; a refused request spends no invite. One desk hears many requests.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from meshnode.kernel.effects import Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Member
from meshnode.model.errors import LocalError, RemoteError
from meshnode.security.bundle import Bundle, read_bundle
from meshnode.security.desk import EnrolmentDesk
from meshnode.security.enrolment import read_answer, read_greeting
from meshnode.security.enrolment_letters import read_request
from meshnode.security.identity import Ed25519Verifier, RecordSigner
from meshnode.security.invite import parse_token
from meshnode.security.members import Members
from meshnode.security.messages import EnrolmentAsked, IssueLeaf, RefuseEnrolment

CORPUS = Path(__file__).parent / "corpus" / "enrolment"
NOW = Instant(0, 1_800_000_000_000)
NONCE, SERVER_LEAF = bytes(range(32)), bytes(range(32, 64))
ADMIN = RecordSigner(b"\x07" * 32)


def _honest(name: str) -> bytes:
    return (CORPUS / name).read_bytes()[1:]


HONEST_TOKEN = parse_token(_honest("token").decode())
HONEST_BUNDLE = read_bundle(_honest("bundle"), HONEST_TOKEN.root_sha256)
HONEST_REQUEST = read_request(_honest("request"))
VERIFIER = Ed25519Verifier()


def one_input(data: bytes) -> None:
    body = data[1:]
    match data[0] % 6 if data else 0:
        case 0:
            _ask_the_desk(body, _desk())
        case 1:
            _local(lambda: read_answer(body, HONEST_TOKEN))
        case 2:
            read_greeting(body)
        case 3:
            _local(lambda: parse_token(body.decode("utf-8", "replace")))
        case 4:
            _bundle(read_bundle(body, HONEST_TOKEN.root_sha256))
        case _:
            _member(body)


def _desk() -> EnrolmentDesk:
    return EnrolmentDesk(HONEST_BUNDLE.mesh, HONEST_BUNDLE.data, ADMIN, Members(HONEST_BUNDLE, VERIFIER), VERIFIER)


class Office:
    """One desk for many requests, until it has admitted somebody; at the end it still does."""

    def __init__(self) -> None:
        self._desk = _desk()

    def tell(self, data: bytes) -> None:
        if data and data[0] % 6:
            one_input(data)
            return
        _ask_the_desk(data[1:], self._desk)
        self._desk = _desk()

    def end(self) -> None:
        _ask_the_desk(_honest("request"), self._desk)


def _ask_the_desk(body: bytes, desk: EnrolmentDesk) -> None:
    (effect,) = desk.handle(EnrolmentAsked(1, body, NONCE, SERVER_LEAF), NOW)
    if isinstance(effect, RefuseEnrolment):
        assert not desk.is_used(HONEST_TOKEN.invite_id)
        raise RemoteError(effect.reason)
    assert isinstance(effect, Persist)
    (issue,) = effect.then
    assert isinstance(issue, IssueLeaf)
    assert read_request(body) == HONEST_REQUEST
    assert issue.name == HONEST_TOKEN.name


def _bundle(bundle: Bundle) -> None:
    assert (bundle.mesh, bundle.admins) == (HONEST_BUNDLE.mesh, HONEST_BUNDLE.admins)


def _member(body: bytes) -> None:
    verdict = Members(HONEST_BUNDLE, VERIFIER).admit(body)
    if not isinstance(verdict, Member):
        raise RemoteError(verdict)
    assert body == _honest("member")


def _local(ask: Callable[[], object]) -> None:
    """A person's error counts as a refusal by its name."""
    try:
        ask()
    except LocalError as error:
        raise RemoteError(error.code) from error


OPENS = Office

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("enrolment", one_input, CORPUS, OPENS))
