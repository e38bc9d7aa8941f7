"""The loop in virtual time: order of turns, one timer, standing still, and what a broken core comes to."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine

import pytest

from meshnode.host.loop import AGAIN_MAX, ALONE_US, LAG_US, TURN_MAX, CoreLoop
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.links.messages import CloseLink, Transmit
from meshnode.model.ids import AgentConn, LinkId
from meshnode.node.effects import Exit
from meshnode.node.inputs import Input, LoadSampled, Measured, Slept
from meshnode.wire.bus import AgentFrames

START_US = 5_000 * SECOND  # a machine that has been up for long


class Jumping(selectors.SelectSelector):
    """Never waits: time passes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for ever"
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock only moves when nothing is to be done, or when somebody is busy."""

    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def be_busy(self, for_us: int) -> None:
        self._jumping.now_s += for_us / 1_000_000


class Machine:
    """Stands where the core stands: notes what it is told, has deadlines as a test sets them."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.due: list[int] = []  # when it wants to be woken, since the start
        self.early: list[int] = []  # when it may have wanted to
        self.told: list[tuple[str, int]] = []
        self.answers: Callable[[Input], list[Effect]] = lambda _event: []
        self.busy_us = 0
        self.every_us = 0  # a new deadline after each wake
        self.says: list[Effect] = []  # when it is woken

    def start(self, now: Instant) -> list[Effect]:
        self._note("start", now)
        return []

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        self._note(f"slept {event.for_us}" if isinstance(event, Slept) else _name(event), now)
        self._loop.be_busy(self.busy_us)
        return self.answers(event)

    def wake(self, now: Instant) -> list[Effect]:
        self._note("wake", now)
        self.due = [at for at in self.due if START_US + at > now.mono_us]
        if self.every_us:
            self.due.append(now.mono_us - START_US + self.every_us)
        return list(self.says)

    def deadline(self) -> int | None:
        return START_US + min([*self.due, *self.early]) if self.due or self.early else None

    def is_due(self, now: Instant) -> bool:
        self.early = []
        due_us = self.deadline()
        return due_us is not None and due_us <= now.mono_us

    def _note(self, what: str, now: Instant) -> None:
        self.told.append((what, now.mono_us - START_US))

    @property
    def heard(self) -> list[str]:
        return [what for what, _ in self.told]


def _name(event: Input) -> str:
    return f"event {event.journal_bytes}" if isinstance(event, Measured) else type(event).__name__


class Stage:
    """A machine, its loop, and the effects performed."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop, self.machine = loop, Machine(loop)
        self.suspended = 0
        self.performed: list[Effect] = []
        self.hand: Callable[[Effect], None] = lambda _effect: None
        self.driver = CoreLoop(self.machine, self._perform, self)

    def now(self) -> Instant:
        return Instant(START_US + round(self.loop.time() * 1_000_000), 1_800_000_000_000)

    def mono_us(self) -> int:
        return self.now().mono_us

    def suspended_us(self) -> int:
        slept, self.suspended = self.suspended, 0
        return slept

    def _perform(self, effect: Effect) -> None:
        self.performed.append(effect)
        self.hand(effect)

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            self.driver.tell(event(number))

    async def run(self, for_us: int) -> None:
        await asyncio.sleep(for_us / 1_000_000)


def event(number: int) -> Measured:
    return Measured(0, number, 0)


def play(scene: Callable[[Stage], Coroutine[None, None, None]]) -> Stage:
    stages: list[Stage] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        stages.append(Stage(loop))
        await scene(stages[0])
        stages[0].driver.stop()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    return stages[0]


# -- turns -------------------------------------------------------------------------------------------------------------


def test_events_are_handled_in_the_order_in_which_they_were_told_and_effects_performed_in_theirs() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.answers = lambda e: [Exit(e.journal_bytes, "a"), Exit(e.journal_bytes, "b")]
        stage.driver.start()
        stage.tell(1, 2, 3)
        await stage.run(0)

    stage = play(scene)
    assert stage.machine.heard == ["start", "event 1", "event 2", "event 3"]
    assert stage.performed == [Exit(n, word) for n in (1, 2, 3) for word in "ab"]
    assert stage.driver.turns == 1


def test_what_is_told_while_effects_are_performed_waits_for_the_next_turn() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.answers = lambda e: [Exit(e.journal_bytes, "")] if e.journal_bytes < 10 else []
        stage.hand = lambda effect: stage.tell(10 + effect.code)
        stage.driver.start()
        stage.tell(1, 2)
        await stage.run(1 * MS)

    stage = play(scene)
    assert stage.machine.heard == ["start", "event 1", "event 2", "event 11", "event 12"]
    assert stage.driver.turns == 2


def test_a_flood_of_events_lets_others_have_the_loop_in_between() -> None:
    async def scene(stage: Stage) -> None:
        stage.driver.start()
        stage.tell(*range(TURN_MAX + 1))
        asyncio.get_running_loop().call_soon(lambda: stage.machine.told.append(("a socket", 0)))
        await stage.run(1 * MS)

    heard = play(scene).machine.heard
    assert heard.index("a socket") == TURN_MAX + 1
    assert heard[-1] == f"event {TURN_MAX}"


def test_bytes_of_one_turn_for_one_link_are_written_at_once() -> None:
    async def scene(stage: Stage) -> None:
        link = LinkId(1)
        stage.machine.answers = lambda e: [Transmit(link, b"%d" % e.journal_bytes)]
        stage.driver.start()
        stage.tell(1, 2, 3)
        await stage.run(1 * MS)
        stage.machine.answers = lambda e: [Transmit(link, b"x"), CloseLink(link, abort=False)]
        stage.tell(4)
        await stage.run(1 * MS)

    link = LinkId(1)
    assert play(scene).performed == [Transmit(link, b"123"), Transmit(link, b"x"), CloseLink(link, abort=False)]


# -- frames that come alone --------------------------------------------------------------------------------------------

FRAMES = AgentFrames(AgentConn(1), ())


def test_frames_that_come_alone_are_handled_before_whoever_read_them_goes_on() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.answers = lambda _: [Exit(7, "")]
        stage.driver.start()
        stage.driver.tell(FRAMES)
        assert stage.performed == [Exit(7, "")]

    assert play(scene).machine.heard == ["start", "AgentFrames"]


def test_frames_that_follow_at_once_share_a_turn() -> None:
    async def scene(stage: Stage) -> None:
        stage.driver.start()
        for _ in range(4):
            stage.driver.tell(FRAMES)
        assert stage.machine.heard == ["start", "AgentFrames"]
        await stage.run(0)
        assert stage.driver.turns == 2
        await stage.run(ALONE_US + 1)
        stage.driver.tell(FRAMES)
        assert stage.driver.turns == 3

    assert play(scene).machine.heard == ["start", *["AgentFrames"] * 5]


def test_frames_never_overtake_what_was_told_before_them() -> None:
    async def scene(stage: Stage) -> None:
        stage.driver.start()
        stage.tell(1)
        stage.driver.tell(FRAMES)
        assert stage.machine.heard == ["start"]
        await stage.run(0)

    assert play(scene).machine.heard == ["start", "event 1", "AgentFrames"]


def test_what_effects_bring_about_has_a_turn_of_its_own_in_the_same_round_after_all_effects() -> None:
    """Bytes of a tunnel pass through the core twice, and a round of the event loop each would double a call's time."""

    async def scene(stage: Stage) -> None:
        stage.machine.answers = lambda _: [Exit(1, ""), Exit(2, "")] if stage.driver.turns == 1 else [Exit(3, "")]
        stage.hand = lambda effect: stage.driver.tell(FRAMES) if effect == Exit(1, "") else None
        stage.driver.start()
        stage.driver.tell(FRAMES)
        assert stage.machine.heard == ["start", "AgentFrames", "AgentFrames"]
        assert stage.performed == [Exit(1, ""), Exit(2, ""), Exit(3, "")] and stage.driver.turns == 2
        await stage.run(0)
        assert stage.driver.turns == 2, "no empty turn follows"

    play(scene)


def test_effects_that_bring_each_other_about_for_ever_let_sockets_have_the_loop() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.answers = lambda _: [Exit(1, "")]
        stage.hand = lambda _: stage.driver.tell(FRAMES) if stage.driver.turns < 5 * AGAIN_MAX else None
        stage.driver.start()
        stage.driver.tell(FRAMES)
        assert stage.driver.turns == 1 + AGAIN_MAX
        await stage.run(1 * MS)
        assert stage.driver.turns == 5 * AGAIN_MAX

    play(scene)


def test_when_the_machine_is_due_frames_wait_for_what_other_sockets_hold() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [10 * MS]
        stage.driver.start()
        stage.loop.be_busy(10 * MS)
        stage.driver.tell(FRAMES)
        assert stage.machine.heard == ["start"]
        await stage.run(0)

    assert play(scene).machine.heard == ["start", "wake", "AgentFrames"]


def test_a_core_that_breaks_over_frames_alone_ends_the_node() -> None:
    async def scene(stage: Stage) -> None:
        def breaks(_: Input) -> list[Effect]:
            raise AssertionError("half a turn")

        stage.machine.answers = breaks
        stage.driver.start()
        stage.driver.tell(FRAMES)
        stage.driver.tell(FRAMES)
        await stage.run(0)

    stage = play(scene)
    assert stage.machine.heard == ["start", "AgentFrames"]
    assert [type(effect) for effect in stage.performed] == [Exit]


# -- the timer ---------------------------------------------------------------------------------------------------------


def test_the_machine_is_woken_at_its_deadline_and_not_before() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [30 * MS, 10 * MS]
        stage.driver.start()
        await stage.run(100 * MS)

    assert play(scene).machine.told == [("start", 0), ("wake", 10 * MS), ("wake", 30 * MS)]


def test_an_event_that_brings_a_deadline_forward_moves_the_timer() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [60 * MS]
        stage.driver.start()
        stage.machine.answers = lambda _e: stage.machine.due.append(20 * MS) or []
        stage.tell(1)
        await stage.run(40 * MS)
        assert stage.machine.heard == ["start", "event 1", "wake"]
        await stage.run(40 * MS)

    assert play(scene).machine.told[-2:] == [("wake", 20 * MS), ("wake", 60 * MS)]


def test_a_deadline_that_goes_away_wakes_nobody() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [20 * MS]
        stage.driver.start()
        stage.machine.answers = lambda _e: stage.machine.due.clear() or []
        stage.tell(1)
        await stage.run(100 * MS)

    assert play(scene).machine.heard == ["start", "event 1"]


def test_what_is_due_comes_before_the_events_of_the_same_turn() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [10 * MS]
        stage.driver.start()
        stage.tell(1)
        stage.loop.be_busy(10 * MS)
        await stage.run(1 * MS)

    assert play(scene).machine.heard == ["start", "wake", "event 1"]


def test_only_one_timer_is_set_however_many_turns_there_are() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [500 * MS]
        stage.driver.start()
        for number in range(50):
            stage.tell(number)
            await stage.run(1 * MS)
        timers = [handle for handle in stage.loop._scheduled if not handle.cancelled()]
        assert len(timers) == 1

    play(scene)


# -- standing still ----------------------------------------------------------------------------------------------------


def test_a_process_that_stood_still_is_told_and_reads_before_it_judges() -> None:
    """The bytes that came meanwhile lie in the sockets: they are heard before any timer says that nothing came."""

    async def scene(stage: Stage) -> None:
        stage.machine.due = [100 * MS]
        stage.driver.start()
        await stage.run(50 * MS)
        stage.loop.be_busy(3 * SECOND)  # SIGSTOP, and what arrived is read a moment later
        asyncio.get_running_loop().call_later(0.001, stage.tell, 1)
        await stage.run(200 * MS)

    told = play(scene).machine.told
    assert [what for what, _ in told] == ["start", f"slept {2_950 * MS}", "event 1", "wake"]
    assert told[-1][1] < 3_150 * MS, "and it is not put off for long"


def test_a_small_delay_is_not_told() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [100 * MS]
        stage.driver.start()
        stage.loop.be_busy(100 * MS + LAG_US)
        await stage.run(10 * MS)

    assert play(scene).machine.heard == ["start", "wake"]


def test_a_suspended_machine_is_told_though_its_steady_clock_did_not_move() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [100 * MS]
        stage.driver.start()
        stage.suspended = 8 * 3600 * SECOND
        await stage.run(200 * MS)

    heard = play(scene).machine.heard
    assert heard == ["start", f"slept {8 * 3600 * SECOND}", "wake"]


def test_a_deadline_that_has_long_passed_when_it_is_set_is_no_lag() -> None:
    """A machine may say "at once" with a deadline of 0, on a machine that has been up for weeks."""

    async def scene(stage: Stage) -> None:
        stage.driver.start()
        stage.machine.answers = lambda _e: stage.machine.due.append(-START_US) or []
        stage.tell(1)
        await stage.run(10 * MS)

    assert play(scene).machine.heard == ["start", "event 1", "wake"]


def test_a_machine_that_is_always_busy_is_told_now_and_then_and_still_woken() -> None:
    """Told each time, it would void the failure detection for ever."""

    async def scene(stage: Stage) -> None:
        stage.machine.every_us, stage.machine.due = 100 * MS, [100 * MS]
        stage.driver.start()
        for _ in range(100):
            stage.loop.be_busy(1 * SECOND)
            await stage.run(1 * MS)

    heard = play(scene).machine.heard
    slept = [what for what in heard if what.startswith("slept")]
    assert 5 <= len(slept) <= 12
    assert heard.count("wake") >= 85
    longest = max(len(part.split("|")) for part in "|".join(heard).split("slept"))
    assert longest >= 8, "between two standstills that are told there is time to come to a verdict"


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_broken_core_ends_the_node_and_is_asked_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(stage: Stage) -> None:
        def answers(e: Input) -> list[Effect]:
            if e == LoadSampled(b""):
                raise RuntimeError("this cannot be")
            return [Exit(0, "performed")]

        stage.machine.answers = answers
        stage.driver.start()
        stage.tell(1)
        stage.driver.tell(LoadSampled(b""))
        stage.tell(2)
        await stage.run(1 * MS)
        stage.tell(3)
        await stage.run(100 * MS)

    stage = play(scene)
    assert stage.performed == [Exit(1, "the core is broken: RuntimeError: this cannot be")], "half a turn is not done"
    assert stage.machine.heard == ["start", "event 1", "LoadSampled"]
    assert "the core is broken" in caplog.text


def test_a_hand_that_fails_ends_the_node_too() -> None:
    async def scene(stage: Stage) -> None:
        def hand(effect: Effect) -> None:
            if isinstance(effect, CloseLink):
                raise OSError("no such link")

        stage.hand = hand
        stage.machine.answers = lambda _e: [CloseLink(LinkId(1), abort=True)]
        stage.driver.start()
        stage.tell(1)
        await stage.run(1 * MS)

    assert play(scene).performed[-1] == Exit(1, "the core is broken: OSError: no such link")


def test_a_stopped_loop_wakes_nobody() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [10 * MS]
        stage.driver.start()
        stage.driver.stop()
        await stage.run(100 * MS)

    assert play(scene).machine.heard == ["start"]


def test_the_longest_turn_is_measured() -> None:
    async def scene(stage: Stage) -> None:
        stage.driver.start()
        stage.tell(1)
        await stage.run(1 * MS)
        assert stage.driver.handle_max_us >= 0
        stage.driver.handle_max_us = 10**9
        stage.tell(2)
        await stage.run(1 * MS)
        assert stage.driver.handle_max_us == 10**9

    play(scene)
