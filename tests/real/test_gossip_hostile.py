"""An enrolled member that breaks the rules of gossip over a real link, and what the operator of another node reads.

The daemons are real, and so are the liar's certificate and its link; what it says is made and signed here.
"""

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
import pytest

from meshnode.gossip import alerts, directory, facts, letters
from meshnode.gossip.alerts import Alert
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.facts import FactBody
from meshnode.gossip.letters import (
    AlertRumour,
    Doubt,
    Letter,
    Pull,
    Push,
    RowRumour,
    Rows,
    SignedFact,
    SignedRow,
    SoftBatch,
)
from meshnode.gossip.verdict import Evidence
from meshnode.host import keystore
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.registry.offers import LOAD_KEY
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.members import make_member
from tests.real.daemon_kit import ROOT, Daemon, Daemons, cli, until

pytestmark = pytest.mark.real

HEARD_S = 10.0
GULLIBLE = ("-m", "tests.faults.daemon", "forged-record")
HONEST = ("alpha", "beta", "gamma")


class Liar:
    """The process of the hostile member, and the keys it signs with."""

    def __init__(self, folder: Path, victim: Daemon) -> None:
        self.folder, self.identity = folder, keystore.load(folder)
        self.signer = self.identity.signer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.real.hostile_member", str(folder), victim.listen],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._said = self._process.stdin
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        self.rows: dict[NodeId, SignedRow] = {}  # as they came, the first of each node
        self._awaits(lambda line: line == "up")
        self.say(self.row(1))

    def _listen(self, out: IO[str]) -> None:
        for line in out:
            self._lines.put(line.strip())

    def _awaits(self, holds: Callable[[str], bool]) -> None:
        end = time.monotonic() + HEARD_S
        while True:
            line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            if line.startswith("heard "):
                self._keep(bytes.fromhex(line.removeprefix("heard ")))
            if holds(line):
                return

    def _keep(self, body: bytes) -> None:
        for row in rows_in(body):
            self.rows.setdefault(NodeId(directory.read(row.body).node), row)

    def knows(self, node: NodeId) -> SignedRow:
        """The first row of a node that came."""
        if node not in self.rows:
            self.say(Pull(0, [node]))
            self._awaits(lambda _: node in self.rows)
        return self.rows[node]

    def say(self, *said: Letter | bytes) -> None:
        for each in said:
            body = each if isinstance(each, bytes) else letters.encode(each)
            self._said.write(body.hex() + "\n")
        self._said.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    # -- what it signs ------------------------------------------------------------------------------------------------

    def row(self, boot: int) -> Push:
        body = directory.encode_row(Row(self.identity.node, boot, 0, Status.ALIVE, (("127.0.0.1", 9),), b"{}", 0))
        signature = self.signer.sign(directory.CONTEXT, body)
        return Push(letters.encode(RowRumour(SignedRow(body, signature, self.identity.member_record))))

    def row_of(self, other: SignedRow) -> Rows:
        """Another node has left for good: so says this one's key."""
        told = msgspec.structs.replace(directory.read(other.body), boot=99, status=Status.LEFT)
        body = directory.encode_row(told)
        return Rows([SignedRow(body, self.signer.sign(directory.CONTEXT, body), other.member)])

    def alert(self, node: NodeId, boot: int, incarnation: int, kind: Evidence) -> Push:
        body = msgspec.msgpack.encode(Alert(node, boot, incarnation, self.identity.node, kind))
        return Push(letters.encode(AlertRumour(body, self.signer.sign(alerts.CONTEXT, body))))

    def fact(self, key: str, value: bytes) -> SoftBatch:
        body = msgspec.msgpack.encode(FactBody(self.identity.node, 1, 1_000, key, value))
        return SoftBatch([SignedFact(0, body, self.signer.sign(facts.CONTEXT, body))])


def rows_in(body: bytes) -> Sequence[SignedRow]:
    try:
        match letters.decode(body):
            case Rows(rows):
                return rows
            case Push(rumour):
                told = letters.decode_rumour(rumour)
                return [told.row] if isinstance(told, RowRumour) else []
            case _:
                return []
    except RemoteError:
        return []


class Mesh(Daemons):
    """Alpha, beta and gamma, and mallory, whom alpha let in."""

    def begin(self) -> None:
        self.alpha, self.beta, self.gamma = self.mesh(*HONEST)
        folder = self.directory / "mallory"
        joined = cli(folder, "join", self.alpha.ask.invite("mallory").token)
        assert joined.code == 0, joined.err
        self.mallory = Liar(folder, self.alpha)
        until(lambda: self.alpha.ask.node("mallory").state == "ready", "mallory is a member like any other")

    def read(self, *words: str, at: Daemon | None = None) -> str:
        ended = cli((at or self.alpha).directory, *words)
        assert ended.code == 0, ended
        return ended.out

    def counted(self, reason: str, at_least: int = 1) -> None:
        counter = f"gossip.{reason}"
        until(lambda: self.alpha.ask.status().counters.get(counter, 0) >= at_least, f"alpha counts {counter}")

    def refused(self, reason: str, *words: str, of: str = "mallory") -> None:
        """Counted, told as an event with what to do, in the story of its node, and a problem while it goes on."""
        self.counted(reason)
        events, story = self.read("events"), self.read("why", f"node/{of}", "--here")
        for told in (events, story):
            line = next((line for line in told.splitlines() if f"refused what it sent: {reason}" in line), "")
            assert all(word in line for word in words), told
        assert f"{of} is refused: {reason}, " in self.read("status")

    def id_of(self, name: str) -> NodeId:
        return NodeId(bytes.fromhex(self.alpha.ask.node(name).node_id))

    def all_well(self) -> None:
        """Whatever was said, the three see each other ready, and answer."""
        for node in (self.alpha, self.beta, self.gamma):
            until(lambda at=node: all(at.ask.node(name).state == "ready" for name in HONEST), "all see all ready")
        assert self.alpha.ask.ping("beta").path == "direct"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("hostile"))
    with mesh:
        mesh.begin()
        try:
            yield mesh
        finally:
            mesh.mallory.end()


def test_malformed_and_oversized_letters(mesh: Mesh) -> None:
    mesh.mallory.say(b"\xc1", b"\x93\x07", bytes(letters.LETTER_BYTES_MAX + 1))
    mesh.refused("letter-malformed", "compare `meshnode status` there and here")
    mesh.refused("letter-too-long", f"{letters.LETTER_BYTES_MAX + 1} bytes", "compare `meshnode status`")
    mesh.all_well()


def test_a_row_in_anothers_name(mesh: Mesh) -> None:
    mesh.mallory.say(mesh.mallory.row_of(mesh.mallory.knows(mesh.id_of("beta"))))
    mesh.refused("row-forged", "or somebody forges: look at the one that sent it first")
    assert mesh.alpha.ask.node("beta").boot == 1
    mesh.all_well()


def test_a_flood_of_letters_each_of_which_is_in_order(mesh: Mesh) -> None:
    mesh.mallory.say(*[Doubt(9, 9)] * 12)
    mesh.refused("flood-doubts", "more than 4 a minute", "no honest node sends so much", "end it there if it goes on")
    mesh.all_well()


def test_a_node_that_claims_anothers_name(mesh: Mesh) -> None:
    """With an admin's record: an invite used on both sides of a cut, or a stolen enroller."""
    founder = keystore.load(mesh.alpha.directory)
    assert founder.admin is not None
    other = RecordSigner(new_record_key())
    member = make_member(
        founder.admin, mesh=founder.mesh, name="beta", record_key=other.public_key, roles=("member",),
        region="home", labels={}, issued_ms=founder.not_before_ms,
    )  # fmt: skip
    body = directory.encode_row(Row(other.node, 1, 0, Status.ALIVE, (("127.0.0.1", 9),), b"{}", 0))
    mesh.mallory.say(Rows([SignedRow(body, other.sign(directory.CONTEXT, body), member)]))
    mesh.refused("row-member-duplicate-name")
    for told in (mesh.read("events"), mesh.read("why", "node/beta", "--here"), mesh.read("status")):
        assert "two nodes claim the name beta: " in told and "`meshnode invite --name`" in told
    assert mesh.alpha.ask.node("beta").boot == 1
    mesh.all_well()


def test_lies_about_a_neighbour_are_answered_by_it(mesh: Mesh) -> None:
    gamma = mesh.id_of("gamma")
    before = mesh.alpha.ask.node("gamma")
    mesh.mallory.say(mesh.mallory.alert(gamma, before.boot, before.incarnation, Evidence.REFUSED))
    until(lambda: mesh.alpha.ask.node("gamma").incarnation > before.incarnation, "gamma refutes")
    mesh.all_well()
    assert mesh.alpha.ask.node("gamma").votes == {}
    assert "down" not in [line.split()[1] for line in mesh.read("ls").splitlines() if line.startswith("gamma")]


def test_lies_about_its_load_break_no_table(mesh: Mesh) -> None:
    mesh.mallory.say(mesh.mallory.fact(LOAD_KEY, b"\xff" * 13))
    until(lambda: mesh.alpha.ask.node("mallory").load, "alpha holds what it says")
    for words in (["ls"], ["ls", "-o", "json"], ["why", "node/mallory", "--here"], ["status"]):
        assert "mallory" in mesh.read(*words)
    mesh.mallory.say(mesh.mallory.fact("skill/x.y", b"\xc1"))
    mesh.all_well()


def test_an_older_boot_does_not_come_back(mesh: Mesh) -> None:
    """It ends a daemon, and so does the next one: both stand last."""
    old = mesh.mallory.knows(mesh.id_of("gamma"))
    mesh.gamma.kill()
    mesh.gamma = mesh.start("gamma", program=GULLIBLE)
    until(lambda: mesh.alpha.ask.node("gamma").boot == 2, "gamma is back")
    counted = mesh.alpha.ask.status().counters.get("gossip.row-old", 0)
    mesh.mallory.say(Rows([old]))
    mesh.counted("row-old", counted + 1)
    assert mesh.alpha.ask.node("gamma").boot == 2
    mesh.all_well()


def test_a_daemon_that_checks_no_signature_believes_the_liar(mesh: Mesh) -> None:
    """The planted fault of this file: what alpha refuses, gamma takes for true from now on."""
    until(lambda: mesh.gamma.ask.node("beta").state == "ready", "gamma sees beta")
    other = Liar(mesh.mallory.folder, mesh.gamma)
    try:
        other.say(other.row_of(other.knows(mesh.id_of("beta"))))
        until(lambda: mesh.gamma.ask.node("beta").state == "left", "gamma believes that beta has left")
    finally:
        other.end()
    assert mesh.gamma.ask.status().counters.get("gossip.row-forged", 0) == 0
    assert mesh.alpha.ask.node("beta").state == "ready"
