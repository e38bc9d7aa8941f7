"""Which calls are even tried: well said, allowed, and with room for them."""

from meshnode.kernel.counters import Counters
from meshnode.kernel.ports import Action
from meshnode.messaging import refusals, sheds
from meshnode.messaging.around import Around
from meshnode.messaging.calls import Calls, Ending, Peer, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.registry.index import CAP_PREFIX
from meshnode.wire.calls import CallHeader


class Admission:
    """The door of one switch's call table."""

    def __init__(self, config: SwitchConfig, around: Around, calls: Calls, counters: Counters) -> None:
        self._around, self._calls, self._counters = around, calls, counters
        self.bound(config)

    def bound(self, config: SwitchConfig) -> None:
        """These bounds from now on."""
        self._config = config
        self.payload_bytes_max = config.payload_bytes_max
        # Up to so much there is room for whatever kind of call comes.
        self.calls_room, self.bytes_room = sheds.room(config)

    def refusal(self, waiter: Waiter, header: CallHeader, payload: bytes) -> Ending | None:
        """Why this call is not tried."""
        own = not isinstance(waiter, Peer)
        objection = refusals.objection(header, payload, self._config, own=own)
        if objection is not None:
            return Ending(*objection)
        if own and not header.skill.startswith(CAP_PREFIX):  # of a capability it depends on who is found
            verdict = self._around.authority.may(self._around.me, Action.CALL, f"skill/{header.skill}")
            if not verdict.allowed:
                self._counters.add(f"denied-{verdict.reason}")
                return Ending("denied", f"this node may not call {header.skill}: {verdict.reason}")
        return self._shed(header, payload)

    def _shed(self, header: CallHeader, payload: bytes) -> Ending | None:
        """There is no room for it now."""
        config, calls, held = self._config, len(self._calls), self._calls.payload_bytes + len(payload)
        if calls < self.calls_room and held <= self.bytes_room:
            return None
        kind = sheds.class_of(header)
        calls_max, held_max = sheds.share(kind, config.calls_max), sheds.share(kind, config.held_bytes_max)
        if calls < calls_max and held <= held_max:
            return None
        self._counters.add(f"shed-{kind.word}")
        wait_ms = sheds.retry_after_ms(kind, max(calls / calls_max, held / held_max), config)
        message = f"{calls} calls are in flight on {self._around.name}; try again in {wait_ms} ms"
        return Ending("overloaded", message, retry_after_ms=wait_ms)
