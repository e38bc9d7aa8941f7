"""What directory and detector of one node cost at 10,000 rows: memory, and time a row, alert, standing, verdict.

    python -m bench.gossip.rows [ROWS]

Rows, member records and signatures are real ones; memory is what Python allocates for the room, everything included.
"""

import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

from meshnode.gossip import alerts
from meshnode.gossip.alerts import Raise
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.ground import Ground
from meshnode.gossip.intake import SLICE
from meshnode.gossip.letters import ALIAS_BYTES, Push, Rows, SignedRow, Standing, encode
from meshnode.gossip.membership import Gossip
from meshnode.gossip.messages import MemberState
from meshnode.gossip.row import CONTEXT, Row, Status, encode_row, entry_of, read
from meshnode.gossip.verdict import Evidence
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.messages import ControlReceived, PeerUp
from meshnode.model.ids import NodeId
from meshnode.security.bundle import Bundle
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.members import Members, make_member

REGIONS = 20
PER_LETTER = 40
MIB = 1 << 20
FACTS = (
    b'{"arch":"x86_64","cpus":16,"gpus":[{"memory_mib":24576,"name":"NVIDIA GeForce RTX 4090"}],"memory_mib":65536,'
    b'"os":"Linux 6.8.0","python":"3.11.9","version":"0.4.0"}'
)
MESH = "bench"


class Wires:
    """Links that heard everybody just now."""

    def __init__(self) -> None:
        self.now_us = 0
        self.up: dict[NodeId, None] = {}

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.up)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.now_us if peer in self.up else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return 1000 if peer in self.up else None


class Node:
    """One gossip room, told things and timed."""

    def __init__(self, signer: RecordSigner, row: SignedRow, trust: Members, ground: Ground | None = None) -> None:
        self.wires, self.now_us, self.worst_us = Wires(), 10 * SECOND, 0.0
        member = trust.admit(row.member)
        assert not isinstance(member, str), member
        config = GossipConfig(
            node=signer.node, name=member.name, region=member.region, boot=1, member=row.member,
            endpoints=read(row.body).endpoints, facts=FACTS,
        )  # fmt: skip
        self.gossip = Gossip(
            config, signer=signer, verifier=Ed25519Verifier(), trust=trust, links=self.wires,
            rng=rng.fork(b"bench", "gossip"), ground=ground,
        )  # fmt: skip
        self.gossip.start(self.now())

    def now(self) -> Instant:
        return Instant(self.now_us, 0)

    def link(self, row: SignedRow, trust: Members) -> NodeId:
        member = trust.admit(row.member)
        assert not isinstance(member, str), member
        self.wires.up[member.node] = None
        self.turn(
            lambda: self.gossip.handle(
                PeerUp(member.node, member.name, member.region, 1, True, 0, "", row.member), self.now()
            )
        )
        return member.node

    def letter(self, peer: NodeId, body: bytes) -> float:
        return self.turn(lambda: self.gossip.handle(ControlReceived(peer, Channel.GOSSIP, body), self.now()))

    def settle(self, within_us: int) -> float:
        """Time passes; the seconds it took."""
        end_us, took_s = self.now_us + within_us, 0.0
        while (due_us := self.gossip.deadline()) is not None and due_us <= end_us:
            self.now_us = self.wires.now_us = max(self.now_us, due_us)
            took_s += self.turn(lambda: self.gossip.wake(self.now()))
        self.now_us = end_us
        return took_s

    def turn(self, act: Callable[[], Sequence[Effect]]) -> float:
        began = time.thread_time()
        act()
        took_s = time.thread_time() - began
        self.worst_us = max(self.worst_us, took_s * 1e6)
        return took_s


def make(count: int, admin: RecordSigner) -> tuple[list[RecordSigner], list[SignedRow]]:
    signers = [RecordSigner(new_record_key()) for _ in range(count)]
    rows: list[SignedRow] = []
    for number, signer in enumerate(signers):
        place = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        row = Row(signer.node, 1, 0, Status.ALIVE, ((place, 7000), (f"192.168.1.{number & 255}", 7000)), FACTS, 5)
        body = encode_row(row)
        member = make_member(
            admin, mesh=MESH, name=f"node-{number:05}", record_key=signer.public_key, roles=("member",),
            region=f"region-{number % REGIONS}", labels={"rack": f"r{number % 40}"}, issued_ms=5,
        )  # fmt: skip
        rows.append(SignedRow(body, signer.sign(CONTEXT, body), member))
    return signers, rows


def join(node: Node, peer: NodeId, letters: Sequence[bytes]) -> float:
    """All rows as a joiner gets them. Bytes are copied, as from a wire: nothing is shared with the maker."""
    took_s = sum(node.letter(peer, bytes(bytearray(letter))) for letter in letters)
    return took_s + node.settle(20 * SECOND)


def alert(by: RecordSigner, about: NodeId) -> bytes:
    return encode(Push(encode(alerts.sign(Raise(about, 1, 0, Evidence.SILENT, ()), by))))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    admin = RecordSigner(new_record_key())
    signers, rows = make(count, admin)
    trust = Members(Bundle(MESH, 1, (), (admin.public_key,), b""), Ed25519Verifier())
    letters = [encode(Rows(rows[at : at + PER_LETTER])) for at in range(2, count, PER_LETTER)]
    print(f"{count} rows, {REGIONS} regions, load {os.getloadavg()[0]:.1f}")
    tracemalloc.start()
    node = Node(signers[0], rows[0], trust)
    peer = node.link(rows[1], trust)
    node.letter(peer, encode(Rows(rows[1:2])))
    before = tracemalloc.get_traced_memory()[0]
    join(node, peer, letters)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"memory: {(after - before) / MIB:.1f} MiB, {(after - before) / count:.0f} B a row (trust included)")
    assert len(node.gossip.members()) == count
    measure(signers, rows, letters, admin)
    shared(signers, rows, trust)


def measure(signers: list[RecordSigner], rows: list[SignedRow], letters: list[bytes], admin: RecordSigner) -> None:
    trust = Members(Bundle(MESH, 1, (), (admin.public_key,), b""), Ed25519Verifier())
    node = Node(signers[0], rows[0], trust)
    peer = node.link(rows[1], trust)
    node.letter(peer, encode(Rows(rows[1:2])))
    took_s = join(node, peer, letters)
    print(
        f"row in bulk: {took_s / len(rows) * 1e6:.0f} us, worst turn {node.worst_us / 1e3:.1f} ms (slices of {SLICE})"
    )
    told = [alert(signers[n], signers[n + 1].node) for n in range(2, 502)]
    took_s = sum(node.letter(peer, each) for each in told)
    print(f"alert, 500 of them, 500 doubted in the end: {took_s / len(told) * 1e6:.0f} us")
    standing = encode(Standing([(s.node[:ALIAS_BYTES], MemberState.DOWN.value) for s in signers[600:700]]))
    print(f"standing: {min(node.letter(peer, standing) for _ in range(5)) * 1e6:.0f} us")
    began = time.thread_time()
    for signer in signers:
        node.gossip.reachable(signer.node)
    print(f"reachable: {(time.thread_time() - began) / len(signers) * 1e6:.2f} us")
    began = time.thread_time()
    for _ in range(1000):
        node.gossip.members()
    print(f"members: {(time.thread_time() - began) * 1e3:.2f} us")


def shared(signers: list[RecordSigner], rows: list[SignedRow], trust: Members, machines: int = 200) -> None:
    entries = [entry_of(read(row.body), row, m) for row in rows if (m := trust.member(NodeId(read(row.body).node)))]
    ground = Ground(entries)
    tracemalloc.start()
    nodes = [Node(signers[n], rows[n], trust, ground) for n in range(machines)]
    print(f"machine over a shared ground, at rest: {tracemalloc.get_traced_memory()[0] / len(nodes) / 1024:.1f} KiB")


if __name__ == "__main__":
    main()
