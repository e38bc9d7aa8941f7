"""The live feed: every commit of the store, to every page that watches.

Readers with the same filters share a *channel*, for which a frame is encoded once. A commit is told at once when
nothing was told for a moment, else together with what comes within that moment. What was told lately is kept, so that
a reader that was away for seconds misses nothing; one that is too slow, or was away for too long, is told to ask
anew: nobody's buffer grows.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterator

from cloud_gateway.api.frames import Gathered, Wanted, changed_frame, frame, mark
from cloud_gateway.api.freshness import Freshness
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.store.port import Store, StoreFailed

log = logging.getLogger(__name__)
_TRY_AGAIN_S = 1.0


class Reader:
    """One page's place in the feed: what it has not been sent yet."""

    def __init__(self, client: str, wanted: Wanted, settings: ApiSettings) -> None:
        self.client, self.wanted = client, wanted
        self.ended = self.stuck = False
        self.resets = 0
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._frames_max, self._bytes_max = settings.reader_frames_max, settings.reader_bytes_max
        self._wake = asyncio.Event()

    def put(self, told: bytes) -> None:
        """One more frame; when it is one too many, all that waits becomes one ``reset``."""
        self._frames.append(told)
        self._bytes += len(told)
        if len(self._frames) > self._frames_max or self._bytes > self._bytes_max:
            self.reset()
        self._wake.set()

    def reset(self) -> None:
        self.resets += 1
        self._frames.clear()
        self._frames.append(RESET)
        self._bytes = len(RESET)
        self._wake.set()

    def end(self) -> None:
        self.ended = True
        self._wake.set()

    async def take(self) -> bytes:
        """All that waits, at least one frame; b"" at the end."""
        while not self._frames:
            if self.ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        told = self._frames.popleft() if len(self._frames) == 1 else b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        return told


RESET = frame("reset", {})


class Feed:
    """Reads the store's changes and tells them. ``run`` it for as long as pages may watch."""

    def __init__(self, store: Store, settings: ApiSettings, fresh: Freshness) -> None:
        self._store, self._settings, self._fresh = store, settings, fresh
        self._channels: dict[Wanted, list[Reader]] = {}
        self._clients: dict[str, int] = {}
        self._ring: deque[Gathered] = deque()
        self._ring_rows = 0
        self._run = secrets.token_hex(4)
        self._after = 0  # the ring holds all that was committed after this
        self._pending = Gathered(settings.frame_rows_max)
        self._news = asyncio.Event()
        self._ended = False
        self.seq = 0
        self.readers = 0
        self.frames_sent = 0
        self._resets_of_gone = 0
        self.commits = 0
        self.listening = False

    # -- readers -----------------------------------------------------------------------------------------------------

    def refuses(self, client: str) -> str:
        """Why this client gets no place, "" if it does."""
        if self._ended:
            return "this gateway is going down"
        if self.readers >= self._settings.readers_max:
            return f"{self.readers} readers watch already"
        if self._clients.get(client, 0) >= self._settings.readers_client_max:
            return f"{self._clients[client]} readers watch from {client} already"
        return ""

    def enter(self, client: str, wanted: Wanted, last_id: str) -> Reader:
        """A place in the feed, with what was missed since ``last_id`` or ``reset``."""
        reader = Reader(client, wanted, self._settings)
        self._channels.setdefault(wanted, []).append(reader)
        self.readers += 1
        self._clients[client] = self._clients.get(client, 0) + 1
        if last_id:
            self._resume(reader, last_id)
        return reader

    def leave(self, reader: Reader) -> None:
        channel = self._channels[reader.wanted]
        channel.remove(reader)
        if not channel:
            del self._channels[reader.wanted]
        self.readers -= 1
        self._resets_of_gone += reader.resets
        self._clients[reader.client] -= 1
        if not self._clients[reader.client]:
            del self._clients[reader.client]

    @property
    def resets(self) -> int:
        return self._resets_of_gone + sum(reader.resets for reader in self._all())

    def hello(self, *, begins: bool = False) -> bytes:
        """``begins``: the reader has missed nothing yet; the id lets it resume even when no change came before the
        line broke. A reader that resumes keeps its own until it has what it missed."""
        source = self._fresh.known
        told = {"seq": self.seq, "as_of": source.as_of_ms, "stale": self._fresh.stale(source), "source": source}
        return b"retry: 1000\n" + frame("hello", told, mark(self.seq, self._run) if begins else "")

    def end(self) -> None:
        """Every reader reads what waits for it, and goes; nobody comes any more."""
        self._ended = True
        for reader in self._all():
            reader.end()

    def _resume(self, reader: Reader, last_id: str) -> None:
        number, _, run = last_id.partition("-")
        seq = int(number) if number.isascii() and number.isdigit() and len(number) < 18 else -1
        if run != self._run or not self._after <= seq <= self.seq:
            reader.reset()
            return
        missed = (changed_frame(one, reader.wanted, self._run) for one in self._ring if one.seq > seq)
        if told := b"".join(missed):
            reader.put(told)

    def _all(self) -> Iterator[Reader]:
        for channel in list(self._channels.values()):
            yield from list(channel)

    # -- changes -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        await self._fresh.source()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(), name="feed-hear")
            tasks.create_task(self._tell(), name="feed-tell")
            tasks.create_task(self._beat(), name="feed-beat")

    async def _hear(self) -> None:
        """Commits as they come. When the store cannot tell them for a while, whoever watches must ask anew."""
        while True:
            try:
                commits = self._store.changes()
                self.listening = True
                async for changes in commits:
                    self._begin(changes.seq)
                    self.commits += 1
                    if changes.source is not None:
                        self._fresh.heard(changes.source)
                    self._pending.add(changes)
                    self._news.set()
            except StoreFailed:
                log.exception("the store does not tell its commits")
            self.listening = False
            self._forget()
            await asyncio.sleep(_TRY_AGAIN_S)

    def _begin(self, seq: int) -> None:
        if not self.seq:
            self.seq = self._after = seq - 1

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            gathered, self._pending = self._pending, Gathered(self._settings.frame_rows_max)
            if gathered.seq:
                self._told(gathered)
                await asyncio.sleep(self._settings.gather_s)

    def _told(self, gathered: Gathered) -> None:
        self.seq = gathered.seq
        if not gathered.whole:
            self._forget()
            return
        self._keep(gathered)
        for wanted, readers in self._channels.items():
            if told := changed_frame(gathered, wanted, self._run):
                for reader in readers:
                    reader.put(told)
                self.frames_sent += len(readers)

    def _keep(self, gathered: Gathered) -> None:
        self._ring.append(gathered)
        self._ring_rows += gathered.size
        while len(self._ring) > self._settings.ring_frames_max or self._ring_rows > self._settings.ring_rows_max:
            old = self._ring.popleft()
            self._ring_rows -= old.size
            self._after = old.seq

    def _forget(self) -> None:
        """More happened than is known: nobody can resume from before, and all must ask anew."""
        self._ring.clear()
        self._ring_rows, self._after = 0, self.seq
        for reader in self._all():
            reader.reset()

    async def _beat(self) -> None:
        """Says how old the picture is, and lets both sides notice when the other is gone without a word. Its id moves
        readers on whose filters let little through."""
        while True:
            await asyncio.sleep(self._settings.beat_s)
            try:
                source = await self._fresh.source()
            except StoreFailed:
                source = self._fresh.known
            told = {"as_of": source.as_of_ms, "stale": self._fresh.stale(source), "problem": source.problem}
            beat = frame("beat", told, mark(self.seq, self._run))
            for reader in self._all():
                reader.put(beat)
