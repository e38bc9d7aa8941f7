"""How changes hang together: who can have seen what, found at a cost that no writer chooses."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import usual
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import actor_of
from meshnode.crdt.history import History, Sealed
from meshnode.model.ids import NodeId
from tests.unit.crdt.test_gate import ALICE, BOB, DOC, HLC, chunk_of, deliver, receiver, sealed

ACTORS = (b"\x01" * 16, b"\x02" * 16, b"\x03" * 16)
ALICES, BOBS = actor_of(ALICE.public_key, DOC, 1), actor_of(BOB.public_key, DOC, 1)
NOBODYS = Sealed(b"", NodeId(b"n" * 32), 1, b"")


class Counted(dict[bytes, object]):
    """Counts how often something is looked up."""

    reads = 0

    def __getitem__(self, key: bytes) -> object:
        self.reads += 1
        return super().__getitem__(key)


def stamped(*fields: Setting, hlc: int = HLC) -> list[Setting]:
    return sorted([*fields, Setting("updated_hlc", str(hlc))], key=lambda each: each.key)


def grown(luck: Random, count: int) -> tuple[History, list[ParsedChange]]:
    """Writers that know more or less of each other, each on top of what it wrote before."""
    history, made = History(), list[ParsedChange]()
    known: dict[bytes, list[bytes]] = {actor: [] for actor in ACTORS}
    for number in range(count):
        actor = luck.choice(ACTORS)
        if made and luck.random() < 0.4:
            known[actor] = list(dict.fromkeys([*known[actor], luck.choice(made).hash]))
        deps = sorted(known[actor])
        top = history.max_op(deps)
        fields = [Setting(key, str(number)) for key in sorted(luck.sample("klmnop", luck.randint(1, 3)))]
        one = written(actor, history.count(actor) + 1, top + 1, deps, fields)
        history.judge([one])
        history.append([one], NOBODYS)
        made.append(one)
        known[actor] = [one.hash]
    return history, made


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 40))
def test_what_a_change_stands_on_and_who_made_a_write_is_what_going_over_all_of_them_finds(
    seed: int, count: int
) -> None:
    luck = Random(seed)
    history, made = grown(luck, count)
    by_hash = {each.hash: each for each in made}

    def ancestors(change: bytes) -> set[bytes]:
        return {change}.union(*(ancestors(dep) for dep in by_hash[change].deps))

    deps = [luck.choice(made).hash for _ in range(luck.randint(1, 3))]
    past, expected = history.past(deps), set().union(*map(ancestors, deps))
    assert [each.hash in past for each in made] == [each.hash in expected for each in made]
    assert all(each.hash in history.past(history.heads()) for each in made)
    numbers = {(op.counter, each.actor) for each in made for op in each.ops}
    for counter, actor in [*sorted(numbers), *((each.max_op + 1, each.actor) for each in made), (0, ACTORS[0])]:
        for key in "klmnop":
            makers = [
                each.hash
                for each in made
                for op in each.ops
                if (each.actor, op.counter, op.key) == (actor, counter, key)
            ]
            assert history.wrote((counter, actor), key) == (makers[0] if makers else None)


def test_a_change_that_does_not_stand_on_what_its_author_wrote_before_is_refused() -> None:
    """Its writes would have the numbers of others of the same author."""
    node = receiver()
    assert deliver(node, sealed()) == []
    alone = chunk_of(seq=2, fields={"v": "2", "updated_hlc": str(HLC)})
    assert deliver(node, sealed(seq=2, changes=[alone])) == ["change-deps"]
    (mine,) = node.documents._store.heads(DOC)
    assert deliver(node, sealed(BOB)) == []
    (bobs,) = [each for each in node.documents._store.heads(DOC) if each != mine]
    beside = written(ALICES, 2, 3, [bobs], stamped(Setting("v", "2")))
    assert deliver(node, sealed(seq=2, changes=[beside.plain])) == ["change-deps"]
    on_both = written(ALICES, 2, 3, [mine, bobs], stamped(Setting("v", "2")))
    assert deliver(node, sealed(seq=2, changes=[on_both.plain])) == []


def test_a_change_that_names_a_write_twice_as_replaced_is_refused_in_every_form() -> None:
    """The engine would not write it so, and is not asked about what it would write."""
    node = receiver()
    deliver(node, sealed(BOB))
    (head,) = node.documents._store.heads(DOC)
    twice = written(ALICES, 1, 3, [head], stamped(Setting("v", "2", ((1, BOBS), (1, BOBS)))))
    size, low = len(twice.plain) - 11, twice.plain[9]
    assert low > 0x7F and twice.plain[10] == size >> 7  # its length has two bytes, and here three
    longer = twice.plain[:10] + bytes((twice.plain[10] | 0x80, 0)) + twice.plain[11:]
    for chunk in (twice.plain, packed(twice), longer):
        assert deliver(node, sealed(changes=[chunk])) == ["change-pred"]
    once = written(ALICES, 1, 3, [head], stamped(Setting("v", "2", ((1, BOBS),))))
    assert usual.parse(once.plain)[1]
    assert deliver(node, sealed(changes=[once.plain])) == []


def test_the_history_is_gone_over_once_for_all_that_a_change_replaces() -> None:
    node = receiver()
    fields = [Setting(f"k{number:03}", "1") for number in range(200)]
    first = written(BOBS, 1, 1, (), stamped(*fields))
    assert deliver(node, sealed(BOB, changes=[first.plain])) == []
    chain = [first]
    for number in range(2, 200):
        before = chain[-1]
        chain.append(written(BOBS, number, before.max_op + 1, [before.hash], stamped(Setting("v", str(number)))))
        assert deliver(node, sealed(BOB, seq=number, changes=[chain[-1].plain])) == []
    middle = chain[100]
    replacing = [Setting(op.key, "2", ((op.counter, BOBS),)) for op in first.ops if op.key != "updated_hlc"]
    late = written(ALICES, 1, middle.max_op + 1, [middle.hash], stamped(*replacing))
    history = node.documents._store._record(DOC).history  # pyright: ignore[reportAttributeAccessIssue]
    counted = history._entries = Counted(history._entries)
    assert deliver(node, sealed(changes=[late.plain])) == []
    assert 100 < counted.reads < 20 * len(chain)
