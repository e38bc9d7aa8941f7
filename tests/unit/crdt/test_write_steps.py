"""A crash at every single commit of a document's life over generations, with any part of that commit on the disk.

The play is the same each time: one node writes, deletes, writes again and begins generations, of small and of large
roots. At commit number k the power goes; of its records nothing, the first ones, the last ones or every other one is on
the disk. After the next start everything acknowledged before is there, and the node goes on.
"""

from collections.abc import Callable, Sequence

import pytest

from meshnode.crdt import shelf
from meshnode.crdt.replica import DocumentsConfig
from meshnode.kernel.records import Record
from tests.unit.crdt.ports import Mesh
from tests.unit.crdt.test_generations import NAMES, fields, store_of

SHORT = DocumentsConfig(generation_changes=4, keep_again_after_us=1_000_000)
WRITES = 22
Part = Callable[[Sequence[Record]], Sequence[Record]]
PARTS: dict[str, Part] = {
    "nothing": lambda records: [], "the first": lambda records: records[: (len(records) + 1) // 2],
    "the last": lambda records: records[len(records) // 2 :], "every other": lambda records: records[::2],
    "all": lambda records: records,
}  # fmt: skip


class _PowerCut(Exception):
    """In the middle of a commit."""


class _Life:
    """``acknowledged``: by field, the value whose write was answered last; ``asked``: the one on its way."""

    def __init__(self, at_commit: int, part: Part) -> None:
        self.mesh = Mesh("a", config=SHORT)
        self.node = self.mesh.nodes["a"]
        self.acknowledged: dict[str, str | None] = {}
        self.asked: tuple[str, str | None] = ("", None)
        self.commits = 0
        commit = self.node.commit

        def torn(records: Sequence[Record]) -> bool:
            self.commits += 1
            if self.commits == at_commit:
                commit(part(records))
                raise _PowerCut
            return commit(records)

        self.node.commit = torn  # type: ignore[method-assign]

    def write(self, number: int) -> None:
        key, value = f"k{number % 3}", f"{number}" * 40
        self.asked = (key, value)
        (self.mesh.edit if number else self.mesh.put)("a", "x", {key: value})
        self.acknowledged[key] = value
        self.asked = ("", None)
        self.mesh.run(0.3)

    def go_on(self, numbers: Sequence[int]) -> bool:
        """Whether the power was cut meanwhile."""
        try:
            for number in numbers:
                self.write(number)
        except _PowerCut:
            return True
        return False

    def check(self) -> None:
        shown = fields(self.mesh, "a")
        for key, value in self.acknowledged.items():
            allowed = {value, self.asked[1]} if key == self.asked[0] else {value}
            assert shown.get(key) in allowed, f"{key} reads {shown.get(key)!r}, acknowledged was {value!r}"


@pytest.mark.parametrize("pieces", [shelf.PIECE_BYTES, 512])
@pytest.mark.parametrize("part", PARTS)
def test_whatever_a_commit_leaves_nothing_acknowledged_is_missing(
    part: str, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "PIECE_BYTES", pieces)
    at_commit = 0
    while True:
        at_commit += 1
        life = _Life(at_commit, PARTS[part])
        if not life.go_on(range(WRITES)):
            break
        life.mesh.restart("a")
        life.check()
        known = life.mesh.nodes["a"].documents.get(*NAMES) is not None
        life.asked = ("", None)
        for number in range(100, 106):
            (life.mesh.edit if known else life.mesh.put)("a", "x", {f"k{number % 3}": f"{number}"})
            life.acknowledged[f"k{number % 3}"] = f"{number}"
            known = True
            life.mesh.run(0.3)
        life.check()
        life.mesh.restart("a")
        life.check()
    assert at_commit > WRITES + 6
    assert store_of(life.node).pin(next(iter(store_of(life.node).docs())))[0] >= 3
