"""The benches' own books: they notice what an agent forgets or counts twice."""

from dataclasses import dataclass, field

from bench import failover
from bench.nodes import Nodes
from bench.reunion import missing_writes
from meshnode.model.views import CallView


@dataclass
class Answers:
    """In the place of a mesh: an agent that gives these counts."""

    counts: list[int]
    keys: list[str] = field(default_factory=list[str])

    def call(self, through: str, skill: str, *, key: str, within_s: float) -> CallView:
        self.keys.append(key)
        count = self.counts.pop(0)
        return CallView(call_id="1", result=count, instance="tally/0", node="alpha", took_ms=1.0, attempts=1)


def books(*counts: int) -> failover.Books:
    mesh: Nodes = Answers(list(counts))  # pyright: ignore[reportAssignmentType]
    made = failover.Books(mesh)
    for _ in counts:
        made.call("beta")
    return made


def test_counts_that_go_on_are_right():
    assert books(1, 2, 3).wrong == []


def test_a_call_counted_twice_is_noticed():
    assert books(1, 2, 4).wrong == ["call 3 was counted as 4 on alpha"]


def test_a_lost_state_is_noticed_once_and_counting_goes_on_from_there():
    found = books(1, 2, 1, 2)
    assert found.wrong == ["call 3 was counted as 1 on alpha"]
    assert found.acknowledged == 2


def test_every_call_has_a_key_of_its_own_so_that_a_repetition_is_known():
    mesh = Answers([1, 2, 1, 2, 3])
    made = failover.Books(mesh)  # pyright: ignore[reportArgumentType]
    for _ in range(5):
        made.call("beta")
    assert len(set(mesh.keys)) == 5


def test_a_write_that_is_neither_in_force_nor_a_sibling_is_lost():
    ledgers = [{"a": "alpha 1", "shared": "alpha 2"}, {"b": "gamma 1", "shared": "gamma 2"}]
    keys = {"count": 4, "a": "alpha 1", "shared": "gamma 2", "b": "gamma 1"}
    assert missing_writes(keys, {"shared": ["gamma 2", "alpha 2"]}, ledgers, 4) == []
    assert missing_writes(keys, {}, ledgers, 4) == ["shared=alpha 2"]
    assert missing_writes({**keys, "b": None}, {"shared": ["alpha 2"]}, ledgers, 4) == ["b=gamma 1"]


def test_a_count_that_differs_from_the_acknowledged_calls_is_told():
    assert missing_writes({"count": 3}, {}, [], 4) == ["the count is 3, acknowledged are 4"]
