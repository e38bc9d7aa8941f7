"""The signed word of one observer against one node, or against several at once: what a verdict counts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import msgspec

from meshnode.gossip.letters import AlertRumour, AlertsRumour, Count, Id, decode_rumour
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.decoding import JUNK, refusal
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.ports import Signer, Trust, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CONTEXT = "alert/v1"
BATCH_CONTEXT = "alerts/v1"
OBSERVERS_MAX = 16
BATCH_OBSERVERS_MAX = 8
BATCH_MIN, BATCH_MAX = 4, 32
MOMENT_US = 200 * MS
ABOUT_MAX = 1024
READ_MAX = 1024  # words of others, as they were read last


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


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One alert of a batch: the observer stands once for all."""

    subject: Id
    boot: Count
    incarnation: Count
    kind: Evidence
    observers: Annotated[tuple[Id, ...], msgspec.Meta(max_length=BATCH_OBSERVERS_MAX)] = ()


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """All that one observer found lost in a moment."""

    observer: Id
    alerts: Annotated[tuple[Told, ...], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


_alerts = msgspec.msgpack.Decoder(Alert)
_batches = msgspec.msgpack.Decoder(Batch)


class Outgoing:
    """Alerts of our own: the first is told at once, those that follow it within ``MOMENT_US`` together.

    Where ``many`` are lost the first waits for them: each rumour costs every node a turn.
    """

    def __init__(self) -> None:
        self._waiting: dict[NodeId, Raise] = {}
        self._free_us = 0

    def add(self, wanted: Raise, now: Instant, *, many: bool = False) -> None:
        if many and not self._waiting:
            self._free_us = max(self._free_us, now.mono_us + MOMENT_US)
        self._waiting[wanted.subject] = wanted

    def due(self, now: Instant) -> list[Raise]:
        """What is to be told now, taken out."""
        if not self._waiting or now.mono_us < self._free_us:
            return []
        self._free_us = now.mono_us + MOMENT_US
        wanted = list(self._waiting.values())
        self._waiting.clear()
        return wanted

    def deadline(self) -> int | None:
        return self._free_us if self._waiting else None


def signed(wanted: Sequence[Raise], signer: Signer, *, many: bool = False) -> list[AlertRumour | AlertsRumour]:
    """Few are signed one by one, as any node understands them; more of them as batches, and any two of them where
    ``many`` are lost in the whole mesh."""
    if len(wanted) < (2 if many else BATCH_MIN):
        return [sign(each, signer) for each in wanted]
    rumours: list[AlertRumour | AlertsRumour] = []
    for begin in range(0, len(wanted), BATCH_MAX):
        told = tuple(
            Told(each.subject, each.boot, each.incarnation, each.kind, each.observers[:BATCH_OBSERVERS_MAX])
            for each in wanted[begin : begin + BATCH_MAX]
        )
        body = msgspec.msgpack.encode(Batch(signer.node, told))
        rumours.append(AlertsRumour(body, signer.sign(BATCH_CONTEXT, body)))
    return rumours


def sign(wanted: Raise, signer: Signer) -> AlertRumour:
    observers = wanted.observers[:OBSERVERS_MAX]
    alert = Alert(wanted.subject, wanted.boot, wanted.incarnation, signer.node, wanted.kind, observers)
    body = msgspec.msgpack.encode(alert)
    return AlertRumour(body, signer.sign(CONTEXT, body))


def read(rumour: AlertRumour | AlertsRumour) -> Sequence[Alert]:
    """What it says, unchecked: at least one alert, all of one observer. Raises ``RemoteError``: it is none."""
    return _one(rumour.body) if isinstance(rumour, AlertRumour) else _several(rumour.body)


@lru_cache(maxsize=READ_MAX)
def _one(body: bytes) -> tuple[Alert, ...]:
    """Asked twice for each rumour; where many nodes share a process they share what it says."""
    try:
        return (_alerts.decode(body),)
    except JUNK as error:
        raise refusal("alert-malformed", error) from error


@lru_cache(maxsize=READ_MAX)
def _several(body: bytes) -> tuple[Alert, ...]:
    try:
        batch = _batches.decode(body)
    except JUNK as error:
        raise refusal("alert-malformed", error) from error
    return tuple(Alert(t.subject, t.boot, t.incarnation, batch.observer, t.kind, t.observers) for t in batch.alerts)


class Answerable:
    """Picks alerts, newest first, so that everybody they are about hears of one that it can answer."""

    def __init__(self) -> None:
        self._newest: dict[NodeId, tuple[int, int]] = {}

    def adds(self, rumour: bytes) -> bool:
        """Whether this one is about somebody no other one was, or about what it signed since."""
        adds = False
        for subject, order in _about(rumour):
            if order > self._newest.get(subject, (-1, -1)):
                self._newest[subject], adds = order, True
        return adds


@lru_cache(maxsize=ABOUT_MAX)
def _about(rumour: bytes) -> tuple[tuple[NodeId, tuple[int, int]], ...]:
    """Asked of the same alerts for every link that comes up."""
    told = decode_rumour(rumour)
    alerts = read(told) if isinstance(told, AlertRumour | AlertsRumour) else ()
    return tuple((NodeId(alert.subject), (alert.boot, alert.incarnation)) for alert in alerts)


def check(rumour: AlertRumour | AlertsRumour, trust: Trust, verifier: Verifier) -> Sequence[Alert]:
    """The alerts, if their observer signed them. Raises ``RemoteError`` otherwise."""
    told = read(rumour)
    observer, context = told[0].observer, CONTEXT if isinstance(rumour, AlertRumour) else BATCH_CONTEXT
    member = trust.member(observer)
    if member is None or any(alert.subject == observer for alert in told):
        raise RemoteError("alert-unknown-observer")
    if not verifier.verify(member.public_key, context, rumour.body, rumour.signature):
        raise RemoteError("alert-forged")
    return told
