"""Rows kept packed: what comes out is what was signed, and a directory of packed rows answers as any other."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip import directory as room
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory, Row, Status
from meshnode.gossip.letters import ROW_BYTES_MAX, SignedRow
from meshnode.gossip.press import Press
from meshnode.gossip.relays import Relays
from meshnode.kernel.records import Record
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from tests.unit.gossip.test_directory import KEYS, take
from tests.unit.gossip.world import Judge, Key, Members, member_record

KEPT = [Key(f"packed-{number}") for number in range(40)]


def facts_of(number: int) -> bytes:
    return (
        b'{"arch":"x86_64","cpu":{"logical":%d,"model":"AMD EPYC","features":["avx","avx2","avx512f"]},"memory":'
        b'{"total_bytes":%d},"disks":[{"mount":"/","kind":"nvme","free_bytes":%d}],"sources":["cpu:psutil"]}'
        % (1 + number % 7, number * 7919, number * 104_729)
    )


def row_of(number: int, boot: int = 1, *, carries: bool = False, status: Status = Status.ALIVE) -> SignedRow:
    key = KEPT[number]
    relay = ((relay_host(key.node), RELAY_PORT),) if carries else ()
    body = room.encode_row(Row(key.node, boot, 0, status, ((f"h{number}", 1), *relay), facts_of(number), 5))
    return SignedRow(body, key.sign(room.CONTEXT, body), member_record(key, f"p{number}", "here"))


@given(st.binary(max_size=ROW_BYTES_MAX), st.lists(st.binary(max_size=ROW_BYTES_MAX), max_size=4))
def test_whatever_was_packed_comes_out_as_it_was(sample: bytes, bodies: list[bytes]) -> None:
    press = Press(sample)
    packed = [press.packed(body) for body in (sample, *bodies)]
    assert [press.unpacked(data) for data in packed] == [sample, *bodies]


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 3), st.sampled_from(Status)), max_size=80))
def test_a_directory_that_packs_its_rows_answers_like_one_that_does_not(told: list[tuple[int, int, Status]]) -> None:
    packing, plain = (Directory(Judge(), Members(), packed_from=count) for count in (2, 1_000))
    for number, boot, status in told:
        row = row_of(number, boot, status=status)
        assert take(packing, row) == take(plain, row)
    assert [entry.signed for entry in packing.all()] == [entry.signed for entry in plain.all()]
    assert [entry.row for entry in packing.all()] == [entry.row for entry in plain.all()]
    assert packing.rows.root() == plain.rows.root() and packing.tombstones.root() == plain.tombstones.root()
    assert [packing.holder((f"h{n}", 1)) for n in range(40)] == [plain.holder((f"h{n}", 1)) for n in range(40)]
    assert packing.unsaved() == plain.unsaved()


def test_rows_of_like_machines_take_a_fraction_of_their_bytes_once_there_are_many() -> None:
    held = Directory(Judge(), Members(), packed_from=10)
    for number in range(40):
        assert take(held, row_of(number))
    kept = [entry.kept for entry in held.all()]
    plain, packed = [each for each in kept if isinstance(each, SignedRow)], [k for k in kept if isinstance(k, bytes)]
    assert (len(plain), len(packed)) == (10, 30)
    assert max(map(len, packed)) < len(plain[0].body) // 2 + 64  # a signature cannot be packed


def test_a_packed_row_goes_to_the_journal_as_it_came() -> None:
    held = Directory(Judge(), Members(), packed_from=0)
    assert take(held, row_of(1)) and take(held, row_of(2))
    again = Directory(Judge(), Members())
    records: list[Record] = list(held.unsaved())
    assert all(again.recall(record) is not None for record in records)
    assert [msgspec.msgpack.decode(record.body, type=SignedRow) for record in records] == [row_of(1), row_of(2)]


def test_a_relay_is_known_by_what_its_packed_row_names() -> None:
    held = Directory(Judge(), Members(), packed_from=0)
    for number in range(3):
        assert take(held, row_of(number, carries=number == 1))
    relays = Relays(GossipConfig(node=KEYS[0].node, name="me", region="here", boot=1, member=b""), held)
    assert [relays.carries(KEPT[number].node) for number in range(3)] == [False, True, False]
