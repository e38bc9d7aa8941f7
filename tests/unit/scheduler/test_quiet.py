"""A boot listens before it speaks; who just came is given a moment."""

import pytest

from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.units import unit_id
from meshnode.scheduler.config import SchedulerConfig
from meshnode.scheduler.quiet import Quiet
from meshnode.scheduler.unit import Unit
from tests.unit.scheduler.town import want

CONFIG = SchedulerConfig()


def at(us: int) -> Instant:
    return Instant(us, 0)


def opened(us: int = 0, *, fresh: bool = False) -> Unit:
    unit = Unit(unit_id("words", 0))
    unit.open_us, unit.fresh = us, fresh
    return unit


def started(*, alone: bool) -> Quiet:
    quiet = Quiet(CONFIG, "alpha")
    quiet.start(at(0), alone=alone)
    return quiet


def test_before_the_boot_is_counted_nothing_is_said() -> None:
    assert Quiet(CONFIG, "alpha").listening(at(10**12))


def test_a_node_alone_does_not_listen() -> None:
    quiet = started(alone=True)
    assert not quiet.listening(at(0))
    assert quiet.from_us(want(), opened(5)) == 5


def test_without_a_link_listening_ends_and_others_units_are_left_alone_for_longer() -> None:
    quiet = started(alone=False)
    assert quiet.listening(at(CONFIG.listen_us - 1))
    assert not quiet.listening(at(CONFIG.listen_us))
    assert quiet.from_us(want(), opened(5)) == CONFIG.grace_us


def test_the_first_link_ends_the_listening_soon() -> None:
    quiet = started(alone=False)
    quiet.linked(at(100 * MS))
    quiet.linked(at(250 * MS))
    assert not quiet.listening(at(100 * MS + CONFIG.hear_us))
    assert quiet.from_us(want(), opened(5)) == 100 * MS + CONFIG.settle_us


def test_a_link_that_was_up_before_the_boot_was_counted_counts() -> None:
    quiet = Quiet(CONFIG, "alpha")
    quiet.linked(at(0))
    quiet.start(at(10), alone=False)
    assert not quiet.listening(at(10 + CONFIG.hear_us))


def test_a_new_unit_waits_for_what_who_just_came_may_have_to_tell() -> None:
    quiet = started(alone=True)
    quiet.contact(at(9 * SECOND))
    assert quiet.from_us(want(), opened(9 * SECOND)) == 9 * SECOND + CONFIG.settle_us


def test_what_somebody_wants_here_now_waits_for_nobody() -> None:
    quiet = started(alone=False)
    quiet.contact(at(7))
    assert quiet.from_us(want(near="alpha"), opened(7, fresh=True)) == 7
    assert quiet.from_us(want(on="alpha"), opened(7, fresh=True)) == 7
    assert quiet.from_us(want(near="alpha"), opened(7)) > 7


@pytest.mark.parametrize("field", ["turn_us", "listen_us", "retry_us", "units_max"])
def test_a_config_that_makes_no_sense_is_refused(field: str) -> None:
    with pytest.raises(AssertionError):
        SchedulerConfig(**{field: 0})
