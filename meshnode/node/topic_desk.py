"""Commands about topics: a person publishes an event through this node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.model.errors import Denied, Invalid, LocalError, RemoteError
from meshnode.model.views import PublishedView
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import PublishEvent
    from meshnode.node.core import Core


def publish(core: Core, command_no: int, command: PublishEvent, now: Instant) -> Sequence[Effect]:
    """Raises ``LocalError``: it is not published, and why."""
    topics = core.switch.topics
    data = msgspec.json.encode(command.data)
    try:
        sent = topics.publish(command.topic, f"node/{core.config.name}", data, now)
    except RemoteError as error:
        core.switch.counters.add(error.reason)
        raise _refusal(command.topic, error) from error
    here, nodes = topics.reached(command.topic)
    return [*sent, Reply(command_no, PublishedView(topic=command.topic, listeners=here, nodes=nodes))]


def _refusal(topic: str, error: RemoteError) -> LocalError:
    text = f"{topic[:80]} is not published: {error}"
    if error.reason == "event-denied":
        return Denied(text, next_step="meshnode id shows this node's roles")
    return Invalid(text, next_step="""meshnode publish topic/line/1 '{"ok": true}'""")
