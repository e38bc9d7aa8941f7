"""Questions that people ask of the mesh now: few at a time, briefly remembered, refused when there are too many."""

import asyncio
import threading

import pytest

from cloud_gateway.mesh.asking import AT_ONCE_MAX, LINKS_MAX, WAITING_MAX, Asking
from meshnode.model.errors import LocalError, Offline
from meshnode.model.views import WhyView
from tests.gateway.guest_kit import MadeUpJournal, MadeUpNode


def made_up() -> MadeUpNode:
    return MadeUpNode(MadeUpJournal("alpha"))


def test_links_are_bounded_neighbours_first_and_the_nearest_of_them() -> None:
    links = asyncio.run(Asking(made_up().at).links("alpha"))
    assert len(links) == LINKS_MAX
    assert [link.peer for link in links[:2]] == ["n0", "n2"]
    kinds = [link.kind for link in links]
    assert kinds == sorted(kinds), "neighbours stand first"


def test_the_same_question_is_asked_once_in_a_while() -> None:
    node = made_up()

    async def ask() -> None:
        asking = Asking(node.at)
        for _ in range(5):
            await asking.why("node/alpha")
        await asking.why("node/beta")

    asyncio.run(ask())
    assert node.given == ["why node/alpha", "why node/beta"]


def test_a_node_that_is_away_is_asked_again() -> None:
    node = made_up()

    async def ask() -> None:
        asking = Asking(node.at)
        node.away = True
        with pytest.raises(Offline):
            await asking.why("node/alpha")
        node.away = False
        await asking.why("node/alpha")

    asyncio.run(ask())


class Slow(MadeUpNode):
    """Answers when it is let go; counts how many ask at once."""

    def __init__(self) -> None:
        super().__init__(MadeUpJournal("alpha"))
        self.go = threading.Event()
        self.most = self._now = 0
        self._lock = threading.Lock()

    def why(self, subject: str, node: str = "") -> WhyView:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        assert self.go.wait(10)
        with self._lock:
            self._now -= 1
        return super().why(subject, node)


def test_however_many_ask_few_ask_the_node_and_too_many_are_refused() -> None:
    node = Slow()

    async def ask() -> None:
        asking = Asking(node.at)
        async with asyncio.TaskGroup() as tasks:
            for number in range(WAITING_MAX):
                tasks.create_task(asking.why(f"node/n{number}"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(LocalError, match="too much"):
                await asking.why("node/more")
            node.go.set()

    asyncio.run(ask())
    assert node.most <= AT_ONCE_MAX
    assert len(node.given) == WAITING_MAX
