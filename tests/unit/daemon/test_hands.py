"""Every effect has a hand; faults may be put in front of ports and nowhere else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from meshnode.agents.messages import StartProcess, StopProcess, WelcomeAgent
from meshnode.daemon.hands import Hands
from meshnode.daemon.ready import Ready
from meshnode.daemon.settings import Settings
from meshnode.daemon.wiring import AS_BUILT, Adapt, House
from meshnode.host import keystore
from meshnode.kernel.blobs import DropBlobs, KeepBlobs, ReadBlob
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import CloseLink, Transmit
from meshnode.model.ids import AgentConn, InstanceId, LinkId
from meshnode.model.recipe import Recipe
from meshnode.model.views import Done, EventView
from meshnode.node.config import NodePorts
from meshnode.node.effects import Announce, DrawEntropy, Exit, FetchLogs, Output, Reply, Store, StreamItemTold
from meshnode.node.inputs import EntropyDrawn, Stored, StoreFailed
from meshnode.security.messages import IssueLeaf, RefuseEnrolment, RenewLeaf
from meshnode.wire.bus import Spread, ToAgent
from tests.unit.node.mesh import NOW_MS

RECORD = Record(RecordKind.CONTACT, b"x:1", b"x")
WORDS = InstanceId("words/0")
EVENT = EventView(at_ms=0, age_s=0.0, subject="node/alpha", text="x")

WHOSE: dict[type[Effect], tuple[Effect, str]] = {
    Transmit: (Transmit(LinkId(1), b"x"), "transport"),
    CloseLink: (CloseLink(LinkId(1), abort=True), "transport"),
    Dial: (Dial(1, "h", 1), "transport"),
    IssueLeaf: (IssueLeaf(1, b"", "n", b"", b"", b""), "transport"),
    RefuseEnrolment: (RefuseEnrolment(1, "expired", "m"), "transport"),
    Store: (Store(7, (RECORD,)), "journal"),
    Reply: (Reply(3, Done()), "door"),
    Announce: (Announce(4, EVENT), "door"),
    StartProcess: (StartProcess(WORDS, 1, Recipe(("x",)), "t"), "supervisor"),
    StopProcess: (StopProcess(WORDS, 1, 5), "supervisor"),
    ToAgent: (ToAgent(AgentConn(1), ()), "bus"),
    Spread: (Spread((AgentConn(1),), (), ()), "bus"),
    WelcomeAgent: (WelcomeAgent(AgentConn(1)), "bus"),
    DrawEntropy: (DrawEntropy(5, 48), "loop"),
    StreamItemTold: (StreamItemTold(3, 0, b"1"), "door"),
    KeepBlobs: (KeepBlobs(1, (b"x",)), "blobs"),
    ReadBlob: (ReadBlob(1, "0" * 64), "blobs"),
    DropBlobs: (DropBlobs(("0" * 64,)), "blobs"),
    FetchLogs: (FetchLogs(3, "words", 0, 500), "logs"),
    RenewLeaf: (RenewLeaf(()), "renewer"),
    Exit: (Exit(4, "twin"), "hands"),
}


class Hand:
    """Takes down what it is asked to do."""

    def __init__(self, name: str, took: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._name, self._took = name, took

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return lambda *given, **_named: self._took.append((f"{self._name}.{verb}", given))


def hands() -> tuple[Hands, list[tuple[str, tuple[Any, ...]]]]:
    made, took = Hands(), list[tuple[str, tuple[Any, ...]]]()
    for name in ("transport", "journal", "supervisor", "bus", "door", "loop", "blobs", "logs", "renewer"):
        setattr(made, name, Hand(name, took))
    return made, took


def test_every_effect_a_core_can_want_has_a_hand() -> None:
    assert set(WHOSE) == set(get_args(Output)), "a new effect wants a line here"
    for effect, name in WHOSE.values():
        made, took = hands()
        made.perform(effect)
        if name == "hands":
            assert made.exit == effect and made.left.is_set()
        else:
            ((done, _),) = took
            assert done.startswith(f"{name}."), effect


def test_an_effect_nobody_knows_is_our_mistake() -> None:
    class Unknown(Effect, frozen=True):
        pass

    made, _ = hands()
    with pytest.raises(AssertionError, match="without a hand"):
        made.perform(Unknown())


def test_commits_come_back_as_events_with_their_number_and_reason() -> None:
    made, took = hands()
    made.perform(Store(7, (RECORD,)))
    ((verb, (records, done)),) = took
    assert (verb, records) == ("journal.append", (RECORD,))
    took.clear()
    done(None)
    done(OSError("No space left on device"))
    assert took == [("loop.tell", (Stored(7),)), ("loop.tell", (StoreFailed(7, "No space left on device"),))]


def test_entropy_is_as_long_as_asked_for_and_never_twice_the_same() -> None:
    made, took = hands()
    made.perform(DrawEntropy(5, 48))
    made.perform(DrawEntropy(6, 48))
    (_, (first,)), (_, (second,)) = took
    assert isinstance(first, EntropyDrawn) and isinstance(second, EntropyDrawn)
    assert (first.purpose, len(first.entropy), second.purpose) == (5, 48, 6)
    assert first.entropy != second.entropy


def test_the_first_reason_to_leave_counts() -> None:
    made, _ = hands()
    made.perform(Exit(4, "twin"))
    made.perform(Exit(0, "asked to go down"))
    assert made.exit == Exit(4, "twin")
    asyncio.run(made.left.wait())


def test_as_built_nothing_stands_in_front_of_the_ports() -> None:
    ports, disk = object(), object()
    assert AS_BUILT.ports(ports) is ports  # type: ignore[arg-type]
    assert AS_BUILT.disk(disk) is disk  # type: ignore[arg-type]


def test_a_daemon_works_through_the_ports_that_were_adapted(tmp_path: Path) -> None:
    identity, _ = keystore.create_mesh(tmp_path, name="alpha", region="home", wall_ms=NOW_MS)
    seen: list[NodePorts] = []

    def adapted(ports: NodePorts) -> NodePorts:
        seen.append(ports)
        return replace(ports, admin=None)

    adapt = Adapt(ports=adapted, disk=lambda disk: disk)
    house = House(tmp_path, identity, Settings(), Ready(None), adapt)
    ports = house._ports()
    assert seen[0].signer.node == ports.signer.node == identity.node
    assert seen[0].admin is not None and ports.admin is None
