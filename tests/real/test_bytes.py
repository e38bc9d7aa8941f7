"""Bytes between agents on two nodes travel as they are: so as text they would not have room in a frame."""

import pytest

from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.letters import RESULT_BYTES_MAX
from meshnode.model.errors import LocalError
from tests.real.daemon_kit import Daemon
from tests.real.mesh_kit import AGENTS, call, run, value

pytestmark = pytest.mark.real
IMAGER = str(AGENTS / "imager.py")
# In base64, which is a third longer, neither has room.
RESULT_BYTES = RESULT_BYTES_MAX * 9 // 10
ARGUMENT_BYTES = SwitchConfig().payload_bytes_max * 9 // 10


@pytest.fixture(scope="module")
def asks(mesh: list[Daemon]) -> Daemon:
    """A node with an agent that asks for bytes; another one has one that gives and takes them."""
    alpha, beta, _ = mesh
    run(beta, "giver", "--on", "beta", file=IMAGER, known=(alpha,))
    run(alpha, "taker", "--on", "alpha", file=IMAGER, known=(alpha,))
    return alpha


def test_items_of_a_stream_come_as_they_are(asks: Daemon) -> None:
    for length, count in ((1, 3), (16_384, 100), (RESULT_BYTES, 5)):
        told = value(asks, "taker.watch", target="giver", length=length, count=count)
        assert told == [f"bytes {length + 1} {number} True" for number in range(count)]


def test_a_result_comes_as_it_is_and_as_text_where_nobody_asked_for_bytes(asks: Daemon) -> None:
    for length in (0, 100, 100_000, RESULT_BYTES):
        assert value(asks, "taker.fetch", target="giver", length=length) == "bytes True"
    assert value(asks, "giver.picture", length=3) == "/wD+"
    with pytest.raises(LocalError, match="the limit is"):
        call(asks, "giver.picture", {"length": RESULT_BYTES})


def test_arguments_come_as_they_are(asks: Daemon) -> None:
    for length in (0, 100, 100_000, ARGUMENT_BYTES):
        assert value(asks, "taker.give", target="giver", length=length) is True
