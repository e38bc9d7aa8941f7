"""Files of agents by content: every node that may have to run an agent has its file before it is needed.

A bundle that is wanted and not here is asked for from one linked peer after the other; what comes is believed by its
hash alone. Whoever is asked and has it not says so. Units wait while one may still come (``coming``).
"""

from collections.abc import Iterable

import msgspec

from meshnode.kernel.blobs import BlobRead, BlobsKept, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.counters import Counters
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Channel, Effect, Fact, Reject, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.timers import Timers
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

ROOM = "bundles"
BUNDLE_BYTES_MAX = 512 * 1024
WANTED_MAX = 4096
ASK_AGAIN_US = 2 * SECOND
DIGEST_CHARS = 64
ANSWERS_MAX = 256  # reads for peers under way


class Need(msgspec.Struct, frozen=True, tag="need"):
    """Please send it."""

    digest: str


class Lack(msgspec.Struct, frozen=True, tag="lack"):
    """It is not here."""

    digest: str


class Bundle(msgspec.Struct, frozen=True, tag="bundle"):
    """Its content."""

    data: bytes


class BundleArrived(Fact, frozen=True):
    """A bundle that was wanted is durable here from now on."""

    digest: str


class BundleLacking(Fact, frozen=True):
    """Nobody in reach has given it: whoever needs it tries without, it may lie here under its own name."""

    digest: str


_encode = msgspec.msgpack.Encoder().encode
_Letter = Need | Lack | Bundle
_letters: msgspec.msgpack.Decoder[_Letter] = msgspec.msgpack.Decoder(_Letter)


class Bundles:
    """Which bundles are here, which are wanted, whom to ask next. ``_missing``: how many peers this round has asked."""

    def __init__(self, links: LinkStats) -> None:
        self.counters = Counters()
        self._links = links
        self._here: dict[str, None] = {}
        self._missing: dict[str, int] = {}
        self._lacking: dict[str, None] = {}  # missing, and a round has ended without it
        self._looking: dict[int, str] = {}  # reads of our own store, at the start of a wish
        self._answering: dict[int, NodeId] = {}
        self._keeping: dict[int, tuple[str, ...]] = {}
        self._again: Timers[str] = Timers()
        self._last = 0

    def here(self, digest: str) -> bool:
        return digest in self._here

    def coming(self, digest: str) -> bool:
        """Wanted, not here, and somebody may have it: ends in ``BundleArrived`` or ``BundleLacking``."""
        return digest in self._missing and digest not in self._lacking

    def wanted(self, digests: Iterable[str]) -> list[Effect]:
        """All that agents refer to now. The store is asked first: it may hold one from an earlier boot."""
        effects: list[Effect] = []
        wished = dict.fromkeys(sorted(digest for digest in digests if digest))
        for digest in [d for d in self._missing if d not in wished]:
            del self._missing[digest]
            self._lacking.pop(digest, None)
            self._again.cancel(digest)
        self._here = {digest: None for digest in self._here if digest in wished}
        for digest in wished:
            if digest not in self._here and digest not in self._missing and len(self._missing) < WANTED_MAX:
                self._missing[digest] = 0
                self._last += 1
                self._looking[self._last] = digest
                effects.append(ReadBlob(self._last, digest, ROOM))
        return effects

    def keep(self, data: bytes) -> tuple[int, KeepBlobs]:
        """A person brought it. The number comes back in ``kept``."""
        self._last += 1
        self._keeping[self._last] = (digest_of(data),)
        return self._last, KeepBlobs(self._last, (data,), ROOM)

    def kept(self, event: BlobsKept) -> list[Effect]:
        digests = self._keeping.pop(event.batch_no, ())
        if event.error:
            self.counters.add("bundle-not-kept")
            return []
        return [effect for digest in digests for effect in self._arrived(digest)]

    def read(self, event: BlobRead, now: Instant) -> list[Effect]:
        """Our own store answers: for a wish of ours, or for a peer."""
        peer = self._answering.pop(event.read_no, None)
        if peer is not None:
            fits = not event.error and len(event.data) <= BUNDLE_BYTES_MAX  # the store holds more than bundles
            return [_post(peer, Bundle(event.data) if fits else Lack(event.digest))]
        digest = self._looking.pop(event.read_no, "")
        if digest not in self._missing:
            return []
        return self._ask(digest, now) if event.error else self._arrived(digest)

    def handle(self, letter: ControlReceived, now: Instant) -> list[Effect]:
        """Another node's word about a bundle."""
        peer = letter.peer
        try:
            match _letters.decode(letter.body):
                case Need(digest):
                    return self._needed(peer, digest)
                case Lack(digest):
                    return self._ask(digest, now) if digest in self._missing else []
                case Bundle(data):
                    return self._received(data)
        except (*JUNK, RemoteError) as error:
            reason = error.reason if isinstance(error, RemoteError) else "bundle-junk"
            self.counters.add(reason)
            return [Reject(peer, reason, str(error)[:80])]

    def peer_up(self, now: Instant) -> list[Effect]:
        """Somebody new may have what is missing."""
        return [effect for digest in list(self._missing) for effect in self._ask(digest, now)]

    def wake(self, now: Instant) -> list[Effect]:
        """Whoever was asked last takes long: units wait no longer, and the next peer is asked."""
        effects: list[Effect] = []
        for digest in self._again.pop_due(now.mono_us):
            effects += [*self._lack(digest), *self._ask(digest, now)]
        return effects

    def deadline(self) -> int | None:
        return self._again.deadline()

    def _ask(self, digest: str, now: Instant) -> list[Effect]:
        """The next peer in turn; all of them again after a while."""
        if digest not in self._missing or digest in self._looking.values():
            return []
        peers, asked = self._links.peers(), self._missing[digest]
        if not peers:
            return self._lack(digest)  # a link that comes up asks
        self._again.set(digest, now.mono_us + ASK_AGAIN_US)
        if asked >= len(peers):
            self._missing[digest] = 0
            return self._lack(digest)
        self._missing[digest] = asked + 1
        return [_post(peers[asked], Need(digest))]

    def _lack(self, digest: str) -> list[Effect]:
        if not self.coming(digest):
            return []
        self._lacking[digest] = None
        return [BundleLacking(digest)]

    def _needed(self, peer: NodeId, digest: str) -> list[Effect]:
        if len(digest) != DIGEST_CHARS:
            raise RemoteError("bundle-need", digest[:20])
        if len(self._answering) >= ANSWERS_MAX:
            return [_post(peer, Lack(digest))]
        self._last += 1
        self._answering[self._last] = peer
        return [ReadBlob(self._last, digest, ROOM)]

    def _received(self, data: bytes) -> list[Effect]:
        digest = digest_of(data)
        if digest in self._here:
            return []  # of two that were asked the slower one
        if digest not in self._missing or len(data) > BUNDLE_BYTES_MAX:
            raise RemoteError("bundle-unasked", f"{len(data)} bytes")
        if any(digest in digests for digests in self._keeping.values()):
            return []
        self._last += 1
        self._keeping[self._last] = (digest,)
        return [KeepBlobs(self._last, (data,), ROOM)]

    def _arrived(self, digest: str) -> list[Effect]:
        self._here[digest] = None
        self._lacking.pop(digest, None)
        self._again.cancel(digest)
        return [BundleArrived(digest)] if self._missing.pop(digest, None) is not None else []


def _post(peer: NodeId, letter: Need | Lack | Bundle) -> Send:
    return Send(peer, Channel.BUNDLE, _encode(letter))
