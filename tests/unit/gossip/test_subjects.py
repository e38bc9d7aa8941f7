"""Who has an object in the detector and who has none: it must not make a difference to anybody who asks."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip.alerts import Alert
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.detector import Detector
from meshnode.gossip.directory import Directory, Row, Status
from meshnode.gossip.docket import PAUSE_US
from meshnode.gossip.letters import ALIAS_BYTES, ProbeAck, SignedRow, Standing
from meshnode.gossip.messages import MemberChanged, MemberState
from meshnode.gossip.row import encode_row
from meshnode.gossip.subject import Subject
from meshnode.gossip.subjects import OBSERVED_MAX, Subjects
from meshnode.gossip.verdict import STRONG, Evidence
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import luck

ME = NodeId(bytes(32))
Step = tuple[Any, ...]
NODES = [NodeId(bytes([1 + number]) * 32) for number in range(6)]


class Believer:
    """Every signature is good."""

    def __init__(self) -> None:
        self.members: dict[NodeId, Member] = {}

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return bool(public_key and context and body and signature)

    def admit(self, record: bytes) -> Member | str:
        return f"unknown {len(record)}"

    def member(self, node: NodeId) -> Member | None:
        return self.members.setdefault(node, Member(node, f"n{node[3]}", b"k", (), f"r{node[3] % 3}", {}, b"record"))


class Wires:
    """Links that heard everybody a while ago, as long as somebody says."""

    def __init__(self) -> None:
        self.heard: dict[NodeId, int] = {}
        self.trip_us = 1000

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.heard)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.heard.get(peer)

    def rtt_us(self, peer: NodeId) -> int | None:
        return self.trip_us if peer in self.heard else None


class Everybody(Subjects):
    """Nobody is ever plain."""

    def _folds(self, subject: Subject, now_us: int) -> bool:
        del subject, now_us
        return False


class Half:
    """One detector with the directory it reads. ``shortly``: what only tells other facts is not learnt anew."""

    def __init__(
        self, make: Callable[[NodeId, Directory], Subjects], kind: type[Detector] = Detector, *, shortly: bool = True
    ) -> None:
        self.wires, trust = Wires(), Believer()
        self.directory, self.shortly, self.short = Directory(trust, trust), shortly, 0
        config = GossipConfig(node=ME, name="me", region="r0", boot=1, member=b"m")
        self.detector = kind(config, self.wires, luck(1), make(ME, self.directory))

    def learn(self, node: NodeId, order: tuple[int, int], source: NodeId | None, now: Instant) -> list[Effect]:
        row = Row(node, *order, Status.ALIVE, (), b"{}", 0)
        merge = self.directory.offer(SignedRow(encode_row(row), b"s", b"record"))
        if merge is None or not merge.news:
            return []
        self.directory.hold(merge)
        member = merge.entry.member
        if self.shortly and source is None and merge.facts_only and self.detector.retold(node, order[1], now):
            self.short += 1
            return []
        subject = Subject(node, member.name, member.region, *order)
        before = merge.before if merge.known else None
        return self.detector.learn(subject, source, now, alive_now=source is None, before=before)

    def do(self, step: Step, now: Instant) -> list[Effect]:
        detector = self.detector
        match step:
            case ("row", node, boot, incarnation, source):
                return self.learn(node, (boot, incarnation), source, now)
            case ("up", node):
                self.wires.heard[node] = now.mono_us
                return detector.up(node, detector.subject(node).boot if detector.subject(node) else 0, now)
            case ("down", node, how):
                return detector.down(node, how, "", now) if self.wires.heard.pop(node, None) is not None else []
            case ("heard", node):
                self.wires.heard.update({node: now.mono_us} if node in self.wires.heard else {})
                return detector.heard(node, now)
            case ("dial", node, how):
                return detector.dial_failed(node, how, now, proven=True)
            case ("alert", node, by, kind):
                entry = self.directory.entry(node)
                alert = Alert(node, entry.boot, entry.incarnation, by, kind, ()) if entry else None
                return (detector.voted(alert, now) or []) if alert else []
            case ("standing", node, told, partial):
                unready = [(other[:ALIAS_BYTES], MemberState.DOWN.value) for other in told]
                return detector.told_standing(node, Standing(unready, partial), now)
            case ("help", node, by):
                return detector.probe_answered(by, ProbeAck(node, 10), now)
            case ("vouch", node):
                return detector.vouch(node, now.mono_us, now)
            case _:
                return detector.expired(step[1], now)


def changes(effects: Sequence[Effect]) -> list[MemberChanged]:
    """Sorted: whom nobody vouched for is gone through in another order."""
    return sorted((effect for effect in effects if isinstance(effect, MemberChanged)), key=repr)


nodes = st.sampled_from(NODES)
evidence = st.sampled_from([Evidence.SILENT, Evidence.BROKEN, Evidence.REFUSED])
steps = st.one_of(
    st.tuples(st.just("row"), nodes, st.integers(1, 2), st.integers(0, 3), st.one_of(st.none(), nodes)),
    st.tuples(st.just("up"), nodes),
    st.tuples(st.just("down"), nodes, st.sampled_from([Loss.RESET, Loss.CLOSED, Loss.SILENT])),
    st.tuples(st.just("heard"), nodes),
    st.tuples(st.just("dial"), nodes, st.sampled_from(DialFailure)),
    st.tuples(st.just("alert"), nodes, nodes, evidence).filter(lambda step: step[1] != step[2]),
    st.tuples(st.just("standing"), nodes, st.lists(nodes, max_size=2), st.booleans()),
    st.tuples(st.just("help"), nodes, nodes),
    st.tuples(st.just("vouch"), nodes),
    st.tuples(st.just("expired"), nodes),
)


class Hasty(Subjects):
    """A planted fault: who is doubted is forgotten."""

    def _folds(self, subject: Subject, now_us: int) -> bool:
        return super()._folds(subject, now_us) or subject.own is not None


def differ(sparse: Half, dense: Half, story: Sequence[tuple[Step, int]]) -> str:
    """What two detectors that were told the same say differently; "" if nothing."""
    now_us = 10 * SECOND
    for node in NODES:
        for half in (sparse, dense):
            half.learn(node, (1, 0), None, Instant(now_us, 0))
    for step, pause_ms in story:
        now_us += pause_ms * MS
        now = Instant(now_us, 0)
        said = changes([*sparse.do(step, now), *sparse.detector.wake(now)])
        expected = changes([*dense.do(step, now), *dense.detector.wake(now)])
        if said != expected:
            return f"{step}: {said}, not {expected}"
        for node in NODES:
            if sparse.detector.state(node) is not dense.detector.state(node):
                return f"{step}: {sparse.detector.state(node)}"
            if sparse.detector.lost(node) is not dense.detector.lost(node):
                return f"{step}: lost"
    return ""


@settings(max_examples=300)
@given(story=st.lists(st.tuples(steps, st.sampled_from([0, 50, 700, 3_100])), max_size=40))
def test_a_sparse_detector_says_what_a_dense_one_says(story: Sequence[tuple[Step, int]]) -> None:
    assert not differ(Half(Subjects), Half(Everybody), story)


def test_the_comparison_notices_a_detector_that_forgets_whom_it_doubts() -> None:
    story: list[tuple[Step, int]] = [(("up", NODES[0]), 0), (("down", NODES[0], Loss.RESET), 3_100)]
    assert differ(Half(Hasty), Half(Everybody), story)


@settings(max_examples=300)
@given(story=st.lists(st.tuples(steps, st.sampled_from([0, 50, 700, 3_100])), max_size=40))
def test_a_row_that_only_tells_other_facts_of_one_that_is_well_changes_no_verdict(
    story: Sequence[tuple[Step, int]],
) -> None:
    assert not differ(Half(Subjects), Half(Subjects, shortly=False), story)


def test_in_a_calm_mesh_rows_that_only_tell_other_facts_are_not_learnt_anew() -> None:
    half = Half(Subjects)
    rows = [(("row", node, 1, incarnation, None), 50) for node in NODES for incarnation in (1, 2)]
    assert not differ(half, Half(Everybody, shortly=False), [(("up", NODES[0]), 0), *rows])
    assert half.short == len(rows)


class Trusting(Detector):
    """A planted fault: whoever says other facts is well."""

    def retold(self, node: NodeId, incarnation: int, now: Instant) -> bool:
        del node, incarnation, now
        return True


def test_the_comparison_notices_who_is_taken_for_well_by_other_facts() -> None:
    story: list[tuple[Step, int]] = [
        (("up", NODES[0]), 0), (("down", NODES[0], Loss.RESET), 50), (("row", NODES[0], 1, 1, None), 50),
        (("alert", NODES[0], NODES[1], Evidence.REFUSED), 50), (("alert", NODES[0], NODES[2], Evidence.REFUSED), 3_100),
    ]  # fmt: skip
    assert differ(Half(Subjects, Trusting), Half(Subjects, shortly=False), story)


def crowd(count: int) -> tuple[Half, Instant]:
    half, now = Half(Subjects), Instant(10 * SECOND, 0)
    for number in range(1, count + 1):
        half.learn(NodeId(number.to_bytes(4) * 8), (1, 0), None, now)
    return half, now


def test_nobody_of_a_calm_mesh_has_an_object_but_the_neighbours() -> None:
    half, now = crowd(200)
    peer = half.directory.members()[5]
    half.do(("up", peer), now)
    assert [subject.node for subject in half.detector.notable()] == [peer]
    half.do(("down", peer, Loss.CLOSED), now)
    assert list(half.detector.notable()) == []
    assert {subject.state for subject in half.detector.subjects()} == {MemberState.READY}


def test_a_restarted_node_vouches_for_nobody_and_a_word_about_all_reaches_it() -> None:
    half, now = crowd(100)
    node = half.directory.members()[3]
    half.detector.expired(node, now)
    told = half.detector.standing()
    assert told is not None and told.partial
    half.detector.told_standing(half.directory.members()[4], Standing([], partial=True), now)
    assert half.detector.state(node) is MemberState.UNREACHABLE
    half.detector.told_standing(half.directory.members()[4], Standing([]), now)
    assert half.detector.state(node) is MemberState.READY
    assert half.detector.standing() == Standing([])


def test_former_neighbours_are_remembered_up_to_a_bound() -> None:
    half, now = crowd(OBSERVED_MAX + 10)
    for node in half.directory.members():
        half.do(("up", node), now)
        half.do(("down", node, Loss.CLOSED), now)
    first, last = half.directory.members()[0], half.directory.members()[-1]
    for node, testifies in ((first, False), (last, True)):
        half.do(("dial", node, DialFailure.TIMEOUT), now)
        assert (ME in half.detector.observers(node)) is testifies


def test_a_large_region_of_which_half_is_silent_is_one_fact_unless_it_speaks_for_itself() -> None:
    half, now = crowd(90)
    west, east = list(half.directory.in_region("r0")), list(half.directory.in_region("r1"))
    for node in east[: len(east) // 2 + 1]:
        half.do(("alert", node, west[0], Evidence.SILENT), now)
    silent = half.detector.subject(east[0])
    assert silent is not None and silent.reason == f"region r1 unreachable: {len(east)} nodes"
    half.do(("alert", east[0], east[1], Evidence.SILENT), now)
    half.detector.wake(Instant(now.mono_us + PAUSE_US, 0))
    silent = half.detector.subject(east[0])
    assert silent is not None and silent.reason == "silent since a cut or a pause"


class Cleared(Subject):
    """A planted fault: it takes back what was said, and not that it was proof."""

    def _unsay(self) -> None:
        self.votes.clear()


words = st.lists(st.one_of(st.tuples(nodes, st.sampled_from(Evidence)), st.sampled_from(["advance", "acquit"])))


def counts(make: Callable[..., Subject], story: Sequence[tuple[NodeId, Evidence] | str]) -> bool:
    """Whether it knows after each word how many of the voices have proof."""
    subject = make(NODES[0], "n", "r", 1, 0)
    for number, step in enumerate(story):
        match step:
            case "advance":
                subject.advance(1, number)
            case "acquit":
                subject.acquit()
            case (observer, kind):
                subject.vote(observer, kind, number)
        if subject.proofs != sum(kind >= STRONG for kind in subject.votes.values()):
            return False
    return True


@given(words)
def test_how_many_have_proof_is_known_whatever_is_said_and_taken_back(
    story: Sequence[tuple[NodeId, Evidence] | str],
) -> None:
    assert counts(Subject, story)


def test_proof_that_is_not_taken_back_is_noticed() -> None:
    assert not counts(Cleared, [(NODES[1], Evidence.REFUSED), "acquit"])
