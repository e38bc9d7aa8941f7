"""Changes that are judged together are judged as each by itself would be: what they share is looked up once."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import letters
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.chronicle import Touch, touch_of
from meshnode.crdt.envelope import UNROOTED
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, is_field_name, sheet_of
from meshnode.crdt.gate import Admitted
from meshnode.crdt.history import Sealed
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.rates import Rates
from meshnode.crdt.writing import Wanted
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import SECOND, ClockTrust, Instant
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import DocId, NodeId
from tests.unit.crdt.ports import Mesh, Node

DOCS = 4
NODES = [NodeId(bytes((number,)) * 32) for number in range(5)]


def written(rounds: int) -> tuple[Mesh, list[bytes]]:
    """Envelopes of two authors who write the same documents, some of them batches, some in answer to each other."""
    mesh = Mesh("a", "b", "c")
    found: list[bytes] = []
    for number in range(rounds):
        name = "ab"[number % 2]
        writes = [
            Wanted("Thing", "default", f"d{doc}", {"spec": {name: number, "both": number, "region": f"r{number % 2}"}})
            for doc in range(DOCS)
        ]
        found += [each.body[8:] for each in mesh.nodes[name].documents.put_all(writes, mesh.now).records]
        if number % 3 == 2:
            mesh.link("a", "b")
            mesh.settle()
            mesh.cut("a", "b")
    return mesh, found


def outcome(node: Node) -> tuple[bytes, Counter[str], int, dict[str, int], list[object]]:
    documents = node.documents
    shown = [documents.get("Thing", "default", f"d{doc}") for doc in range(DOCS)]
    totals = {name: documents.counters[name] for name in ("applied", "held", "root-unknown")}
    return documents.root(), Counter(each.reason for each in node.rejects), documents.waiting(), totals, list(shown)


def spoilt(data: bytes, at: int) -> bytes:
    return data[: at % len(data)] + bytes((data[at % len(data)] ^ 1,)) + data[at % len(data) + 1 :]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_letter_of_many_is_judged_as_letters_of_one_are(data: st.DataObject) -> None:
    mesh, items = written(6)
    picked = data.draw(st.lists(st.sampled_from(range(len(items))), max_size=24))
    flips = data.draw(st.dictionaries(st.sampled_from(range(24)), st.integers(0, 1 << 16), max_size=3))
    brought = [spoilt(items[at], flips[n]) if n in flips else items[at] for n, at in enumerate(picked)]
    eager = data.draw(st.booleans())
    together, singly = mesh.nodes["c"], Mesh("a", "b", "c").nodes["c"]
    via = mesh.nodes["a"].id
    for node, said in ((together, [brought]), (singly, [[each] for each in brought])):
        for each in said:
            letter = letters.encode(Envelopes(each, eager=eager, more=True))
            node.perform(node.documents.handle(ControlReceived(via, Channel.STATE, letter), mesh.now), mesh.now)
        while node.documents.is_reading:
            node.perform(node.documents.wake(mesh.now), mesh.now)
    assert outcome(together) == outcome(singly)
    assert together.journal == singly.journal


KEYS = st.lists(
    st.sampled_from([STAMP, DELETED, "count:a@0123456789ab", "spec.a", "b", "c\n"]) | st.text(max_size=3),
    unique=True, max_size=6,
)  # fmt: skip


@given(KEYS)
def test_a_sheet_says_of_fields_what_each_of_them_says(keys: list[str]) -> None:
    sheet = sheet_of(tuple(keys))
    assert (sheet.stamp, sheet.deleted) == tuple(keys.index(each) if each in keys else -1 for each in (STAMP, DELETED))
    foul = [key for key in keys if not is_field_name(key)]
    assert sheet.foul == (foul[0] if foul else None)
    assert sheet.counts == any(key.startswith("count:") for key in keys)
    assert list(sheet.given) == sorted(key for key in keys if key not in RESERVED)


FIELDS = st.dictionaries(st.sampled_from([STAMP, DELETED, "a", "b", "c"]), st.none() | st.just("1"), min_size=1)


@given(made=st.lists(FIELDS, min_size=1), new=st.booleans())
def test_what_an_envelope_touches_is_what_its_changes_set(made: list[dict[str, str | None]], *, new: bool) -> None:
    deps = () if new else (bytes(32),)
    changes = tuple(
        ParsedChange(b"", b"", 1, 1, deps, tuple(each), tuple(each.values()), ((),) * len(each), b"") for each in made
    )
    sealed = Sealed(b"", NODES[0], 1, b"", 1, UNROOTED)
    last = {key: value for each in made for key, value in each.items()}
    deletes = last.get(DELETED) is not None
    assert touch_of(Admitted(DocId(b""), "", "", "", changes, sealed)) == Touch(
        tuple(sorted(key for key in last if key not in RESERVED)), deletes, new or (DELETED in last and not deletes)
    )


@given(st.lists(st.tuples(st.sampled_from(NODES[:3]), st.sampled_from([0, 0, 0, 1, 1000, SECOND // 3])), max_size=60))
def test_who_asks_often_in_one_moment_is_granted_what_a_bucket_holds(asked: list[tuple[NodeId, int]]) -> None:
    rates = Rates(per_s=3, burst=4, nodes_max=4)
    left: dict[NodeId, tuple[float, int]] = {}
    now_us = 0
    for node, step_us in asked:
        now_us += step_us
        tokens, at_us = left.get(node, (4.0, now_us))
        tokens = min(4, tokens + (now_us - at_us) * 3 / SECOND)
        assert rates.take(node, Instant(now_us, 0, ClockTrust.SYNCED)) == (tokens >= 1.0)
        left[node] = (tokens - 1.0 if tokens >= 1.0 else tokens, now_us)


def test_of_too_many_nodes_who_was_silent_longest_is_forgotten() -> None:
    rates = Rates(per_s=1, burst=1, nodes_max=2)
    moments = [Instant(now_us, 0, ClockTrust.SYNCED) for now_us in range(5)]
    assert rates.take(NODES[0], moments[0]) and rates.take(NODES[1], moments[1])
    assert not rates.take(NODES[0], moments[2]), "heard of again, so not the one silent longest"
    assert rates.take(NODES[2], moments[3]), "node 1 gives way"
    assert not rates.take(NODES[0], moments[4])
