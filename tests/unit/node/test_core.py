"""One node as one machine: what waits for the disk, what a turn sends, what reaches whom in which order."""

from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.deployments.reader import Reader
from meshnode.deployments.wants import Declared, Reading
from meshnode.gossip.messages import Disturbed, SoftChanged
from meshnode.kernel.effects import Effect, Note, Persist, Reject, Send
from meshnode.kernel.instant import MS, SECOND, ClockTrust, Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import CloseLink, LinkBytes, LinkOpened, Transmit
from meshnode.model.commands import GetStatus, ListNodes, RunAgent
from meshnode.model.ids import DocId, LinkId
from meshnode.model.views import Done, NodesView, StatusView
from meshnode.node.core import EARLY_MAX
from meshnode.node.effects import Announce, Reply, Store
from meshnode.node.entry import CALM_MAX_US
from meshnode.node.inputs import CommandGiven, HardwareProbed, LoadSampled, Measured, Slept, Stored, StoreFailed
from meshnode.node.proven import EVERY_US
from meshnode.node.rooms import Rooms
from meshnode.node.transmits import coalesced
from meshnode.registry.offers import UnitOffer, encode_agent
from meshnode.security.messages import IssueLeaf, RefuseEnrolment
from tests.unit.node.mesh import FACTS, LOAD, NOW_MS, Box, Mesh, signer_of

A_RECORD = Record(RecordKind.CONTACT, b"x:1", b"x")


def started(**more: object) -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha", **more).start()  # pyright: ignore[reportArgumentType]
    mesh.run(100 * MS)
    return mesh, box


def settled(box: Box, *effects: Effect) -> list[Effect]:
    return box.core._settle(effects, box.now)


# -- the boot ----------------------------------------------------------------------------------------------------------


def test_nothing_is_done_before_the_boot_is_durable() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha", seeds=["beta"])
    box.disk = "slow"
    box.start()
    box.tell(HardwareProbed(FACTS))
    box.tell(LoadSampled(LOAD))
    box.tell(CommandGiven(1, ListNodes()))
    box.tell(LinkOpened(LinkId(7), signer_of("beta").node, "beta", True, 0, "beta:1"))
    mesh.run(10 * SECOND)
    assert [type(effect) for effect in box.effects] == [Store]
    assert box.effects[0] == Store(1, (Record(RecordKind.BOOT, b"", (1).to_bytes(8)),))


def test_what_came_before_the_boot_was_durable_is_done_then_and_in_order() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    box.tell(HardwareProbed(FACTS))
    box.tell(CommandGiven(1, ListNodes()))
    box.tell(Measured(0, 123, 0))
    box.tell(CommandGiven(2, GetStatus()))
    mesh.run(100 * MS)
    (nodes,), (status,) = box.replies[1], box.replies[2]
    assert isinstance(nodes, NodesView) and nodes.items[0].hardware["cpu"] == {"usable": 4}
    assert isinstance(status, StatusView) and status.journal_bytes == 123


def test_a_boot_that_cannot_be_counted_ends_the_node_with_the_reason() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha")
    box.disk = "No space left on device"
    box.start()
    mesh.run(SECOND)
    assert box.exit is not None and box.exit.code == 1
    assert "this boot could not be counted: No space left on device" in box.exit.reason


def test_connections_without_end_do_not_fill_the_memory_of_a_node_that_waits_for_its_disk() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha")
    box.disk = "slow"
    box.start()
    for number in range(1, EARLY_MAX + 500):
        box.tell(LinkOpened(LinkId(number), signer_of("beta").node, "beta", True, 0, "beta:1"))
        box.tell(LinkBytes(LinkId(number), b"x"))
    assert len(box.core._early) == EARLY_MAX
    assert box.effects[-1] == CloseLink(LinkId(EARLY_MAX + 499), abort=True)
    box.tell(CommandGiven(1, ListNodes()))
    assert len(box.core._early) == EARLY_MAX + 1, "people and agents of this machine still get their answer"


def test_boots_count_up_and_the_highest_counts() -> None:
    records = [Record(RecordKind.BOOT, b"", n.to_bytes(8)) for n in (3, 7, 5)]
    mesh = Mesh()
    assert Box(mesh, "alpha", records).core.boot == 8


# -- commits -----------------------------------------------------------------------------------------------------------


def test_what_hangs_on_a_commit_happens_after_it_and_only_once() -> None:
    _, box = started()
    then = (Note("node/alpha", "first"), Reply(7, Done()), Note("node/alpha", "second"))
    (store,) = settled(box, Persist((A_RECORD,), then))
    assert isinstance(store, Store) and store.records == (A_RECORD,)
    effects = box.core.handle(Stored(store.batch_no), box.now)
    shown = [e.event.text if isinstance(e, Announce) else e for e in effects if not isinstance(e, Store)]
    assert shown == ["first", Reply(7, Done()), "second"]
    assert box.core.handle(Stored(store.batch_no), box.now) == []


def test_commits_are_numbered_in_the_order_in_which_they_were_wanted() -> None:
    _, box = started()
    stores = settled(box, Persist((A_RECORD,)), Note("node/alpha", "x"), Persist((A_RECORD,)))
    numbers = [effect.batch_no for effect in stores if isinstance(effect, Store)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_nothing_that_hangs_on_a_failed_commit_happens_and_who_waits_is_told() -> None:
    _, box = started()
    issue = IssueLeaf(5, b"csr", "beta", b"key", b"member", b"bundle")
    then = (Note("node/alpha", "never"), Send(signer_of("beta").node, 1, b"never"), Reply(7, Done()), issue)
    (store,) = settled(box, Persist((A_RECORD,), then))
    assert isinstance(store, Store)
    reply, refusal = box.core.handle(StoreFailed(store.batch_no, "No space left on device."), box.now)
    assert isinstance(reply, Reply) and reply.view.code == "journal-failed"
    assert reply.view.message == "No space left on device. Nothing changed"
    assert isinstance(refusal, RefuseEnrolment) and refusal.request_no == 5
    assert "No space left" in refusal.message
    assert box.core.counters["store-failed"] == 1
    assert box.core.handle(Stored(store.batch_no), box.now) == []


def test_an_older_claim_never_replaces_a_newer_one_though_its_disk_failed_first() -> None:
    mesh, box = started()
    old, new = (Record(RecordKind.CLAIM, b"words/0", body) for body in (b"old", b"new"))
    first, second = settled(box, Persist((old,)), Persist((new,)))
    assert isinstance(first, Store) and isinstance(second, Store)
    box.core.handle(StoreFailed(first.batch_no, "full"), box.now)
    box.core.handle(Stored(second.batch_no), box.now)
    mesh.run(60 * SECOND)
    assert box.records(RecordKind.CLAIM) == [], "nothing was offered again"


def test_an_owed_claim_is_offered_until_the_disk_takes_it() -> None:
    mesh, box = started()
    (store,) = settled(box, Persist((Record(RecordKind.CLAIM, b"words/0", b"new"),)))
    assert isinstance(store, Store)
    box.disk = "full"
    box.take(box.core.handle(StoreFailed(store.batch_no, "full"), box.now))
    mesh.run(35 * SECOND)
    tries = [e for e in box.effects if isinstance(e, Store) and any(r.key == b"words/0" for r in e.records)]
    assert len(tries) == 3
    box.disk = "ok"
    mesh.run(60 * SECOND)
    assert [record.body for record in box.records(RecordKind.CLAIM)] == [b"new"]


# -- documents -> wants ------------------------------------------------------------------------------------------------


def test_many_documents_that_come_at_once_are_read_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, a = started()
    for number in range(60):
        a.answer(RunAgent(name=f"agent{number}", argv=["x"], replicas=0))
    readings: list[int] = []
    change = Reader.change

    def counted(self: Reader, changed: Iterable[tuple[DocId, Declared | None]]) -> Reading:
        some = list(changed)
        readings.append(len(some))
        return change(self, some)

    monkeypatch.setattr(Reader, "change", counted)
    b = Box(mesh, "beta", seeds=["alpha"]).start()
    mesh.run(5 * SECOND)
    assert len(b.core.intentions.wants()) == 60
    assert sum(readings) == 60 and len(readings) < 20


# -- one turn ----------------------------------------------------------------------------------------------------------


def test_all_bytes_of_a_link_leave_as_one_piece_where_the_first_stood() -> None:
    a, b = LinkId(1), LinkId(2)
    store = Store(1, ())
    effects = [
        Transmit(a, b"1"),
        store,
        Transmit(b, b"x"),
        Transmit(a, b"2"),
        (close := CloseLink(b, abort=False)),
        Transmit(a, b"3"),
    ]
    assert coalesced(effects) == [Transmit(a, b"123"), store, Transmit(b, b"x"), close]
    assert coalesced([]) == []


@given(st.lists(st.tuples(st.integers(1, 4), st.binary(max_size=8)), max_size=40))
def test_coalescing_keeps_the_bytes_of_every_link(sent: list[tuple[int, bytes]]) -> None:
    joined = coalesced([Transmit(LinkId(link), data) for link, data in sent])
    assert len(joined) == len({link for link, _ in sent})
    for effect in joined:
        assert isinstance(effect, Transmit)
        assert effect.data == b"".join(data for link, data in sent if link == effect.link)


class Alarm:
    """A room that is due once, and does what it is told."""

    def __init__(self, wake: Callable[[], list[Effect]]) -> None:
        self._wake, self._due = wake, True

    def deadline(self) -> int | None:
        return 0 if self._due else None

    def wake(self, now: Instant) -> list[Effect]:
        self._due = False
        return self._wake()


def test_what_one_room_finds_out_while_waking_reaches_the_others_before_they_are_woken() -> None:
    _, box = started()
    node, known = signer_of("beta").node, list[int]()
    (page,) = encode_agent([UnitOffer(0, 1, "running", 1)]).values()
    finder = Alarm(lambda: [SoftChanged(node, "agent/words", page, 1)])
    asker = Alarm(lambda: known.append(box.core.index.agents_on(node)) or [])
    box.core.rooms = Rooms((finder, *box.core.rooms.all[1:-1], asker))
    box.core.wake(box.now)
    assert known == [1]


def test_a_spurious_wake_does_nothing() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    deadline = a.core.deadline()
    assert deadline is not None and deadline > mesh.now_us
    assert a.core.wake(a.now) == []
    assert a.core.deadline() == deadline


def test_facts_that_chase_each_other_stop_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    from meshnode.messaging.messages import Reach
    from meshnode.node import core as module

    _, box = started()
    monkeypatch.setattr(module, "SETTLE_MAX", 1_000)
    monkeypatch.setattr(module, "climb", lambda _core, fact, _now: [fact])
    with pytest.raises(AssertionError, match="come to rest"):
        settled(box, Reach(box.node))


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_refusals_are_counted_always_and_told_once_a_kind_and_peer() -> None:
    _, box = started()
    beta, gamma = signer_of("beta").node, signer_of("gamma").node
    flood = [Reject(beta, "junk", f"no {n}") for n in range(1_000)]
    effects = settled(box, *flood, Reject(beta, "other"), Reject(gamma, "junk"))
    told = [effect.event.text for effect in effects if isinstance(effect, Announce)]
    assert told == ["refused what it sent: junk (no 0)", "refused what it sent: other", "refused what it sent: junk"]
    assert len([effect for effect in effects if isinstance(effect, Store)]) == 3
    assert (box.core.counters["rejected-junk"], box.core.counters["rejected-other"]) == (1_001, 1)


def test_a_long_word_of_a_stranger_does_not_become_a_long_record() -> None:
    _, box = started()
    (store, _) = settled(box, Reject(signer_of("beta").node, "junk", "\U0001f600" * 100_000))
    assert isinstance(store, Store) and len(store.records[0].body) < 2_000


# -- what the host senses ----------------------------------------------------------------------------------------------


def test_facts_too_big_to_be_published_are_kept_here_and_said() -> None:
    mesh, box = started()
    big = msgspec.json.encode({"warnings": ["x" * 5_000]})
    box.tell(HardwareProbed(big))
    mesh.run(SECOND)
    (text,) = [text for text in box.told("node/alpha") if "not published" in text]
    assert "4096" in text
    view = box.answer(GetStatus())
    assert isinstance(view, StatusView) and view.hardware == msgspec.json.decode(big)
    assert box.core.gossip.self_row().facts == b"{}"


@pytest.mark.parametrize(("slept_us", "calm_us"), [(800 * MS, 800 * MS), (8 * 3600 * SECOND, CALM_MAX_US)])
def test_after_a_sleep_nobody_is_blamed_for_a_moment_however_long_it_was(slept_us: int, calm_us: int) -> None:
    _, box = started()
    heard: list[object] = []
    handle = box.core.gossip.handle
    box.core.gossip.handle = lambda event, now: heard.append(event) or handle(event, now)  # type: ignore[method-assign]
    box.tell(Slept(slept_us))
    assert heard == [Disturbed(calm_us)]


def test_a_peer_that_died_during_a_long_sleep_is_found_soon_after() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    mesh.cut("alpha", "beta")
    a.tell(Slept(8 * 3600 * SECOND))
    mesh.run(15 * SECOND)
    view = a.answer(ListNodes())
    assert isinstance(view, NodesView) and view.items[1].state == "unreachable"


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_synchronised_clock_is_written_down_and_never_runs_below_it_again() -> None:
    mesh, box = started()
    mesh.run(EVERY_US + SECOND)
    (record,) = box.records(RecordKind.CLOCK)
    written_ms = int.from_bytes(record.body)
    assert abs(written_ms - box.now.wall_ms) < 2_000
    again = Box(mesh, "alpha", box.journal, run=2)
    assert again.core.clock.floor_ms == written_ms


def test_a_clock_nobody_vouches_for_is_not_written_down_only_the_time_that_passed() -> None:
    """Its battery may be dead, or somebody set it to 2090: written down, that would stay in force for ever."""
    floor_ms = NOW_MS - 1_000_000
    mesh, box = started(records=[Record(RecordKind.CLOCK, b"", floor_ms.to_bytes(8))], trust=ClockTrust.FLOOR)
    mesh.run(2 * EVERY_US + SECOND)
    first, second = (int.from_bytes(record.body) for record in box.records(RecordKind.CLOCK)[1:])
    assert abs(first - floor_ms - EVERY_US // 1_000) < 1_000
    assert abs(second - floor_ms - 2 * EVERY_US // 1_000) < 1_000
    assert second < box.now.wall_ms


def test_a_clock_that_was_set_back_does_not_lower_what_is_written() -> None:
    later_ms = NOW_MS + 10**9
    mesh, box = started(records=[Record(RecordKind.CLOCK, b"", later_ms.to_bytes(8))])
    mesh.run(EVERY_US + SECOND)
    assert int.from_bytes(box.records(RecordKind.CLOCK)[-1].body) >= later_ms


# -- sameness ----------------------------------------------------------------------------------------------------------


def test_equal_inputs_give_equal_effects() -> None:
    def play() -> list[Effect]:
        mesh = Mesh()
        a, b = mesh.start("alpha", "beta")
        mesh.run_agent(b, "words", "words.count")
        mesh.call(a, "words.count")
        mesh.cut("alpha", "beta")
        mesh.run(20 * SECOND)
        mesh.heal()
        mesh.run(20 * SECOND)
        a.answer(RunAgent(name="eyes", argv=["x"]))
        return [*a.effects, *b.effects]

    assert play() == play()
