"""Links over TCP and TLS: performs Dial, Transmit and CloseLink, tells what became of them.

``tell`` is called from the event loop and must only take the event in: a machine that answered at once would run inside
a socket callback.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.gossip.messages import DialFailed, Reached
from meshnode.host.credentials import Credentials
from meshnode.host.dialer import DialError, connect
from meshnode.host.enrolment import EnrolmentDoor
from meshnode.host.halves import halves
from meshnode.host.listener import Listener, ListenerConfig
from meshnode.host.pipes import PipeHand
from meshnode.host.tlslink import LINGER_S, UNSENT_BYTES_MAX, Scratch, TlsLink, attach
from meshnode.host.tunnel import TunnelHand, TunnelPipe, TunnelStream
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Undial
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, Transmit
from meshnode.links.tunnels import PIPE_FAILED
from meshnode.links.tunnelwire import CLOSED, PipeEnded, PipeRead, TunnelClosed, TunnelStart, TunnelWritten
from meshnode.model.addresses import host_and_port
from meshnode.model.errors import RemoteError
from meshnode.model.ids import UNKNOWN_NODE, LinkId
from meshnode.sdk.pages import LARGE_BYTES, keep_pages
from meshnode.security.clienthello import PIPE
from meshnode.security.messages import EnrolmentAsked, IssueLeaf, RefuseEnrolment
from meshnode.security.tls import ALPN_ENROL, ALPN_MESH

log = logging.getLogger(__name__)

OfTunnels = TunnelWritten | TunnelClosed | PipeRead | PipeEnded
Told = LinkOpened | LinkBytes | LinkLost | DialFailed | Reached | EnrolmentAsked | OfTunnels
Tell = Callable[[Told], None]
SWEEP_S = 60.0  # how often links are looked at whose peer's certificate may have ended


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportConfig:
    """``dial_from``: the source address of outgoing connections, empty = the system's choice."""

    listen: ListenerConfig = field(default_factory=ListenerConfig)
    dial_from: str = ""
    dial_s: float = 3.0
    dials_max: int = 64
    links_max: int = 2048  # above what the hub bears, which says why it has no room
    unsent_bytes_max: int = UNSENT_BYTES_MAX

    def __post_init__(self) -> None:
        if min(self.dial_s, self.dials_max, self.links_max, self.unsent_bytes_max) <= 0:
            raise ValueError(f"transport limits must be positive: {self}")


class Transport:
    """All connections of this node. ``open`` takes the port, ``serve`` runs until cancelled."""

    def __init__(self, config: TransportConfig, credentials: Credentials, tell: Tell, counters: Counters) -> None:
        self.credentials = credentials  # a renewed certificate replaces it; links that stand keep theirs till it ends
        self._config = config
        self.tell = tell
        self._counters = counters
        self._scratch = Scratch()
        self._listener = Listener(config.listen, counters, self._welcome)
        self._inner_scratch: Scratch | None = None  # of links in tunnels, which are read while a link around them is
        self.tunnels = TunnelHand(tell, counters, self._tunnelled)
        self.pipes = PipeHand(tell)
        self._door = EnrolmentDoor(tell, counters, self._scratch, self._dialable)
        self._tasks: asyncio.TaskGroup | None = None
        self._numbers = itertools.count(1)
        self._sessions: dict[LinkId, _Session] = {}
        self._dialling = 0
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._frugal = True  # nothing large was written yet
        self._early: list[Dial] = []  # asked for before ``serve`` began

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        return self._listener.address

    def open(self) -> None:
        """Raises ``CannotListen``."""
        self._listener.open()

    async def serve(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for dial in self._early:
                    self._begin(tasks, dial)
                sweeping = tasks.create_task(self._sweep_for_ever(), name="ended certificates")
                try:
                    with self.tunnels.serving(tasks):
                        await self._listener.serve()
                finally:
                    self._tasks = None  # no dial begins any more
                    sweeping.cancel()
        finally:
            await self._close_all()

    def transmit(self, effect: Transmit) -> None:
        """A link that has ended meanwhile takes nothing more, silently: it was told."""
        session = self._sessions.get(effect.link)
        if session is not None:
            session.link.write(effect.data)
        if len(effect.data) >= LARGE_BYTES:
            self.met_large()

    def perform(self, effect: Dial | Undial | Transmit | CloseLink | IssueLeaf | RefuseEnrolment) -> None:
        """Start what a machine asked for."""
        match effect:
            case Transmit():
                self.transmit(effect)
            case CloseLink(link, abort):
                self._close(link, abort=abort)
            case Dial():
                self._start_dial(effect)
            case Undial(dial_no):
                if dial_no in self._dials:
                    self._counters.add("dial-given-up")
                    self._dials[dial_no].cancel()
            case IssueLeaf():
                self._door.issue(effect)
            case RefuseEnrolment():
                self._door.refuse(effect)

    def met_large(self) -> None:
        """Something large passes: it will not be the last."""
        if self._frugal:
            self._frugal = False
            keep_pages()

    def _close(self, number: LinkId, *, abort: bool) -> None:
        session = self._sessions.get(number)
        if session is None:
            return
        if abort:
            session.link.abort()
        else:
            session.link.close()

    # -- outgoing -----------------------------------------------------------------------------------------------------

    def _start_dial(self, dial: Dial) -> None:
        if self._dialling >= self._config.dials_max:
            self._counters.add("dial-not-started")
            self.tell(DialFailed(dial.dial_no, DialFailure.UNREACHABLE, "this node has too many dials under way"))
            return
        self._dialling += 1
        if self._tasks is None:
            self._early.append(dial)
        else:
            self._begin(self._tasks, dial)

    def _begin(self, tasks: asyncio.TaskGroup, dial: Dial) -> None:
        self._dials[dial.dial_no] = tasks.create_task(self._dial(dial), name=f"dial {dial.host}:{dial.port}")

    async def _dial(self, dial: Dial) -> None:
        try:
            async with asyncio.timeout(self._config.dial_s):
                dialled = await self._reach(dial)
                session = self._session(host_and_port(dial.host, dial.port), dial)
                await self._shake(dialled, session, self.credentials.mutual_client)
        except TimeoutError:
            self._dial_failed(dial, DialFailure.TIMEOUT, f"no answer within {self._config.dial_s:g} s")
        except DialError as error:
            self._dial_failed(dial, error.how, error.detail)
        except _NoLink as error:
            self._dial_failed(dial, error.meaning(), error.reason)
        finally:
            self._dialling -= 1
            self._dials.pop(dial.dial_no, None)

    async def _reach(self, dial: Dial) -> socket.socket:
        """A connection, and one round of the loop in which the core may say that it is not needed any more."""
        dialled = await connect(dial.host, dial.port, self._config.dial_from)
        self.tell(Reached(dial.dial_no))
        try:
            await asyncio.sleep(0)
        except BaseException:
            dialled.close()
            raise
        return dialled

    def _dial_failed(self, dial: Dial, how: DialFailure, detail: str) -> None:
        self._counters.add(f"dial-{how.value}")
        self.tell(DialFailed(dial.dial_no, how, detail, host_and_port(dial.host, dial.port)))

    # -- incoming -----------------------------------------------------------------------------------------------------

    async def _welcome(self, accepted: socket.socket, source: str, protocols: list[str]) -> None:
        credentials = self.credentials
        if ALPN_MESH in protocols:
            with contextlib.suppress(_NoLink):  # counted by its name in ``refused``
                await self._shake(accepted, self._session(source, None), credentials.mutual_server)
        elif PIPE in protocols:
            await self.pipes.receive(accepted)
        elif ALPN_ENROL in protocols and credentials.enrol_server is not None:
            await self._door.receive(accepted, credentials, credentials.enrol_server)
        else:
            accepted.close()
            raise RemoteError("hello-alpn")

    # -- both ---------------------------------------------------------------------------------------------------------

    def _session(self, address: str, dial: Dial | None) -> "_Session":
        return _Session(self, LinkId(next(self._numbers)), address, dial)

    async def _tunnelled(self, tunnel: TunnelStream | TunnelPipe, start: TunnelStart) -> None:
        """As ``_dial`` and ``_welcome``, over a tunnel, whose failure says nothing about the node that was dialled."""
        address = f"relay/{start.relay_name}"
        dial = None if start.inbound else Dial(start.dial_no, address, 0, start.peer)
        session, credentials = self._session(address, dial), self.credentials
        session.relay = start.relay
        context = credentials.mutual_server if start.inbound else credentials.mutual_client
        within_s = self._config.listen.handshake_s if start.inbound else self._config.dial_s
        try:
            async with asyncio.timeout(within_s):
                if isinstance(tunnel, TunnelPipe):
                    session.pipe, connected = tunnel, await tunnel.reach(self._config.dial_from)
                else:
                    connected = tunnel
                await self._shake(connected, session, context)
        except DialError as error:
            self._untunnelled(dial, DialFailure.UNREACHABLE, error.detail)
        except TimeoutError:
            self._untunnelled(dial, DialFailure.TIMEOUT, f"no answer within {within_s:g} s")
        except _NoLink as error:
            untrusted = error.meaning() is DialFailure.UNTRUSTED
            self._untunnelled(dial, DialFailure.UNTRUSTED if untrusted else DialFailure.UNREACHABLE, error.reason)

    def _untunnelled(self, dial: Dial | None, how: DialFailure, detail: str) -> None:
        if dial is None:
            self._counters.add("tunnel-without-link")
            return
        self._counters.add(f"dial-{how.value}")
        self.tell(DialFailed(dial.dial_no, how, detail, dial.host))

    async def _shake(
        self, connected: socket.socket | TunnelStream, session: "_Session", context: ssl.SSLContext
    ) -> None:
        """Takes the socket over. Returns when the link is open; else raises ``_NoLink``."""
        scratch = self._scratch
        if isinstance(connected, TunnelStream):
            scratch = self._inner_scratch = self._inner_scratch or Scratch()
        link = TlsLink(
            session,
            context,
            scratch,
            server_side=session.dial is None,
            unsent_bytes_max=self._config.unsent_bytes_max,
        )
        session.link = link
        if session.pipe is not None:
            session.pipe.link = link
        try:
            if isinstance(connected, TunnelStream):
                connected.attach(link)
            else:
                await attach(link, connected)
            failure = await session.settled
        except BaseException:
            link.abort()
            raise
        if failure is not None:
            raise failure

    def opened(self, session: "_Session", tls: ssl.SSLObject) -> None:
        """The peer has shown its certificate: in or out. Raises ``RemoteError`` for out."""
        dial = session.dial
        peer = self.credentials.judge(tls, dial.expect if dial else UNKNOWN_NODE)
        if len(self._sessions) >= self._config.links_max:
            raise RemoteError("links-full")
        self._sessions[session.number] = session
        session.until_ms = peer.until_ms
        self._counters.add("link-opened")
        log.info("link opened", extra={"link": session.number, "peer": peer.name, "address": session.address})
        dial_no = dial.dial_no if dial else 0
        inbound = dial is None
        self.tell(LinkOpened(session.number, peer.node, peer.name, inbound, dial_no, session.address, session.relay))

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Who lets his certificate end while his links stand would stay for ever: nobody renews that of one who was
        banned. Whoever renewed his has dialled anew, or does it now."""
        for session in list(self._sessions.values()):
            if self.credentials.has_ended(session.until_ms):
                self._counters.add("link-certificate-ended")
                session.link.close()

    def lost(self, session: "_Session", how: Loss, reason: str) -> None:
        del self._sessions[session.number]
        self._counters.add(f"link-lost-{reason}")
        log.info("link lost", extra={"link": session.number, "how": how.value, "reason": reason})
        self.tell(LinkLost(session.number, how))

    def refused(self, session: "_Session", reason: str) -> None:
        """A handshake came to nothing."""
        if session.dial is None:
            self._counters.add(reason)
        log.info("no link", extra={"address": session.address, "reason": reason})

    def _dialable(self) -> list[str]:
        """Addresses at which this node has reached somebody: what a new node may try."""
        return [session.address for session in self._sessions.values() if session.dial is not None]

    async def _close_all(self) -> None:
        """In order: what the core sent last, such as its goodbye, still leaves."""
        self._door.close()
        self.pipes.close()
        links = [session.link for session in self._sessions.values()]
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.gone for link in links], timeout=2 * LINGER_S)


class _NoLink(Exception):
    """The handshake ended without a link, ``how`` and why."""

    def __init__(self, how: Loss, reason: str) -> None:
        super().__init__(reason)
        self.how = how
        self.reason = reason

    def meaning(self) -> DialFailure:
        """Whoever resets, or hangs up before it has shown a certificate, is not serving this mesh there."""
        match self.how:
            case Loss.PROTOCOL:
                return DialFailure.UNTRUSTED
            case Loss.SILENT:
                return DialFailure.TIMEOUT
            case _:
                return DialFailure.REFUSED


class _Session:
    """One link as its TLS engine sees it (implements ``TlsUser``)."""

    link: TlsLink

    def __init__(self, transport: Transport, number: LinkId, address: str, dial: Dial | None) -> None:
        self.number = number
        self.address = address
        self.dial = dial
        self.relay = UNKNOWN_NODE  # that carries it
        self.pipe: TunnelPipe | None = None  # it runs in one
        self.until_ms = 0  # the peer's certificate, once it was judged
        self.settled: asyncio.Future[_NoLink | None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._is_open = False

    def handshaken(self, tls: ssl.SSLObject) -> None:
        self._transport.opened(self, tls)
        self._is_open = True
        if not self.settled.done():
            self.settled.set_result(None)

    def received(self, data: memoryview) -> None:
        if len(data) >= LARGE_BYTES:
            self._transport.met_large()
        for piece in halves(data):
            self._transport.tell(LinkBytes(self.number, bytes(piece)))

    def ended(self, how: Loss, reason: str) -> None:
        if self.pipe is not None:
            self.pipe.ended(CLOSED if self._is_open else PIPE_FAILED)
        if self._is_open:
            self._transport.lost(self, how, reason)
            return
        self._transport.refused(self, reason)
        if not self.settled.done():
            self.settled.set_result(_NoLink(how, reason))
