"""Joining over real sockets: the founder's desk behind a real transport, a stranger with a token."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from meshnode.host import enrolment, keystore
from meshnode.host.credentials import Credentials
from meshnode.host.enrolment import VISITS_MAX, framed
from meshnode.host.joining import NobodyAdmits, enrol
from meshnode.host.keystore import AlreadyAMember, CannotStore
from meshnode.host.transport import Told
from meshnode.kernel.effects import Persist
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.links.messages import LinkOpened
from meshnode.model.errors import Invalid
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment import EnrolmentDesk, EnrolmentRefused
from meshnode.security.identity import Ed25519Verifier
from meshnode.security.invite import make_token
from meshnode.security.members import Members
from meshnode.security.messages import EnrolmentAsked, IssueLeaf
from meshnode.security.tls import enrolment_client_context
from tests.real.transport_kit import WALL_MS, Node, found, link_up, member_of, running

pytestmark = pytest.mark.real


@dataclass
class Enroller:
    """The founder: its node, and its desk fed as the core would feed it (``Persist`` counts as durable at once)."""

    node: Node
    desk: EnrolmentDesk
    wall_ms: int = WALL_MS
    tokens: int = 0

    def __post_init__(self) -> None:
        self.node.hear = self._hear
        self.perform = self.node.transport.perform

    def _hear(self, event: Told) -> None:
        if isinstance(event, EnrolmentAsked):
            asyncio.get_running_loop().call_soon(self._judge, event)

    def _judge(self, event: EnrolmentAsked) -> None:
        for effect in self.desk.handle(event, Instant(0, self.wall_ms, ClockTrust.SYNCED)):
            for performed in effect.then if isinstance(effect, Persist) else (effect,):
                self.perform(performed)

    def token(self, name: str, *, ttl_s: int = 600, addresses: tuple[str, ...] = ()) -> str:
        self.tokens += 1
        identity = self.node.identity
        assert identity.admin is not None
        return make_token(
            identity.admin,
            mesh=identity.mesh,
            name=name,
            roles=("member",),
            region="there",
            addresses=addresses or (f"127.0.0.1:{self.node.port}",),
            root_sha256=identity.bundle.root_sha256,
            entropy=bytes((self.tokens,)) * 48,
            now_ms=self.wall_ms,
            ttl_s=ttl_s,
        )


Story = Callable[[Enroller], Awaitable[None]]
Play = Callable[[Story], None]


@contextlib.asynccontextmanager
async def _enrolling(directory: Path, name: str = "alder") -> AsyncIterator[Enroller]:
    identity = found(directory, name)
    async with running(identity) as node:
        verifier = Ed25519Verifier()
        trust = Members(identity.bundle, verifier)
        trust.admit(identity.member_record)
        desk = EnrolmentDesk(identity.mesh, identity.bundle.data, identity.admin, trust, verifier)
        yield Enroller(node, desk)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Story) -> None:
        async def scene() -> None:
            async with _enrolling(tmp_path / "founder") as enroller:
                await story(enroller)

        asyncio.run(scene())

    return run


def test_a_token_makes_a_member_who_can_link_at_once(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        identity = await enrol(enroller.token("birch"), tmp_path / "b", wall_ms=WALL_MS, dial_from="127.0.1.3")
        assert (identity.name, identity.region, identity.roles) == ("birch", "there", ("member",))
        assert identity.mesh == enroller.node.identity.mesh
        assert identity.admin is None
        assert identity.enroller is None
        assert identity.seeds == (("127.0.0.1", enroller.node.port),)
        assert keystore.load(tmp_path / "b").node == identity.node
        async with running(identity) as b:
            out, into = await link_up(b, enroller.node)
            assert (out.peer, into.peer) == (enroller.node.identity.node, identity.node)
        assert enroller.node.counters["enrol-admitted"] == 1

    play(story)


def test_a_used_token_admits_nobody_else(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        token = enroller.token("birch")
        await enrol(token, tmp_path / "b", wall_ms=WALL_MS)
        with pytest.raises(EnrolmentRefused, match="has been used") as caught:
            await enrol(token, tmp_path / "c", wall_ms=WALL_MS)
        assert (caught.value.code, caught.value.exit_code) == ("invite-used", 4)
        assert not (tmp_path / "c").exists()
        assert enroller.node.counters["enrol-refused-invite-used"] == 1

    play(story)


def test_an_expired_token_is_refused_with_what_to_do(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        token = enroller.token("birch", ttl_s=60)
        enroller.wall_ms += 61_000
        with pytest.raises(EnrolmentRefused, match="has expired") as caught:
            await enrol(token, tmp_path / "b", wall_ms=WALL_MS)
        assert "meshnode invite" in caught.value.next_step
        assert not (tmp_path / "b").exists()

    play(story)


@pytest.mark.parametrize("position", [10, 200, -3])
def test_an_altered_token_never_leaves_this_machine(play: Play, tmp_path: Path, position: int) -> None:
    async def story(enroller: Enroller) -> None:
        token = enroller.token("birch")
        wrong = "A" if token[position] != "A" else "B"
        altered = token[:position] + wrong + token[position:][1:]
        with pytest.raises(Invalid, match=r"altered|cut short"):
            await enrol(altered, tmp_path / "b", wall_ms=WALL_MS)
        assert enroller.node.counters["inbound-accepted"] == 0

    play(story)


def test_a_taken_name_is_refused(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        await enrol(enroller.token("birch"), tmp_path / "b", wall_ms=WALL_MS)
        with pytest.raises(EnrolmentRefused) as caught:
            await enrol(enroller.token("birch"), tmp_path / "c", wall_ms=WALL_MS)
        assert caught.value.code == "duplicate-name"

    play(story)


def test_another_mesh_at_the_address_is_noticed_before_anything_is_said(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        async with _enrolling(tmp_path / "other", "other") as other:
            token = enroller.token("birch", addresses=(f"127.0.0.1:{other.node.port}",))
            with pytest.raises(NobodyAdmits, match="root-mismatch"):
                await enrol(token, tmp_path / "b", wall_ms=WALL_MS)
            assert other.node.counters["enrol-asked"] == 0
        assert not (tmp_path / "b").exists()

    play(story)


def test_every_address_is_tried_in_order_and_each_failure_is_told(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            dead = f"127.0.0.1:{closed.getsockname()[1]}"
            good = f"127.0.0.1:{enroller.node.port}"
            plain = member_of(enroller.node.identity, tmp_path / "plain", "plain")
            async with running(plain) as member:  # a member, but no enroller
                useless = f"127.0.0.1:{member.port}"
                lost = enroller.token("birch", addresses=(dead, "no.such.host.invalid:7", useless))
                with pytest.raises(NobodyAdmits) as caught:
                    await enrol(lost, tmp_path / "b", wall_ms=WALL_MS + 10**9)
                lines = caught.value.message.splitlines()
                assert "expired" in lines[0]
                assert [line.split(":")[0].strip() for line in lines[1:]] == [
                    "127.0.0.1",
                    "no.such.host.invalid",
                    "127.0.0.1",
                ]
                assert "refused" in lines[1]
                assert "handshake-" in lines[3]
                assert caught.value.exit_code == 6
                await member.counted("hello-alpn")
                token = enroller.token("cedar", addresses=(dead, useless, good))
                assert (await enrol(token, tmp_path / "c", wall_ms=WALL_MS)).name == "cedar"

    play(story)


def test_an_existing_identity_is_never_overwritten(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        before = found(tmp_path / "b", "birch")
        with pytest.raises(AlreadyAMember):
            await enrol(enroller.token("cedar"), tmp_path / "b", wall_ms=WALL_MS)
        assert keystore.load(tmp_path / "b").node == before.node
        assert enroller.node.counters["inbound-accepted"] == 0

    play(story)


def test_a_member_that_cannot_be_written_down_leaves_nothing(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(enroller: Enroller) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        token = enroller.token("birch")
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(CannotStore, match="No space left"):
            await enrol(token, tmp_path / "b", wall_ms=WALL_MS)
        assert not (tmp_path / "b").exists()

    play(story)


def _stranger(port: int, send: bytes) -> bytes:
    """A visitor with a mind of its own; everything it got to read, the greeting first."""
    context = enrolment_client_context(None)
    read = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        secure = context.wrap_socket(plain)
        with secure:
            read = secure.recv(65536)
            secure.sendall(send)
            while piece := secure.recv(65536):
                read += piece
    return read


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        ((1 << 31).to_bytes(4) + b"x", "enrol-too-long"),
        (bytes(17_000), "enrol-chatter"),
        (framed(b"{}")[:3], "enrol-timeout"),
        (framed(b"[" * 10_000), "enrol-refused-malformed"),
        (framed(b"\xff"), "enrol-refused-malformed"),
    ],
    ids=["a length of 2 GiB", "too many bytes", "half a length", "deep JSON", "no text"],
)
def test_a_visitor_with_a_bad_request_gets_a_name_and_the_door(
    play: Play, send: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "enrol-timeout":
        monkeypatch.setattr(enrolment, "VISIT_S", 0.5)  # from five

    async def story(enroller: Enroller) -> None:
        read = await asyncio.to_thread(_stranger, enroller.node.port, send)
        assert b'"greeting"' in read
        await enroller.node.counted(reason)
        assert (b"malformed" in read) is reason.startswith("enrol-refused")
        assert enroller.node.counters["enrol-admitted"] == 0

    play(story)


def test_whoever_comes_when_the_door_is_full_waits_for_a_turn(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        writers: list[asyncio.StreamWriter] = []  # a writer that nobody holds closes its connection
        for number in range(VISITS_MAX):
            opened = await asyncio.open_connection(
                "127.0.0.1",
                enroller.node.port,
                ssl=enrolment_client_context(None),
                server_hostname="",
                local_addr=(f"127.0.2.{number + 1}", 0),
            )
            assert b'"greeting"' in await opened[0].readuntil(b"}")
            writers.append(opened[1])
        async with asyncio.TaskGroup() as tasks:
            joining = tasks.create_task(enrol(enroller.token("birch"), tmp_path / "b", wall_ms=WALL_MS))
            await enroller.node.counted("inbound-accepted", VISITS_MAX + 1)
            _, waiting = await asyncio.wait([joining], timeout=0.2)
            assert waiting
            for writer in writers:
                writer.transport.abort()
        assert joining.result().name == "birch"

    play(story)


def test_the_enrolment_door_leads_to_no_link(play: Play) -> None:
    async def story(enroller: Enroller) -> None:
        await asyncio.to_thread(_stranger, enroller.node.port, framed(b"{}"))
        assert not [event for event in enroller.node.events if isinstance(event, LinkOpened)]

    play(story)


def test_a_member_record_for_somebody_else_is_not_accepted_by_the_joiner(play: Play, tmp_path: Path) -> None:
    async def story(enroller: Enroller) -> None:
        other = member_of(enroller.node.identity, tmp_path / "other", "other")
        perform = enroller.perform

        def swap(effect: IssueLeaf) -> None:
            perform(msgspec.structs.replace(effect, member=other.member_record))

        enroller.perform = swap
        with pytest.raises(NobodyAdmits, match="cannot be accepted"):
            await enrol(enroller.token("birch"), tmp_path / "b", wall_ms=WALL_MS)
        assert not (tmp_path / "b").exists()

    play(story)


def test_credentials_without_an_enroller_have_no_enrolment_side(tmp_path: Path) -> None:
    founder = found(tmp_path / "a")
    member = member_of(founder, tmp_path / "b", "birch")
    clock, now = MeshClock(WALL_MS), Instant(0, WALL_MS)
    assert Credentials.of(founder, clock, lambda: now).enrol_server is not None
    assert Credentials.of(member, clock, lambda: now).enrol_server is None
