"""Between the bus and its endpoints: an endpoint moves bytes and says who is there; the bus knows the rules."""

from dataclasses import dataclass, field
from typing import Protocol

from meshnode.host.bus_outbox import Outbox
from meshnode.host.bus_talk import Talk
from meshnode.host.ipcpeer import IpcPeer
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn


class Line(Protocol):
    """One connection, as the bus uses it. What is to leave and cannot yet waits in ``outbox``."""

    outbox: Outbox
    connection: "Connection | None"

    @property
    def idle(self) -> bool:
        """Nothing waits: what is sent now may leave at once."""
        ...

    def send(self, data: bytes) -> None:
        """Only when idle: write now; what the other side does not take waits."""
        ...

    def send_pieces(self, pieces: list[bytes]) -> None:
        """As ``send``, of what would have to be joined."""
        ...

    def flush(self) -> None:
        """Something was added to the outbox."""
        ...

    def last_word(self, data: bytes) -> None:
        """Write if it can be written at once and whole; the connection ends."""
        ...

    def drain(self) -> None:
        """The process behind it has ended: read what it said before, then ``Taker.lose``."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Connection:
    """One admitted connection."""

    conn: AgentConn
    line: Line
    peer: IpcPeer
    talk: Talk = field(default_factory=Talk)


class Taker(Protocol):
    """The bus, as its endpoints use it. Nothing here raises: junk is refused by name and counted."""

    def admit(self, line: Line, peer: IpcPeer | None) -> Connection | None:
        """None: refused, and told so by ``line.last_word``; the endpoint closes the line. If admitted, the bus owns
        ``peer.pidfd``.
        """
        ...

    def heard(self, connection: Connection, data: memoryview) -> None:
        """Bytes of a stream."""
        ...

    def heard_message(self, connection: Connection, data: memoryview) -> None:
        """One message with bounds."""
        ...

    def refuse(self, line: Line, error: RemoteError) -> None:
        """Junk before anybody could be admitted, or around what was said."""
        ...

    def lose(self, connection: Connection) -> None:
        """It has ended. Does nothing if that is known."""
        ...

    def count(self, name: str) -> None: ...
