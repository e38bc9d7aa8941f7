"""What owners said is found again by owner, key, part and bucket, and summed up as an index of every key would be."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.facts import Fact, FactBody, opened
from meshnode.gossip.owners import Held, Owners, Part
from meshnode.kernel.fingerprints import BUCKETS, Fingerprints
from meshnode.model.ids import NodeId

PARTS = ("", "east", "west")
NODES = [NodeId(bytes([number]) * 32) for number in range(6)]
# A node says something under a key, of which a part depends; takes it back; or begins anew.
Step = tuple[int, int, int, str]
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 3), st.sampled_from(["put", "put", "pop", "boot"])),
    max_size=80,
)


def held(node: NodeId, boot: int, version: int, key: str, part: str) -> Held:
    body = msgspec.msgpack.encode(FactBody(node, boot, version, key, b"v"))
    return Held(opened(body, bytes(64)), 0, part)


class Plain:
    """The same as tables of everything."""

    def __init__(self) -> None:
        self.boots: dict[NodeId, int] = {}
        self.facts: dict[tuple[NodeId, str], Held] = {}

    def index(self, part: str | None = None) -> Fingerprints:
        made = Fingerprints()
        for each in self.facts.values():
            if part is None or each.part == part:
                made.put(each.fact.key, each.fact.version)
        return made


def played(steps: list[Step]) -> tuple[Owners, Plain]:
    owners, plain = Owners(), Plain()
    for version, (who, key_no, part_no, what) in enumerate(steps, 1):
        node, key = NODES[who], f"k{key_no}"
        owner = owners.get(node)
        if owner is None or what == "boot":
            plain.boots[node] = plain.boots.get(node, 0) + 1
            before = owner
            owner, gone = owners.begin(node, plain.boots[node])
            assert gone == ([] if before is None else list(before.held()))
            plain.facts = {mark: each for mark, each in plain.facts.items() if mark[0] != node}
        if what == "put":
            said = plain.facts[node, key] = held(node, owner.boot, version, key, PARTS[part_no % 3])
            owners.put(owner, said)
        elif what == "pop" and (node, key) in plain.facts:
            assert owners.pop(owner, key) is plain.facts.pop((node, key))
    return owners, plain


def same_index(ours: Owners | Part, plain: Fingerprints) -> bool:
    buckets = all(list(ours.bucket(number)) == plain.bucket(number) for number in range(BUCKETS))
    return buckets and (ours.root(), ours.sums(), len(ours)) == (plain.root(), plain.sums(), len(plain))


@given(steps=STEPS)
def test_owners_hold_what_tables_of_everything_would_and_their_fingerprints_are_the_same(steps: list[Step]) -> None:
    owners, plain = played(steps)
    assert owners.count() == len(plain.boots)
    for node, owner in owners:
        said = {key: each for (of, key), each in plain.facts.items() if of == node}
        assert list(owner.held()) == list(said.values()) and len(owner) == len(said)
        assert all(owner.get(f"k{number}") is said.get(f"k{number}") for number in range(5))
    assert same_index(owners, plain.index())
    assert owners.names() == sorted({each.part for each in plain.facts.values()})
    assert all(same_index(owners.part(name), plain.index(name)) for name in PARTS)
    for each in plain.facts.values():
        key = each.fact.key
        assert owners.version(key) == owners.part(each.part).version(key) == each.fact.version
        assert all(owners.part(name).version(key) is None for name in PARTS if name != each.part)
    assert owners.version(NODES[0] + b"nothing") is owners.version(b"") is None


def test_sums_that_forget_what_was_replaced_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Part.mix

    def forgets(part: Part, fact: Fact, count: int) -> None:
        if count > 0:
            mix(part, fact, count)

    monkeypatch.setattr(Part, "mix", forgets)
    owners, plain = played([(0, 0, 0, "put"), (0, 0, 0, "put")])
    assert not same_index(owners, plain.index())
