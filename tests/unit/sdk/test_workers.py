"""Who serves calls: as many tasks as wait, and to each call it looks as if it had one to itself."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from meshnode.sdk.workers import RESTING_MAX, Workers

Work = Callable[[], Coroutine[None, None, None]]
NAMED: contextvars.ContextVar[str] = contextvars.ContextVar("named", default="nobody")


async def serve(work: Work, task: asyncio.Task[None]) -> None:
    assert task is asyncio.current_task()
    await work()


class Shop:
    """Workers in a group, and what they did."""

    def __init__(self) -> None:
        self.waited: list[Work] = []
        self.workers: Workers[Work] = Workers(serve, self.waited.append)
        self.done: list[object] = []

    def at_once(self, name: object) -> Work:
        async def work() -> None:
            self.done.append(name)

        return work

    def after(self, what: Awaitable[object], name: object) -> Work:
        async def work() -> None:
            await what
            self.done.append(name)

        return work


def play(scene: Callable[[Shop, asyncio.TaskGroup], Coroutine[None, None, None]]) -> Shop:
    shops: list[Shop] = []

    async def main() -> None:
        shops.append(Shop())
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            await scene(shops[0], tasks)
            shops[0].workers.close()

    asyncio.run(main())
    return shops[0]


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def tasks_now() -> int:
    return len(asyncio.all_tasks()) - 1


def test_work_that_ends_at_once_shares_one_task_however_much_there_is_of_it() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        for round_ in range(3):
            for number in range(100):
                shop.workers.add(shop.at_once((round_, number)), tasks)
            await turns()
            assert tasks_now() == 1

    shop = play(scene)
    assert shop.done == [(round_, number) for round_ in range(3) for number in range(100)]
    assert not shop.waited


def test_work_that_waits_holds_up_nothing_behind_it() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        gate = asyncio.get_running_loop().create_future()
        for number in range(50):
            shop.workers.add(shop.after(gate, number) if number % 2 else shop.at_once(number), tasks)
        await turns(60)
        assert shop.done == list(range(0, 50, 2)) and len(shop.waited) == 25
        gate.set_result(None)
        await turns()

    assert sorted(map(str, play(scene).done)) == sorted(map(str, range(50)))


def test_where_work_waits_as_many_come_at_once_as_stand_in_the_line() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        gate = asyncio.get_running_loop().create_future()
        shop.workers.add(shop.after(gate, -1), tasks)
        await turns()
        for number in range(40):
            shop.workers.add(shop.after(gate, number), tasks)
        await turns(3)
        assert len(shop.waited) == 41
        gate.set_result(None)
        await turns()
        assert len(shop.done) == 41 and tasks_now() <= RESTING_MAX

    play(scene)


def test_what_a_call_sets_in_its_context_is_not_seen_by_the_next() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        async def named() -> None:
            shop.done.append(NAMED.get())
            NAMED.set("somebody")
            await asyncio.sleep(0)
            shop.done.append(NAMED.get())

        for _ in range(2):
            shop.workers.add(named, tasks)
            await turns()

    assert play(scene).done == ["nobody", "somebody"] * 2


def test_a_timeout_within_the_work_ends_what_it_is_around_and_not_the_worker() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        async def timed() -> None:
            try:
                async with asyncio.timeout(0):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                shop.done.append("late")

        shop.workers.add(timed, tasks)
        await turns(8)
        shop.workers.add(shop.at_once("next"), tasks)
        await turns()
        assert tasks_now() == 1

    assert play(scene).done == ["late", "next"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_cancellation_is_for_the_call_it_was_meant_for_and_not_for_the_next(*, waits: bool) -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        async def cancelled() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if waits:
                try:
                    await asyncio.sleep(0)
                finally:
                    shop.done.append("cancelled")

        shop.workers.add(cancelled, tasks)
        for number in range(3):
            shop.workers.add(shop.at_once(number), tasks)
        await turns(8)
        assert tasks_now() <= 3

    assert [each for each in play(scene).done if each != "cancelled"] == [0, 1, 2]


def test_workers_that_rest_end_with_the_group_and_take_no_work_with_them() -> None:
    async def scene(shop: Shop, tasks: asyncio.TaskGroup) -> None:
        gate = asyncio.get_running_loop().create_future()
        for number in range(3 * RESTING_MAX):
            shop.workers.add(shop.after(gate, number), tasks)
        await turns(3 * RESTING_MAX + 4)
        gate.set_result(None)
        await turns()
        assert tasks_now() == RESTING_MAX
        shop.workers.add(shop.at_once("last"), tasks)

    assert play(scene).done[-1] == "last"
