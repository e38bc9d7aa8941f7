"""A unit from its claim to its end: opened, run, offered, failed over, given up, taken back."""

import msgspec

from meshnode.agents.messages import StartProcess, StopProcess
from meshnode.checkpoints.messages import HandedOver, StateRefused
from meshnode.gossip.messages import Publish
from meshnode.kernel.effects import Effect
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.records import RecordKind
from meshnode.model.commands import Apply, CallSkill, RunAgent, Scale, StopAgent, Why
from meshnode.model.ids import AgentName, InstanceId
from meshnode.model.views import CallView, Failure, WhyView
from meshnode.node.transmits import coalesced
from meshnode.scheduler.messages import UnitChanged, UnitClaimed, UnitReleased
from tests.unit.node.mesh import Box, Mesh, simulated

COUNTER = RunAgent(name="counter", argv=simulated("counter.name", answer_ms=0, stateful=1))
UNIT = InstanceId("counter/0")


def add(mesh: Mesh, box: Box, n: int, **more: object) -> CallView:
    """One more under an id of its own; the call must succeed."""
    view = mesh.call(box, "counter.add", arguments={"id": f"{box.name}{mesh.now_us}", "n": n}, **more)
    assert isinstance(view, CallView), view
    return view


def total(mesh: Mesh, box: Box) -> int:
    view = mesh.call(box, "counter.get")
    assert isinstance(view, CallView), view
    return view.result["total"]


def three(on: int = 1) -> tuple[Mesh, list[Box]]:
    """alpha, beta and gamma; the counter runs on one of them and has counted to 5."""
    mesh = Mesh()
    boxes = mesh.start("alpha", "beta", "gamma")
    boxes[on].answer(COUNTER)
    mesh.run(2 * SECOND)
    add(mesh, boxes[0], 5)
    return mesh, boxes


def runners(*boxes: Box) -> list[str]:
    return [box.name for box in boxes if UNIT in box.running()]


def story(box: Box, subject: str = "counter") -> list[str]:
    view = box.answer(Why(subject=subject))
    assert isinstance(view, WhyView)
    return [event.text for event in view.events]


def starts(box: Box) -> int:
    return sum(isinstance(effect, StartProcess) for effect in box.effects)


# -- from claim to offer -----------------------------------------------------------------------------------------------


def test_a_unit_starts_after_its_claim_is_durable_and_is_offered_once_it_answers() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    box.answer(COUNTER)
    mesh.run(20 * MS)
    assert [record.key for record in box.records(RecordKind.CLAIM)] == [b"counter/0"]
    assert starts(box) == 1
    view = box.units()[UNIT, "alpha"]
    assert (view.state, view.skills, view.epoch, view.version) == ("starting", [], "1@alpha", 0)
    mesh.run(SECOND)
    view = box.units()[UNIT, "alpha"]
    assert (view.state, view.epoch) == ("running", "1@alpha")
    assert view.skills == ["counter.add", "counter.get", "counter.name", "counter.set"]
    told = "; ".join(story(box))
    for words in ("wanted: 1 x, near alpha", "goes to alpha", "no state yet; epoch 1@alpha", "started, pid 1001"):
        assert words in told, told


def test_no_unit_starts_on_a_disk_that_never_answers() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    number = box.ask(COUNTER)
    box.disk = "slow"  # from the claim on: the document is on its way
    mesh.run(30 * SECOND)
    assert number in box.replies and starts(box) == 0


def test_a_call_while_a_unit_starts_again_is_answered_a_moment_later() -> None:
    mesh, (a, b, _) = three()
    assert b.machine.crash_one()
    mesh.run(20 * MS)
    view = mesh.call(a, "counter.get", to="agent/counter")
    assert isinstance(view, CallView) and view.attempts == 2 and view.took_ms < 500
    assert total(mesh, a) == 5


def test_what_is_offered_goes_with_the_last_unit_of_the_node_and_not_with_a_crash() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(RunAgent(name="counter", argv=COUNTER.argv, replicas=2, on="beta"))
    mesh.run(5 * SECOND)
    assert "counter.get" in a.core.index.skills_of(b.node, "counter")
    published = len(withdrawals(b))
    assert b.machine.crash_one()
    mesh.run(5 * SECOND)
    assert len(withdrawals(b)) == published, "a restart is no reason to tell the mesh twice"
    a.answer(Scale(name="counter", replicas=1))
    mesh.run(3 * SECOND)
    assert "counter.get" in a.core.index.skills_of(b.node, "counter")
    a.answer(StopAgent(name="counter"))
    mesh.run(3 * SECOND)
    assert a.core.index.skills_of(b.node, "counter") == []
    assert a.units() == {}


def withdrawals(box: Box) -> list[str]:
    """Keys of facts about agents that were published empty."""
    facts = box.core.gossip.soft(box.node)
    return [key for key, (value, _, _) in facts.items() if key.startswith(("skill/", "agent/")) and not value]


# -- changes that are refused ------------------------------------------------------------------------------------------


def test_a_change_that_is_not_kept_fails_its_call_and_the_agent_begins_again_later_each_time() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    box.answer(COUNTER)
    mesh.run(2 * SECOND)
    add(mesh, box, 5)
    box.disk = "No space left on device"
    view = mesh.call(box, "counter.add", arguments={"id": "x", "n": 1})
    assert isinstance(view, Failure) and view.code == "journal-failed"
    assert "No space left on device" in view.message
    mesh.run(2 * SECOND)
    box.disk = "ok"
    mesh.run(20 * SECOND)
    assert total(mesh, box) == 5, "what was refused is not there"
    assert starts(box) >= 2
    assert any("No space left on device" in text for text in story(box))


def test_a_refused_change_counts_as_a_crash() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    box.answer(COUNTER)
    mesh.run(2 * SECOND)
    for _ in range(3):
        tell(box, StateRefused(UNIT, b"", "quota", "its state is full"))
        mesh.run(2 * SECOND)
    waits = [text for text in story(box) if "starts again in" in text]
    assert len(waits) == 3 and "crash 3 in a row" in waits[-1]


def tell(box: Box, *facts: Effect) -> None:
    box.take(coalesced(box.core._settle(facts, box.now)))


# -- failover ----------------------------------------------------------------------------------------------------------


def test_the_unit_of_a_killed_owner_goes_to_the_holder_with_its_state() -> None:
    mesh, (a, b, c) = three()
    view = add(mesh, a, 2)
    assert view.durability == "replicated(1)" and view.version == 2
    mesh.run(3 * SECOND)
    (holder,) = a.units()[UNIT, "beta"].copies
    mesh.kill(b)
    took_us = mesh.until(lambda: bool(runners(a, c)))
    assert took_us < 2 * SECOND
    assert runners(a, c) == [holder]
    mesh.run(SECOND)
    assert total(mesh, a) == 7 == total(mesh, c)
    assert a.units()[UNIT, holder].epoch == f"2@{holder}"
    words = "; ".join(story(a if holder == "alpha" else c))
    assert "state version 2 from" in words and "holds a copy of its state" in words


def test_a_daemon_killed_and_started_again_at_once_takes_its_agents_back_and_loses_no_change() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    box.answer(COUNTER)
    mesh.run(2 * SECOND)
    add(mesh, box, 5)
    pid = box.units()[UNIT, "alpha"].pid
    mesh.kill(box, agents=False)
    assert box.machine.running(), "they live on"
    again = mesh.boot(box)
    mesh.run(2 * SECOND)
    view = again.units()[UNIT, "alpha"]
    assert (view.pid, view.state, view.epoch) == (pid, "running", "2@alpha")
    assert starts(again) == 0
    assert total(mesh, again) == 5


def test_a_node_alone_boots_with_its_agents_and_their_state() -> None:
    mesh, (a, b, c) = three()
    mesh.run(SECOND)
    for box in (a, b, c):
        mesh.kill(box)
    mesh.run(60 * SECOND)
    again = mesh.boot(b, seeds=["alpha"])
    took_us = mesh.until(lambda: isinstance(mesh.call(again, "counter.get", deadline_s=0.2), CallView))
    assert took_us < 3 * SECOND
    assert total(mesh, again) == 5


# -- two owners --------------------------------------------------------------------------------------------------------


def test_both_sides_of_a_cut_answer_and_after_it_one_goes_on_with_the_work_of_both() -> None:
    mesh, (a, b, c) = three()
    mesh.run(SECOND)
    mesh.isolate(b)
    mesh.until(lambda: bool(runners(a, c)))
    mesh.run(2 * SECOND)
    winner = a if UNIT in a.running() else c
    add(mesh, winner, 10)
    add(mesh, b, 100)
    assert (total(mesh, winner), total(mesh, b)) == (15, 105)
    mesh.heal()
    mesh.until(lambda: runners(a, b, c) == [winner.name], 30 * SECOND)
    assert {total(mesh, box) for box in (a, b, c)} == {115}
    words = "; ".join(story(b))
    assert f"{winner.name} runs it in epoch 2, which is newer than 1 here" in words
    assert f"all of its state is with {winner.name}" in words
    assert "merged with beta" in "; ".join(story(winner))
    assert b.units()[UNIT, winner.name].state == "running"


def test_the_loser_takes_no_new_calls_once_it_hands_over_and_ends_those_it_has() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(RunAgent(name="slow", argv=simulated("slow.one", answer_ms=1_500)))
    mesh.run(2 * SECOND)
    number = b.ask(CallSkill(skill="slow.one", deadline_s=30))
    mesh.run(100 * MS)
    tell(b, UnitReleased(InstanceId("slow/0"), "alpha runs it", None))
    late = mesh.call(b, "slow.one", deadline_s=0.5)
    assert isinstance(late, Failure)
    mesh.run(5 * SECOND)
    assert isinstance(b.replies[number][0], CallView)
    assert a.exit is None


def test_a_node_that_finds_its_unit_running_elsewhere_at_its_boot_hands_its_state_over() -> None:
    """It is cut off, counts on, is switched off, and comes back into the healed mesh."""
    mesh, (a, b, c) = three()
    mesh.run(SECOND)
    mesh.isolate(b)
    mesh.until(lambda: bool(runners(a, c)))
    mesh.run(2 * SECOND)
    add(mesh, b, 100)
    mesh.kill(b)
    mesh.heal()
    again = mesh.boot(b, seeds=["alpha", "gamma"])
    mesh.run(10 * SECOND)
    assert again.running() == [] and len(runners(a, c)) == 1
    assert total(mesh, a) == 105
    assert starts(again) == 0


def test_a_unit_taken_back_while_it_leaves_begins_again_under_the_new_epoch_with_its_state() -> None:
    """The winner it was being handed to is gone before the hand-over is."""
    mesh, (a, b, c) = three()
    mesh.run(SECOND)
    mesh.cut("alpha", "beta")
    mesh.cut("beta", "gamma")
    mesh.run(10 * MS)
    tell(b, UnitReleased(UNIT, "alpha runs it", a.node))
    assert b.core.homes[UNIT].leaving
    before = starts(b)
    want = b.core.intentions.want(AgentName("counter"))
    assert want is not None
    tell(b, UnitClaimed(UNIT, want, 1, Epoch(9, b.node)))
    mesh.run(SECOND)
    assert starts(b) == before + 1 and b.running() == [UNIT]
    assert not b.core.homes[UNIT].leaving
    tell(b, HandedOver(UNIT, a.node))  # an old word of the former winner
    mesh.run(SECOND)
    assert b.running() == [UNIT]
    assert total(mesh, b) == 5
    assert c.exit is None


# -- changed while it runs ---------------------------------------------------------------------------------------------


def changed(box: Box, **fields: object) -> None:
    want = box.core.intentions.want(AgentName("counter"))
    assert want is not None
    tell(box, UnitChanged(UNIT, msgspec.structs.replace(want, **fields), 1))


def test_another_durability_restarts_nothing_and_counts_from_the_next_change_on() -> None:
    mesh, (a, b, _) = three()
    (document,) = b.core.documents.list("Agent")
    spec = {**document.spec, "durability": "local"}
    a.answer(Apply(manifest={"apiVersion": "v1", "kind": "Agent", "metadata": {"name": "counter"}, "spec": spec}))
    before = starts(b)
    mesh.run(2 * SECOND)
    assert add(mesh, a, 1).durability == "local"
    assert starts(b) == before
    standing = b.core.scheduler.standing(AgentName("counter"), b.now)
    assert [unit.state for unit in standing.units] == ["running"]


def test_facts_about_units_that_are_not_here_do_nothing() -> None:
    _, (a, b, _) = three()
    before = len(a.effects)
    changed(a, generation=7)
    tell(a, UnitReleased(InstanceId("other/0"), "nobody wants it", None))
    tell(a, UnitReleased(InstanceId("other/0"), "beta runs it", b.node))
    assert not [e for e in a.effects[before:] if isinstance(e, StartProcess | StopProcess)]


# -- a full disk -------------------------------------------------------------------------------------------------------


def test_on_a_full_disk_units_are_still_claimed_and_given_up_and_the_claims_are_written_later() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(RunAgent(name="words", argv=simulated("words.count", answer_ms=0)))
    mesh.run(2 * SECOND)
    a.disk = "No space left on device"
    b.answer(RunAgent(name="eyes", argv=simulated("see", answer_ms=0), on="alpha"))
    b.answer(StopAgent(name="words"))
    mesh.run(5 * SECOND)
    assert a.running() == ["eyes/0"]
    assert isinstance(mesh.call(b, "see"), CallView)
    assert [record.key for record in a.records(RecordKind.CLAIM)] == [b"words/0"]
    a.disk = "ok"
    mesh.run(12 * SECOND)
    kept = {record.key: record.body for record in a.records(RecordKind.CLAIM)}
    assert sorted(kept) == [b"eyes/0", b"words/0"]
    mesh.kill(a)
    again = mesh.boot(a, seeds=["beta"])
    mesh.run(3 * SECOND)
    assert again.running() == ["eyes/0"]


# -- many units --------------------------------------------------------------------------------------------------------


def test_a_thousand_units_of_one_agent_are_few_facts_and_their_burst_is_told_in_few_words() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    published: list[Publish] = []
    handle = box.core.gossip.handle

    def counted(event: object, now: object) -> object:
        if isinstance(event, Publish) and event.key.startswith("agent/"):
            published.append(event)
        return handle(event, now)  # type: ignore[arg-type]

    box.core.gossip.handle = counted  # type: ignore[method-assign, assignment]
    box.core.offering._publish = counted  # type: ignore[assignment]
    box.answer(RunAgent(name="words", argv=simulated("words.count", answer_ms=0), replicas=1_000))
    mesh.run(10 * SECOND)
    assert len(box.running()) == 1_000
    standing = box.core.scheduler.standing(AgentName("words"), box.now)
    assert standing.slots("running") == 1_000
    facts = [key for key, (value, _, _) in box.core.gossip.soft(box.node).items() if key.startswith("agent/") and value]
    assert len(facts) <= 16
    assert len(published) <= 200, "not one for each of thousands of steps"
    assert len([text for text in story(box, "words") if "goes to alpha" in text]) <= 1
