"""Which links facts are passed on over: what one flood shows to be needed, no more, and all hear all the same."""

import heapq
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.paths import DRAW_MAX, DRAW_MIN, FLOW, KEPT_US, LATE_US, REST, Paths, Surveys
from meshnode.kernel import rng
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId
from meshnode.sim.fleet.wires import components

PEER, A, B, C = (NodeId(bytes([n]) * 32) for n in range(4))


def paths() -> Paths:
    made = Paths()
    for peer in (PEER, A, B):
        made.up(peer, 0)
    return made


def test_a_link_that_brings_copies_rests_but_not_the_last_one() -> None:
    made = paths()
    assert made.copied(A, SECOND) == REST and not made.flows(A)
    assert made.copied(A, SECOND) == 0, "it said so already"
    assert made.copied(B, SECOND) == REST and made.copied(PEER, SECOND) == 0 and made.flows(PEER)


def test_a_broken_path_is_replaced_by_all_at_rest() -> None:
    made = paths()
    for peer in (A, B):
        made.copied(peer, SECOND)
    assert made.down(PEER) == [A, B]
    made.flow(B)
    assert made.down(A) == [], "nothing came over it"


def test_late_news_over_a_resting_link_wake_it_for_a_while() -> None:
    made = paths()
    assert made.missed(A, SECOND) == 0, "it flows"
    made.copied(A, SECOND)
    assert made.missed(A, 2 * SECOND) == FLOW and made.flows(A)
    assert made.copied(A, 2 * SECOND + KEPT_US - 1) == 0 and made.copied(A, 2 * SECOND + KEPT_US) == REST


def test_who_needs_the_link_says_so_and_is_not_asked_again_for_a_while() -> None:
    made = paths()
    assert made.wished(A, REST, SECOND) == 0 and not made.flows(A)
    assert made.wished(B, REST, SECOND) == 0 and made.wished(PEER, REST, SECOND) == FLOW and made.flows(PEER)
    assert made.wished(A, FLOW, SECOND) == FLOW and made.flows(A)
    assert made.wished(A, FLOW, SECOND) == 0, "both know"
    assert made.copied(A, SECOND + KEPT_US - 1) == 0
    assert made.copied(A, SECOND + KEPT_US) == REST


def test_links_to_other_regions_do_not_count_once_they_carry_other_facts() -> None:
    strangers: dict[NodeId, None] = {}
    made = Paths(lambda peer: peer not in strangers)
    for peer in (PEER, A, B):
        made.up(peer, 0)
    strangers |= {A: None, B: None}
    assert made.copied(PEER, SECOND) == 0 and made.flows(PEER)
    assert made.copied(A, SECOND) == 0 and made.wished(A, REST, SECOND) == FLOW


def test_a_link_is_settled_when_what_is_on_its_way_had_time_to_come() -> None:
    made = paths()
    made.up(C, SECOND)
    assert not made.settled(C, SECOND + LATE_US - 1) and made.settled(C, SECOND + LATE_US)


@pytest.mark.parametrize("a_second", [0, 1, 20, 300, 100_000])
def test_of_many_facts_about_one_a_second_is_a_survey_and_of_few_some_are(a_second: int) -> None:
    surveys, luck, drawn = Surveys(), rng.fork(b"1", "surveys"), 0
    for number in range(8 * a_second):
        surveys.count(number * SECOND // max(1, a_second))
        drawn += number >= 4 * a_second and surveys.drawn(luck.randbytes(64))
    assert drawn <= (a_second if a_second <= DRAW_MIN else 12 + 8 * a_second // DRAW_MAX)
    assert drawn or a_second < 300


def test_who_hears_twice_as_many_facts_looks_at_none_that_others_do_not() -> None:
    few, many = Surveys(), Surveys()
    for number in range(100):
        few.count(number * 100 * MS)
        many.count(number * 50 * MS)
    signatures = [bytes([0, number]) for number in range(256)]
    assert set(filter(many.drawn, signatures)) < set(filter(few.drawn, signatures))


def test_a_sudden_flood_has_few_surveys() -> None:
    """Each is sent on at once by everybody: of a hundred who join, two facts each, fifty would be."""
    surveys, luck, drawn = Surveys(), rng.fork(b"3", "surveys"), 0
    for number in range(200):
        surveys.count(number * SECOND // 1000)
        drawn += surveys.drawn(luck.randbytes(64))
    assert drawn <= 12


# -- floods ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True, slots=True)
class Letter:
    """A survey, or a wish if it names none."""

    at_us: int
    number: int
    sender: NodeId
    to: NodeId
    owner: NodeId
    survey: bytes
    wish: int = 0


class Field:
    """Nodes that pass surveys on over links of any length. ``star``: owners send them over resting links, too."""

    def __init__(self, seed: int, nodes: int, degree: int, *, star: bool = False, one: bool = True) -> None:
        """``one``: of two surveys that meet one counts."""
        self.luck, self._star, self._one = rng.fork(b"%d" % seed, "floods"), star, one
        self.ids = [NodeId(number.to_bytes(32)) for number in range(nodes)]
        self.paths, self.surveys = {node: Paths() for node in self.ids}, {node: Surveys() for node in self.ids}
        self.ways: dict[NodeId, dict[NodeId, int]] = {node: {} for node in self.ids}
        for number, node in enumerate(self.ids[1:], 1):
            self._link(node, self.ids[self.luck.randrange(number)])
        for _ in range(nodes * (degree - 2) // 2):
            self._link(*self.luck.sample(self.ids, 2))
        self._heard: dict[tuple[NodeId, bytes], None] = {}
        self._heap: list[Letter] = []
        self.now_us = self.sent = self._count = 0

    def survey(self, after_us: int = 0) -> None:
        """Somebody publishes one."""
        self._post(after_us, Letter(0, 0, owner := self.luck.choice(self.ids), owner, owner, self.luck.randbytes(8)))

    def run(self) -> int:
        """Until all have arrived; how many surveys were sent meanwhile."""
        before = self.sent
        while self._heap:
            letter = heapq.heappop(self._heap)
            self.now_us = letter.at_us
            self._read(letter)
        self.now_us += 10 * SECOND
        return self.sent - before

    def parts(self) -> list[int]:
        """What hangs together by links that flow."""
        return components({node: [p for p in self.ways[node] if self.paths[node].flows(p)] for node in self.ids})

    def _link(self, a: NodeId, b: NodeId) -> None:
        if b not in self.ways[a]:
            self.ways[a][b] = self.ways[b][a] = self.luck.randrange(1, 50) * MS
            self.paths[a].up(b, 0)
            self.paths[b].up(a, 0)

    def _post(self, after_us: int, letter: Letter) -> None:
        self._count += 1
        heapq.heappush(self._heap, replace(letter, at_us=self.now_us + after_us, number=self._count))

    def _send(self, letter: Letter) -> None:
        self.sent += not letter.wish
        self._post(self.ways[letter.sender][letter.to], letter)

    def _read(self, letter: Letter) -> None:
        node, peer, paths, surveys = letter.to, letter.sender, self.paths[letter.to], self.surveys[letter.to]
        if letter.wish:
            wish = paths.wished(peer, letter.wish, self.now_us)
        elif (node, letter.survey) in self._heard:
            counts = not self._one or surveys.counts(letter.survey)
            wish = paths.copied(peer, self.now_us) if counts else 0
        else:
            self._heard[node, letter.survey] = None
            surveys.begin(letter.survey, self.now_us)
            wish = paths.missed(peer, self.now_us) if peer != node else 0
            for other in self.ways[node]:
                if other not in (peer, letter.owner) and (paths.flows(other) or (self._star and node == letter.owner)):
                    self._send(replace(letter, sender=node, to=other))
        if wish:
            self._send(Letter(0, 0, node, peer, node, b"", wish))


@given(seed=st.integers(0, 2**32), nodes=st.integers(2, 60), degree=st.integers(2, 7))
def test_what_one_survey_leaves_is_a_tree_that_reaches_all_and_the_next_ones_copy_nothing(
    seed: int, nodes: int, degree: int
) -> None:
    field = Field(seed, nodes, degree)
    field.survey()
    field.run()
    assert field.parts() == [nodes], f"seed={seed}"
    for _ in range(3):
        field.survey()
        assert field.run() == nodes - 1, f"seed={seed}"
    assert field.parts() == [nodes], f"seed={seed}"


def met(seed: int, nodes: int = 40, degree: int = 6, *, one: bool = True) -> Field:
    """Six surveys that begin within a fifth of a second."""
    field = Field(seed, nodes, degree, one=one)
    for number in range(6):
        field.survey(number * 40 * MS)
    field.run()
    return field


@given(seed=st.integers(0, 2**32), nodes=st.integers(2, 60), degree=st.integers(2, 7))
def test_surveys_that_meet_leave_nobody_out(seed: int, nodes: int, degree: int) -> None:
    assert met(seed, nodes, degree).parts() == [nodes], f"seed={seed}"


def test_if_each_survey_that_meets_others_counted_the_mesh_would_be_parted() -> None:
    assert sum(met(seed, one=False).parts() != [40] for seed in range(40)) > 5


def test_a_survey_that_goes_over_resting_links_too_would_have_links_rest_and_flow_without_end() -> None:
    """Why the owner of a survey keeps to what flows, where its other words go over all links."""
    sent: dict[bool, int] = {}
    for star in (False, True):
        field = Field(1, 40, 6, star=star)
        for _ in range(20):
            field.survey()
            sent[star] = field.run()
    assert sent[False] == 39 < sent[True]
