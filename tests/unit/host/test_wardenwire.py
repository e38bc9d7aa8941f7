"""What warden and daemon say to each other arrives whole, however the bytes are cut, or is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.wardenwire import (
    Exited,
    Failed,
    Go,
    Goodbye,
    Inbox,
    List,
    Listed,
    Row,
    Start,
    Started,
    Stop,
    encode,
    read_order,
    read_report,
)
from meshnode.model.errors import RemoteError

ORDERS = (List(), Start("a/0", 1, "t", ("x",), "/", {"A": "é"}, "/f.py"), Go("a/0", 1), Stop("a/0", 1, 5), Goodbye())
REPORTS = (Listed((Row("a/0", 1, 7, "t"),)), Started("a/0", 1, 7), Failed("a/0", 2, "no"), Exited("a/0", 1, 1, "", "x"))


@given(cuts=st.lists(st.integers(1, 40), min_size=1))
def test_messages_arrive_whole_however_the_bytes_are_cut(cuts: list[int]):
    data, inbox, bodies = b"".join(map(encode, (*ORDERS, *REPORTS))), Inbox(), list[bytes]()
    for cut in (*cuts, len(data)):
        bodies += inbox.feed(data[:cut])
        data = data[cut:]
    orders, reports = bodies[: len(ORDERS)], bodies[len(ORDERS) :]
    assert tuple(map(read_order, orders)) == ORDERS and tuple(map(read_report, reports)) == REPORTS


@given(junk=st.binary(max_size=50))
def test_junk_is_refused_by_name(junk: bytes):
    for read in (read_order, read_report):
        with pytest.raises(RemoteError, match=r"not-an-order|not-a-report"):
            read(junk)


def test_a_length_beyond_all_measure_is_refused_before_it_is_waited_for():
    with pytest.raises(RemoteError, match="too-long"):
        Inbox().feed(b"\xff\xff\xff\xff")


def test_a_later_version_may_say_more():
    more = encode(Started("a/0", 1, 7))[4:].replace(b"\x84", b"\x85", 1) + b"\xa5later\x01"
    assert read_report(more) == Started("a/0", 1, 7)
