"""A member that an admin let in and that keeps to no rule: what it may sign, and letters to whom it is linked with."""

from collections.abc import Sequence

import msgspec

from meshnode.gossip import alerts, directory, facts
from meshnode.gossip.alerts import Alert, Batch, Told
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.facts import FactBody
from meshnode.gossip.letters import (
    AlertRumour,
    AlertsRumour,
    Letter,
    Push,
    RowRumour,
    SignedFact,
    SignedRow,
    encode,
)
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Box, World, member_record


class Liar:
    """A box whose room goes on as it is, and that says more beside."""

    def __init__(self, world: World, box: Box) -> None:
        self.world, self.box = world, box

    @property
    def id(self) -> NodeId:
        return self.box.id

    def send(self, to: Box, *letters: Letter) -> list[Effect]:
        """Letters that arrive at once, one after the other; what the room there does about them."""
        return self.raw(to, *(encode(letter) for letter in letters))

    def raw(self, to: Box, *bodies: bytes) -> list[Effect]:
        done: list[Effect] = []
        perform = to.gossip.handle

        def handle(event: object, now: object) -> list[Effect]:
            effects = perform(event, now)  # pyright: ignore[reportArgumentType]
            done.extend(effects)
            return effects

        to.gossip.handle = handle  # pyright: ignore[reportAttributeAccessIssue]
        for body in bodies:
            self.world.tell(to, ControlReceived(self.id, Channel.GOSSIP, body))
        to.gossip.handle = perform
        return done

    # -- what it may sign ---------------------------------------------------------------------------------------------

    def row(self, boot: int, incarnation: int = 0, status: Status = Status.ALIVE, said: bytes = b"{}") -> SignedRow:
        box = self.box
        body = directory.encode_row(Row(box.id, boot, incarnation, status, (box.address,), said, 0))
        return SignedRow(body, box.key.sign(directory.CONTEXT, body), member_record(box.key, box.name, box.region))

    def fact(self, key: str, value: bytes, version: int, boot: int = 1, age_ms: int = 0) -> SignedFact:
        body = msgspec.msgpack.encode(FactBody(self.id, boot, version, key, value))
        return SignedFact(age_ms, body, self.box.key.sign(facts.CONTEXT, body))

    def alert(
        self, subject: Box, kind: Evidence = Evidence.REFUSED, incarnation: int = 0, observers: Sequence[NodeId] = ()
    ) -> Push:
        alert = Alert(subject.id, subject.boot, incarnation, self.id, kind, tuple(observers))
        body = msgspec.msgpack.encode(alert)
        return Push(encode(AlertRumour(body, self.box.key.sign(alerts.CONTEXT, body))))

    def alerts(self, subjects: Sequence[Box], kind: Evidence = Evidence.REFUSED) -> Push:
        told = tuple(Told(each.id, each.boot, each.gossip.self_row().incarnation, kind) for each in subjects)
        body = msgspec.msgpack.encode(Batch(self.id, told))
        return Push(encode(AlertsRumour(body, self.box.key.sign(alerts.BATCH_CONTEXT, body))))


def pushed(row: SignedRow) -> Push:
    return Push(encode(RowRumour(row)))


def reasons(box: Box) -> list[str]:
    """The refusals of a box, each once, in the order of the first."""
    return list(dict.fromkeys(reject.reason for reject in box.rejects))


def answered(effects: Sequence[Effect], to: NodeId) -> int:
    """Bytes that leave for a node."""
    return sum(len(effect.body) for effect in effects if isinstance(effect, Send) and effect.peer == to)
