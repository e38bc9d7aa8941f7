"""The signed word of one observer against one node: what a verdict counts."""

from typing import Annotated

import msgspec

from meshnode.gossip.letters import AlertRumour, Count, Id
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Effect
from meshnode.kernel.ports import Signer, Trust, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CONTEXT = "alert/v1"
OBSERVERS_MAX = 16


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """``observer`` lost ``subject`` as it was at (boot, incarnation); ``observers``: who else should know."""

    subject: Id
    boot: Count
    incarnation: Count
    observer: Id
    kind: Evidence
    observers: Annotated[tuple[Id, ...], msgspec.Meta(max_length=OBSERVERS_MAX)] = ()


class Raise(Effect, frozen=True):
    """The detector wants this alert signed and spread. Carried out inside the room."""

    subject: NodeId
    boot: int
    incarnation: int
    kind: Evidence
    observers: tuple[NodeId, ...]


_alerts = msgspec.msgpack.Decoder(Alert)


def sign(wanted: Raise, signer: Signer) -> AlertRumour:
    observers = wanted.observers[:OBSERVERS_MAX]
    alert = Alert(wanted.subject, wanted.boot, wanted.incarnation, signer.node, wanted.kind, observers)
    body = msgspec.msgpack.encode(alert)
    return AlertRumour(body, signer.sign(CONTEXT, body))


def named(rumour: AlertRumour) -> tuple[NodeId, NodeId]:
    """Of whom it speaks and who speaks, unchecked. Raises ``RemoteError``: it is no alert."""
    alert = _read(rumour)
    return alert.subject, alert.observer


def check(rumour: AlertRumour, trust: Trust, verifier: Verifier) -> Alert:
    """The alert, if its observer signed it. Raises ``RemoteError`` otherwise."""
    alert = _read(rumour)
    member = trust.member(alert.observer)
    if member is None or alert.observer == alert.subject:
        raise RemoteError("alert-unknown-observer")
    if not verifier.verify(member.public_key, CONTEXT, rumour.body, rumour.signature):
        raise RemoteError("alert-forged")
    return alert


def _read(rumour: AlertRumour) -> Alert:
    try:
        return _alerts.decode(rumour.body)
    except (ValueError, RecursionError) as error:  # of msgspec: junk, no UTF-8, or nested too deep
        raise RemoteError("alert-malformed", str(error)[:80]) from error
