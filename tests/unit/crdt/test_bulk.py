"""What small bytes may become: a hundred deflated changes in one envelope, and envelopes that wait for another."""

from collections.abc import Sequence

import msgspec
import pytest

from meshnode.crdt import change, envelope, letters, root
from meshnode.crdt.backlog import ROWS, SLICE
from meshnode.crdt.change import BULK_BYTES_MAX, BULK_OPS_MAX, ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import ENVELOPE_BYTES_MAX, actor_of, doc_id_of
from meshnode.crdt.gate import Admitted
from meshnode.crdt.held import Held
from meshnode.crdt.history import Sealed
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.root import Root, RootWrite
from meshnode.kernel.effects import Channel, Reject
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from tests.unit.crdt.ports import KeySigner, Node, instant
from tests.unit.crdt.test_gate import ALICE, BOB, DOC, HLC, NAMES, chunk_of, deliver, receiver, refused, sealed

ACTOR = actor_of(ALICE.public_key, DOC, 1)
STAMP = Setting("updated_hlc", str(HLC))
LONG = '"' + "x" * 120_000 + '"'


def chained(count: int, settings: Sequence[Setting]) -> list[ParsedChange]:
    """Changes of one actor, each on top of the one before."""
    made: list[ParsedChange] = []
    for number in range(count):
        deps, top = ([made[-1].hash], made[-1].max_op) if made else ([], 0)
        made.append(written(ACTOR, number + 1, top + 1, deps, settings))
    return made


def of_bytes(count: int) -> list[ParsedChange]:
    return chained(count, [Setting("a", LONG), Setting("b", LONG), STAMP])


def of_fields(count: int) -> list[ParsedChange]:
    return chained(count, [*(Setting(f"k{number}", None) for number in range(change.OPS_MAX - 1)), STAMP])


def of_replaced(count: int) -> list[ParsedChange]:
    each = change.PREDS_MAX // 16
    preds = [tuple((at * each + row + 1, ACTOR) for row in range(each)) for at in range(16)]
    return chained(count, [*(Setting(f"k{number:02}", "1", some) for number, some in enumerate(preds)), STAMP])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (of_bytes(BULK_BYTES_MAX // len(of_bytes(1)[0].plain) + 1), "change-inflate"),
        (of_fields(BULK_OPS_MAX // change.OPS_MAX + 1), "change-ops-max"),
        (of_replaced(change.BULK_PREDS_MAX // change.PREDS_MAX + 1), "change-ops-max"),
    ],
)
def test_changes_that_are_too_much_together_are_refused_though_each_of_them_is_not(
    made: list[ParsedChange], reason: str
) -> None:
    data = sealed(changes=[packed(each) for each in made])
    assert len(data) <= ENVELOPE_BYTES_MAX
    for each in made:
        assert change.parse(packed(each)) == each
    assert refused(data) == reason
    assert reason not in deliver(receiver(), sealed(changes=[packed(each) for each in made[:-1]]))


@pytest.mark.parametrize("made", [of_bytes(3), of_fields(5), of_replaced(3)])
def test_what_every_peer_would_refuse_is_not_written_here(made: list[ParsedChange]) -> None:
    with pytest.raises(RemoteError):
        change.judge_size(made)
    change.judge_size(made[:-1])


def waiting(number: int, size: int, author: KeySigner = ALICE) -> Admitted:
    one = ParsedChange(number.to_bytes(32), ACTOR, number, 1, (), ("k",), (None,), ((),), bytes(size))
    return Admitted(DOC, *NAMES, (one,), Sealed(one.hash, author.node, HLC, b""))


def held_of(*, bytes_max: int = 1000, bytes_per_author_max: int = 1000) -> Held:
    return Held(
        envelopes_max=100, bytes_max=bytes_max, per_author_max=100, bytes_per_author_max=bytes_per_author_max
    )  # fmt: skip


def test_what_waits_is_bounded_in_bytes_and_the_one_that_waited_longest_goes() -> None:
    held = held_of()
    for number in range(1, 6):
        assert held.hold(waiting(number, 300, KeySigner(str(number))), b"missing")
    assert [each.changes[0].seq for each in held.release(b"missing")] == [3, 4, 5]
    for number in range(1, 4):  # what went has left its room
        assert held.hold(waiting(number, 300), b"missing")
    assert len(held) == 3


def test_one_author_has_a_share_of_the_bytes_and_his_part_of_our_journal_counts() -> None:
    held = held_of(bytes_per_author_max=500)
    assert held.hold(waiting(1, 400), b"missing", restored=True)
    assert not held.hold(waiting(2, 400), b"missing")
    assert held.hold(waiting(3, 400, BOB), b"missing")
    assert held.hold(waiting(4, 10_000), b"missing", restored=True)  # what is nowhere else is never turned away
    assert len(held.release(b"missing")) == 3
    assert held.hold(waiting(2, 400), b"missing")


def test_envelopes_that_wait_for_one_that_never_comes_take_no_more_memory_than_they_may() -> None:
    node = receiver(config=DocumentsConfig(held_bytes_per_author_max=1_000_000))
    made = chained(12, [Setting("a", LONG), STAMP])
    for number, each in enumerate(made[1:], 2):
        assert deliver(node, sealed(seq=number, changes=[packed(each)])) == []
    assert node.documents.waiting() == 1_000_000 // (len(made[1].plain) + 1)


def bomb(boot: int, count: int) -> bytes:
    """An envelope of changes that name four thousand writes as replaced in some 130 bytes each."""
    actor, each = actor_of(ALICE.public_key, DOC, boot), change.PREDS_MAX // 16
    fields = [Setting(f"{at:x}", None, tuple((at * each + row + 1, actor) for row in range(each))) for at in range(16)]
    made = [written(actor, number, 1, [], [*fields, STAMP]) for number in range(1, count + 1)]
    return sealed(boot=boot, changes=[packed(one) for one in made])


def test_a_root_may_not_name_more_rows_than_can_be_read_in_a_turn() -> None:
    """Nobody has proven its envelopes when they are read: this one of 54 KB would have cost half a second."""
    proofs = [bomb(boot, 100) for boot in range(1, 5)]
    write = RootWrite("1", ALICE.node, 1, HLC, HLC, bytes(32), 0)
    lie = Root(1, DOC, *NAMES, 5, bytes(32), [bytes(32)], [("v", [write])], [(ALICE.node, 1, HLC)], proofs)
    with pytest.raises(RemoteError, match="root-bulk"):
        root.judge_proofs(lie)
    with pytest.raises(RemoteError, match="root-bulk"):
        root.judge_bulk(proofs)
    with pytest.raises(RemoteError, match="root-unproven"):
        root.judge_proofs(msgspec.structs.replace(lie, proofs=[sealed()]))


def test_what_is_too_short_to_be_looked_at_comes_to_no_more_than_a_root_may_name() -> None:
    count = next(count for count in range(100, 0, -1) if len(bomb(1, count)) <= root.SURE_BYTES)
    parsed = root.parsed_within(envelope.unseal(bomb(1, count)).envelope.changes, root.PROOF_BYTES_MAX)
    assert root.bulk_of(parsed) < root.PROOF_BYTES_MAX // 2
    root.judge_bulk([bomb(1, count)])


def heard(node: Node, items: list[bytes]) -> int:
    """How many of them one turn judged; the rest of the letter waits."""
    event = ControlReceived(ALICE.node, Channel.STATE, letters.encode(Envelopes(items, eager=True)))
    before = node.documents.counters["applied"]
    effects = node.documents.handle(event, instant())
    refused = sum(isinstance(each, Reject) for each in effects)
    assert node.documents.is_reading
    return refused + node.documents.counters["applied"] - before


def test_a_turn_judges_fewer_envelopes_where_each_is_worth_many() -> None:
    """As many rows as a slice may have, and one envelope more at most; what is refused after reading counts too."""
    docs = [doc_id_of("Thing", "default", f"d{number}") for number in range(SLICE)]
    fields: dict[str, str | None] = {**{f"k{number}": "1" for number in range(299)}, "updated_hlc": str(HLC)}
    wide = [
        sealed(name=f"d{number}", doc=doc, changes=[chunk_of(fields=fields, doc=doc)])
        for number, doc in enumerate(docs)
    ]
    assert heard(receiver(), wide) == -(-ROWS // 300) == 4
    bad = [sealed(seq=number, changes=[chunk_of(fields={"v": "01"}, seq=number)]) for number in range(1, SLICE + 1)]
    assert heard(receiver(), bad) == 4
    node = receiver()
    for number, each in enumerate(wide[:SLICE]):  # a letter each: the turn is over as soon
        event = ControlReceived(ALICE.node, Channel.STATE, letters.encode(Envelopes([each], eager=True)))
        node.documents.handle(event, instant())
        assert node.documents.counters["applied"] == min(number + 1, 4)
    node.perform([], instant())
    assert node.documents.count() == SLICE
