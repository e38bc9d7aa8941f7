"""The one door to the Automerge engine (``automerge.core`` of 1.0.0rc1): typed, and with its traps sprung here.

* Its panics derive from ``BaseException`` and are caught by name. A panic under its lock poisons that document for
  ever, so nothing is tried on the live copy: a change goes to a spare copy, is verified there, and the copies swap.
* It has no ``apply_changes``: raw changes travel in a hand-made sync message. That path drops in silence what it
  dislikes and queues changes with unknown dependencies without limit, so the change must be found there afterwards.
* A document freed with an open transaction, or after a panic inside one, kills the process: transactions are opened by
  ``with`` only and never kept, and a copy in which a write failed is kept until the process ends.
* Its high-level ``Document`` writes booleans as integers, its counters panic: only texts and nulls are written.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from automerge.core import ROOT, Document, Message, ScalarType, SyncState

from meshnode.crdt.change import ParsedChange
from meshnode.crdt.columns import uleb

ResultT = TypeVar("ResultT")


OWED_MAX = 256
# Copies in which a write of our own failed; freeing one could kill the process. Texts and nulls never made one yet.
_unfreeable: list[Document] = []


class EngineFailure(Exception):
    """The engine refused, panicked, or did not do what it was asked. The live document is as it was before."""

    def __init__(self, message: str, *, panicked: bool = False) -> None:
        super().__init__(message)
        self.panicked = panicked


class Engine:
    """One document inside the engine. Changes are applied all or none."""

    def __init__(self, changes: Sequence[bytes] = ()) -> None:
        """Build a document from plain change chunks in causal order. Raises ``EngineFailure``."""
        self._live = guarded(lambda: _built(changes))
        self._spare: Document | None = None
        self._unseen: list[bytes] = []  # changes the live copy holds and the spare one does not
        self._owed: list[bytes] = []  # changes of the document that neither copy holds yet

    def heads(self) -> tuple[bytes, ...]:
        return tuple(sorted(guarded(self._live.get_heads)))

    def is_sound(self) -> bool:
        """Whether the live copy still answers: a panic under its lock would have poisoned it for ever."""
        try:
            self.heads()
        except EngineFailure:
            _unfreeable.append(self._live)
            return False
        return True

    def value(self, key: str) -> str | None:
        return guarded(lambda: _value(self._live, key))

    def owe(self, changes: Sequence[ParsedChange]) -> bool:
        """These are in the document without having been asked about: they come before the next one that is.

        ``False``: too many, this copy is not worth keeping.
        """
        self._owed += [change.plain for change in changes]
        return len(self._owed) <= OWED_MAX

    def apply(self, changes: Sequence[ParsedChange], expected: Mapping[str, str | None]) -> None:
        """Apply on the spare copy; swap if the last change is a head there and the fields read as ``expected``."""
        chunks = [*self._owed, *(change.plain for change in changes)]
        spare, self._spare = self._spare, None  # whatever happens to it, it is not kept unless it proves sound
        unseen = self._unseen

        def attempt() -> Document:
            copy = self._live.fork() if spare is None else spare
            _receive(copy, [*(unseen if spare is not None else ()), *chunks])
            _verify(copy, changes[-1].hash, expected)
            return copy

        fresh = guarded(attempt)
        self._live, self._spare, self._unseen, self._owed = fresh, self._live, chunks, []

    def draft(self, actor: bytes, fields: Mapping[str, str | None]) -> bytes:
        """The change chunk (deflated when long) that sets ``fields``; this document itself stays as it is."""
        copy = guarded(self._live.fork)
        try:
            if self._owed:
                guarded(lambda: _receive(copy, self._owed))
            return guarded(lambda: _drafted(copy, actor, fields))
        except EngineFailure as error:
            if error.panicked:
                _unfreeable.append(copy)
            raise


def guarded(call: Callable[[], ResultT]) -> ResultT:
    """Run one piece of engine work; every way in which it can fail becomes ``EngineFailure``."""
    try:
        return call()
    except EngineFailure:
        raise
    except Exception as error:  # the engine raises ValueError, OverflowError and bare Exception
        raise EngineFailure(f"{type(error).__name__}: {error}", panicked="poisoned" in str(error)) from error
    except BaseException as error:
        # pyo3's panic is no Exception and cannot be imported; anything else (a Ctrl-C) is not ours to stop.
        if type(error).__name__ != "PanicException":
            raise
        raise EngineFailure(f"panic: {error}", panicked=True) from error


def _built(changes: Sequence[bytes]) -> Document:
    document = Document(b"\0" * 16)  # a reader's name: drafts set their own, load() would pick one by luck
    if changes:
        _receive(document, changes)
    return document


def _receive(document: Document, chunks: Sequence[bytes]) -> None:
    message = bytearray(b"\x42\0\0\0")  # a sync message with no heads, needs or haves: only changes
    message += uleb(len(chunks))
    for chunk in chunks:
        message += uleb(len(chunk)) + chunk
    document.receive_sync_message(SyncState(), Message.decode(bytes(message)))


def _verify(document: Document, head: bytes, expected: Mapping[str, str | None]) -> None:
    if head not in document.get_heads():
        raise EngineFailure("the change was dropped in silence")
    for key, value in expected.items():
        if _value(document, key) != value:
            raise EngineFailure(f"the engine reads another value at {key!r}")


def _value(document: Document, key: str) -> str | None:
    found = document.get(ROOT, key)
    if found is None:
        return None
    value = found[0]
    if not isinstance(value, tuple):
        raise EngineFailure(f"an object at {key!r}")
    kind, scalar = value
    if kind == ScalarType.Null:
        return None
    if kind != ScalarType.Str or not isinstance(scalar, str):
        raise EngineFailure(f"no text at {key!r}")
    return scalar


def _drafted(copy: Document, actor: bytes, fields: Mapping[str, str | None]) -> bytes:
    before = copy.get_heads()
    copy.set_actor(actor)
    with copy.transaction() as transaction:
        for key in sorted(fields):
            value = fields[key]
            kind = ScalarType.Null if value is None else ScalarType.Str
            transaction.put(ROOT, key, kind, value)
    made = copy.get_changes(before)
    if len(made) != 1:
        raise EngineFailure(f"a write made {len(made)} changes")
    return bytes(made[0].bytes)
