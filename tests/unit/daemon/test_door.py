"""Commands become inputs, replies find whoever waits, and whoever goes is not worked for."""

import asyncio
from collections.abc import Coroutine

from meshnode.api.ports import Told
from meshnode.daemon import door as module
from meshnode.daemon.door import Door
from meshnode.host.loop import CoreLoop
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import Instant
from meshnode.model import views
from meshnode.model.commands import CallSkill, GetIdentity, GetStatus, ListNodes, RunAgent
from meshnode.model.views import AgentView, Failure, IdentityView, NodesView, StatusView
from meshnode.node.effects import Announce, Reply, Store
from meshnode.node.inputs import CommandDropped, CommandGiven, Input, Measured, Stored, StreamWanted
from tests.unit.node.mesh import NOW_MS, Box, Mesh


class Building:
    """A real core in a real loop, with a disk that always works and no wires."""

    def __init__(self) -> None:
        self.core = Box(Mesh(), "alpha").core
        self.loop = CoreLoop(self.core, self._perform, self)
        self.door = Door(self.core, self.loop, lambda: Measured(0, 4_242, 0))
        self.others: list[Effect] = []

    def now(self) -> Instant:
        return Instant(round(asyncio.get_running_loop().time() * 1_000_000) + 2_000_000_000, NOW_MS)

    def mono_us(self) -> int:
        return self.now().mono_us

    def suspended_us(self) -> int:
        return 0

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Store(batch_no):
                self.loop.tell(Stored(batch_no))
            case Reply(number, view):
                self.door.reply(number, view)
            case Announce(number, event):
                self.door.announce(number, event)
            case _:
                self.others.append(effect)

    def happens(self, text: str) -> None:
        for effect in self.core._settle([Note("node/alpha", text)], self.now()):
            self._perform(effect)


def play(scene: Coroutine[None, None, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scene

    asyncio.run(bounded())


async def opened() -> Building:
    building = Building()
    building.loop.start()
    return building


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_each_asker_gets_its_own_answer_in_whatever_order_they_ask() -> None:
    async def scene() -> None:
        building = await opened()
        ask = building.door.ask
        run = RunAgent(name="words", argv=["x"], cwd="/")
        answers = [
            asyncio.ensure_future(ask(command)) for command in (run, GetIdentity(), ListNodes(), GetStatus(), run)
        ]
        found = [type(await answer) for answer in answers]
        assert found == [AgentView, IdentityView, NodesView, StatusView, AgentView]
        assert building.door._waiting == {}
        building.loop.stop()

    play(scene())


def test_a_status_is_measured_when_it_is_asked_for() -> None:
    async def scene() -> None:
        building = await opened()
        view = await building.door.ask(GetStatus())
        assert isinstance(view, StatusView) and view.journal_bytes == 4_242
        building.loop.stop()

    play(scene())


def test_an_asker_that_goes_away_is_dropped_and_its_late_answer_too() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        # A call to a node that is known and has no link waits for one.
        asked = asyncio.ensure_future(building.door.ask(CallSkill(skill="mesh.ping", to="alpha")))
        await turns(1)
        (number,) = building.door._waiting
        dropped: list[int] = []
        desk_dropped = building.core.desk.dropped
        building.core.desk.dropped = lambda no, now: dropped.append(no) or desk_dropped(no, now)  # type: ignore[method-assign]
        asked.cancel()
        await turns()
        assert asked.cancelled() and dropped == [number]
        building.door.reply(number, NodesView(items=[]))
        assert building.door._waiting == {}
        building.loop.stop()

    play(scene())


def test_an_asker_that_was_answered_is_not_dropped() -> None:
    async def scene() -> None:
        building = await opened()
        dropped: list[int] = []
        building.core.desk.dropped = lambda no, _now: dropped.append(no) or ()  # type: ignore[method-assign]
        await building.door.ask(ListNodes())
        await turns()
        assert dropped == []
        building.loop.stop()

    play(scene())


def test_a_node_that_leaves_tells_who_waits_and_who_comes_later() -> None:
    async def scene() -> None:
        building = Building()  # not started: nothing is answered by itself
        waiting = asyncio.ensure_future(building.door.ask(ListNodes()))
        await turns()
        building.door.leave("asked to go down")
        early, late = await waiting, await building.door.ask(ListNodes())
        for view in (early, late):
            assert isinstance(view, Failure)
            assert (view.code, view.exit_code) == ("offline", 6)
            assert "asked to go down" in view.message and view.next_step

    play(scene())


# -- streams -----------------------------------------------------------------------------------------------------------

WANTED = CallSkill(skill="words.all", stream=True)
END = views.CallView(call_id="c1", result=None, instance="words/0", node="alpha", took_ms=1.0, attempts=1)


class Reading:
    """A door whose core is the test: what it is told is kept, what it answers is said by hand."""

    def __init__(self) -> None:
        self.building = Building()
        self.told: list[Input] = []
        self.building.loop.tell = self.told.append  # type: ignore[method-assign]
        self.door = self.building.door
        self.stream = self.door.stream(WANTED)

    async def begin(self) -> asyncio.Future[views.StreamItem | views.CallView | Failure]:
        first = asyncio.ensure_future(anext(self.stream))
        await turns()
        return first

    def granted(self) -> list[int]:
        return [event.total for event in self.told if isinstance(event, StreamWanted)]

    def dropped(self) -> list[int]:
        return [event.command_no for event in self.told if isinstance(event, CommandDropped)]


def test_a_stream_asks_for_a_bounded_number_of_items_with_its_call() -> None:
    async def scene() -> None:
        reading = Reading()
        first = await reading.begin()
        assert reading.told == [CommandGiven(1, WANTED), StreamWanted(1, module.ITEMS_AHEAD_MAX)]
        reading.door.item(1, 0, b'{"n":0}')
        reading.door.reply(1, END)
        assert [await first, *[heard async for heard in reading.stream]] == [
            views.StreamItem(number=0, item={"n": 0}), END,
        ]  # fmt: skip
        assert (reading.dropped(), reading.door._streams) == ([], {})

    play(scene())


def test_more_is_asked_for_as_items_are_taken_and_never_for_each() -> None:
    async def scene() -> None:
        reading, ahead = Reading(), module.ITEMS_AHEAD_MAX
        first = await reading.begin()
        for number in range(ahead):
            reading.door.item(1, number, b"1")
        await turns()
        assert reading.granted() == [ahead]  # the reader has taken nothing: nothing more may come
        await first
        for _ in range(ahead - 1):
            await anext(reading.stream)
        assert reading.granted() == [ahead, ahead // 2 + ahead]
        for number in range(ahead, reading.granted()[-1]):
            reading.door.item(1, number, b"1")
        reading.door.reply(1, END)
        heard = [one async for one in reading.stream]
        assert (len(heard), heard[-1]) == (ahead // 2 + 1, END)
        assert reading.granted() == [ahead + half * ahead // 2 for half in range(4)]

    play(scene())


def test_a_stream_whose_reader_goes_is_dropped_once_and_what_comes_late_goes_nowhere() -> None:
    async def scene() -> None:
        reading = Reading()
        first = await reading.begin()
        reading.door.item(1, 0, b"1")
        await first
        await reading.stream.aclose()
        assert (reading.dropped(), reading.door._streams) == ([1], {})
        reading.door.item(1, 1, b"1")
        reading.door.reply(1, END)

        reading = Reading()
        first = await reading.begin()
        first.cancel()
        await turns()
        assert reading.dropped() == [1]

    play(scene())


def test_items_that_are_junk_out_of_turn_or_never_asked_for_end_the_stream_by_name_and_cancel_the_call() -> None:
    async def scene() -> None:
        ahead = module.ITEMS_AHEAD_MAX
        junk: list[list[tuple[int, bytes]]] = [
            [(0, b"{")], [(0, b"\xff")], [(0, b"[" * 100_000)], [(1, b"1")], [(0, b"1"), (0, b"1")],
            [(number, b"1") for number in range(ahead + 1)],
        ]  # fmt: skip
        for items in junk:
            reading = Reading()
            first = await reading.begin()
            for number, payload in items:
                reading.door.item(1, number, payload)
            reading.door.item(1, 0, b"1")  # after the end nothing more is heard
            heard = [await first, *[one async for one in reading.stream]]
            end = heard[-1]
            assert isinstance(end, Failure) and end.code == "bad-answer" and end.next_step
            assert len(heard) == len(items)
            assert reading.dropped() == [1]

    play(scene())


def test_a_stream_ends_with_a_word_when_the_node_leaves() -> None:
    async def scene() -> None:
        reading = Reading()
        first = await reading.begin()
        reading.door.leave("asked to go down")
        for end in (await first, await anext(reading.door.stream(WANTED))):
            assert isinstance(end, Failure)
            assert (end.code, end.exit_code) == ("offline", 6)

    play(scene())


# -- watching ----------------------------------------------------------------------------------------------------------


async def read(building: Building, after: int, count: int, *, follow: bool = True) -> list[Told]:
    told: list[Told] = []
    async for some in building.door.watch(after, follow=follow):
        told += some
        if len(told) >= count:
            break
    return told


def test_a_reader_gets_what_was_and_then_what_comes_each_once_and_in_order() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        reading = asyncio.ensure_future(read(building, 0, 4))
        await turns()
        for text in ("one", "two", "three"):
            building.happens(text)
        told = await reading
        assert [one.number for one in told] == [1, 2, 3, 4]
        assert [one.event.text for one in told] == ["started, boot 1", "one", "two", "three"]
        building.loop.stop()

    play(scene())


def test_a_reader_goes_on_where_it_was() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        for text in ("one", "two", "three"):
            building.happens(text)
        assert [one.event.text for one in await read(building, 2, 9, follow=False)] == ["two", "three"]
        assert await read(building, 99, 9, follow=False) == []
        building.loop.stop()

    play(scene())


def test_a_reader_who_is_ahead_is_told_from_where_he_is() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        reading = asyncio.ensure_future(read(building, 3, 2))
        await turns()
        for text in ("two", "three", "four", "five"):
            building.happens(text)
        assert [(one.number, one.event.text) for one in await reading] == [(4, "four"), (5, "five")]
        building.loop.stop()

    play(scene())


def test_a_long_story_comes_in_pieces() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        for number in range(2 * module.TOLD_MAX):
            building.happens(str(number))
        pieces = [some async for some in building.door.watch(0, follow=False)]
        assert [len(some) for some in pieces] == [module.TOLD_MAX, module.TOLD_MAX, 1]
        assert [one.number for some in pieces for one in some] == [*range(1, 2 * module.TOLD_MAX + 2)]
        building.loop.stop()

    play(scene())


def test_what_happens_between_the_story_and_the_watching_is_not_told_twice() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        watching = building.door.watch(0, follow=True)
        first = await anext(watching)
        building.happens("one")
        building.happens("two")
        assert [[one.number for one in some] for some in (first, await anext(watching))] == [[1], [2, 3]]
        await watching.aclose()  # type: ignore[attr-defined]
        assert building.door._watchers == []
        building.loop.stop()

    play(scene())


def test_a_reader_too_slow_misses_events_and_can_see_that_it_did() -> None:
    async def scene() -> None:
        building = await opened()
        await building.door.ask(ListNodes())
        watching = building.door.watch(0, follow=True)
        await anext(watching)
        for number in range(module.EVENTS_PENDING_MAX + 5):
            building.happens(str(number))
        pieces = [await anext(watching) for _ in range(-(-module.EVENTS_PENDING_MAX // module.TOLD_MAX))]
        assert sum(map(len, pieces)) == module.EVENTS_PENDING_MAX and max(map(len, pieces)) == module.TOLD_MAX
        building.happens("later")
        assert [one.number for one in await anext(watching)] == [pieces[-1][-1].number + 6]
        await watching.aclose()  # type: ignore[attr-defined]
        building.loop.stop()

    play(scene())
