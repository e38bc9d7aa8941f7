"""Stays in touch with the daemon: registers, and looks for the daemon again when it is gone.

An agent outlives its daemon for ``ORPHAN_S``: a daemon that comes back finds it by the same ticket, with its state.
"""

import asyncio
from collections.abc import Callable

from meshnode.model.errors import RemoteError
from meshnode.sdk.links import Link, connect
from meshnode.sdk.pages import LARGE_BYTES, keep_pages
from meshnode.wire.calls import RegisteredHeader
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.parts import Assembly

# How long the daemon may take to answer the first registration.
REGISTER_S = 10.0
# How long an agent works on without a daemon, and how often it looks for one.
ORPHAN_S = 20.0
RETRY_FIRST_S, RETRY_MOST_S = 0.02, 0.5

_BUSY = "the daemon has no time to accept this agent"


class Ended(Exception):
    """There is nothing to work for, or no way to go on. The message says why."""


class Connection:
    """``registration`` makes the first frame of a link; ``on_away`` is called each time that the daemon is lost."""

    def __init__(
        self,
        endpoint: str,
        on_frame: Callable[[Frame], None],
        registration: Callable[[], Frame],
        on_away: Callable[[], None],
        *,
        orphan_s: float = ORPHAN_S,
    ) -> None:
        self._endpoint, self._on_frame = endpoint, on_frame
        self._registration, self._on_away = registration, on_away
        self._orphan_s = orphan_s
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._assembly = Assembly()
        self._welcome: asyncio.Future[RegisteredHeader] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._frugal = True  # nothing large has passed
        self.open = False  # the daemon has welcomed us: what is sent arrives

    async def keep(self) -> None:
        """Be connected for as long as it is worth it. Raises ``Ended``."""
        await self._connect(REGISTER_S, patient=False)
        while True:
            await self._lost
            await self._connect(self._orphan_s, patient=True)

    def send(self, *frames: Frame) -> bool:
        """False: there is no daemon now. The frames leave together."""
        if not self.open or self._link is None:
            return False
        if len(frames[-1].payload) >= LARGE_BYTES:
            self._met_large()
        self._link.send(*frames)
        return True

    def welcomed(self, header: RegisteredHeader) -> bool:
        """A REGISTERED came. True: the daemon took us; whatever follows in the same message may be heeded."""
        if self._welcome.done():  # the daemon's way to end a connection that stood
            self._lose(header.message or header.refusal)
            return False
        self._welcome.set_result(header)
        self.open = not header.refusal
        if header.parts and self._link is not None:
            self._link.take_parts()
        return self.open

    async def close(self) -> None:
        self.open = False
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    async def _connect(self, within_s: float, *, patient: bool) -> None:
        """Register, again and again if ``patient``. Raises ``Ended``."""
        pause_s, until_s = RETRY_FIRST_S, self._loop.time() + within_s
        while True:
            why, final = await self._try(until_s)
            if not why:
                return
            if final or not (patient or why == _BUSY) or self._loop.time() + pause_s > until_s:
                waited = f", and none came within {within_s:g} s" if patient and not final else ""
                raise Ended(why + waited)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MOST_S)

    async def _try(self, until_s: float) -> tuple[str, bool]:
        """One attempt: why it failed, and whether more of them are useless."""
        await self.close()
        self._welcome, self._lost = self._loop.create_future(), self._loop.create_future()
        self._assembly = Assembly()
        try:
            self._link = await connect(self._endpoint, self._heard, self._lose)
        except BlockingIOError:
            return _BUSY, False
        except OSError as error:
            return f"the daemon is gone: {error.strerror or error}", False
        except ValueError as error:
            return str(error), True
        self._link.send(self._registration())
        both = (self._lost, self._welcome)
        await asyncio.wait(both, timeout=until_s - self._loop.time(), return_when=asyncio.FIRST_COMPLETED)
        if self._welcome.done():
            answer = self._welcome.result()
            refusal = f"the daemon refused this agent: {answer.refusal}: {answer.message}" if answer.refusal else ""
            return refusal, bool(refusal)
        return (
            f"the daemon is gone: {self._lost.result()}" if self._lost.done() else "the daemon does not answer",
            False,
        )

    def _heard(self, frame: Frame) -> None:
        if frame.kind is Kind.PART:
            try:
                whole = self._assembly.take(frame)
            except RemoteError as error:
                self._lose(f"it sent parts that make no frame: {error.reason}")
                return
            self._met_large()
            if whole is None:
                return
            frame = whole
        self._on_frame(frame)

    def _met_large(self) -> None:
        """It will not be the last."""
        if self._frugal:
            self._frugal = False
            keep_pages()

    def _lose(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)
            if self.open:
                self.open = False
                self._on_away()
