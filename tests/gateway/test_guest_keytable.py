"""A table of keys behaves as a dict does, whatever comes and goes, and stays small."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloud_gateway.mesh.keytable import KeyTable

KEYS = st.binary(max_size=3) | st.sampled_from([b"a" * 300, b"words/0\0beta", b"words/1\0beta"])
NUMBERS = st.integers(0, (1 << 64) - 1)


class Twin(RuleBasedStateMachine):
    """A table beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = KeyTable()
        self.known: dict[bytes, int] = {}

    @rule(key=KEYS, number=NUMBERS)
    def put(self, key: bytes, number: int) -> None:
        self.table.put(key, number)
        self.known[key] = number

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        self.table.remove(key)
        self.known.pop(key, None)

    @rule(key=KEYS)
    def find(self, key: bytes) -> None:
        place = self.table.find(key)
        assert (self.table.numbers[place] if place >= 0 else None) == self.known.get(key)

    @invariant()
    def holds_the_same(self) -> None:
        assert dict(self.table.items()) == self.known
        assert len(self.table) == len(self.known)


TestTwin = Twin.TestCase


@given(rounds=st.lists(st.sets(st.integers(0, 200)), max_size=8))
def test_keys_that_come_and_go_leave_no_room_behind(rounds: list[set[int]]) -> None:
    table = KeyTable()
    for wanted in rounds:
        for key, _ in list(table.items()):
            if int(key) not in wanted:
                table.remove(key)
        for number in sorted(wanted):
            table.put(b"%d" % number, number)
        assert len(table.numbers) <= 2 * len(table) + 8


def test_a_table_outlives_many_changes_of_all_its_keys() -> None:
    table = KeyTable()
    for turn in range(300):
        for number in range(20):
            table.put(b"%d/%d" % (turn, number), number)
        for number in range(20):
            table.remove(b"%d/%d" % (turn, number))
            assert table.find(b"%d/%d" % (turn, number)) == -1
    assert len(table) == 0
