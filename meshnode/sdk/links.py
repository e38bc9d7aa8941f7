"""The agent's end of the bus: frames to and from the daemon of this machine, by either of two kinds of endpoint."""

from collections.abc import Callable
from typing import Protocol

from meshnode.wire.frame import Frame

# With more than this waiting to leave, nothing is taken in: results would only pile up.
WAITING_BYTES_MAX = 8 * 1024 * 1024
# What is sent so soon after something else is likely to be one of many.
SOON_S = 50e-6
# So many frames do not wait for more: the daemon works on them meanwhile.
TOGETHER = 32

Heard = Callable[[Frame], None]


class Link(Protocol):
    """A connection. The frames of one ``send`` leave together, and in the order of sending."""

    def send(self, *frames: Frame) -> None: ...

    def take_parts(self) -> None:
        """The daemon puts PARTs together: what is long leaves so from now on."""
        ...

    async def close(self) -> None:
        """Wait shortly until what was sent is with the daemon, and close."""
        ...


async def connect(endpoint: str, on_frame: Heard, on_lost: Callable[[str], None]) -> Link:
    """A link to ``unix://PATH`` or ``ipc://PATH`` (ZeroMQ).

    ``on_frame`` gets every frame; ``on_lost`` is called once when the daemon is gone or talks nonsense.

    Raises:
        OSError: nobody listens there now. (ZeroMQ finds out later, and says so to ``on_lost``.)
        ValueError: the endpoint is of no known kind.
    """
    kind, _, path = endpoint.partition("://")
    if kind == "unix":
        from meshnode.sdk.unixlink import open_unix_link

        return open_unix_link(path, on_frame, on_lost)
    if kind == "ipc":
        from meshnode.sdk.zmqlink import ZmqLink

        return ZmqLink(endpoint, on_frame, on_lost)
    raise ValueError(f"MESHNODE_BUS is {endpoint[:80]!r}: it begins with unix:// or ipc://")
