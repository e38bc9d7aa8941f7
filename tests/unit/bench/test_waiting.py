"""How benches wait: again and again, until it holds or the time is over."""

from collections.abc import Callable

import pytest

from bench.waiting import until
from meshnode.model.errors import Offline
from tests.demo.fleet import Broken


def looks(*seen: bool | Offline) -> Callable[[], bool]:
    left = list(seen)

    def look() -> bool:
        now = left.pop(0)
        if isinstance(now, Offline):
            raise now
        return now

    return look


def test_one_looks_again_while_nobody_answers_and_while_it_does_not_hold() -> None:
    look = looks(Offline("no daemon"), False, True, False)
    until("it does not hold", look, again_s=0.0)
    assert look() is False, "nobody looked once it held"


def test_what_holds_at_once_needs_no_time() -> None:
    until("it does not hold", looks(True), within_s=0.0)


def test_whoever_waits_in_vain_says_for_what_and_what_the_node_said_last() -> None:
    with pytest.raises(Broken, match=r"^the mesh is not whole after 0 s: no daemon$"):
        until("the mesh is not whole", looks(Offline("no daemon")), within_s=0.0)
