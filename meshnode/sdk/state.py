"""``ctx.state``: a mapping of JSON values whose changes become true together, when the call ends well.

A ``Turn`` is one call's view: what it wrote, over what was committed. Objects read from it are remembered with their
JSON, so that a list or dict changed in place is found at the end of the turn and kept, too.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.sdk.cells import Cell, Cells
from meshnode.sdk.errors import StateError
from meshnode.wire.state import CHANGES_MAX, KEY_CHARS_MAX, VALUE_BYTES_MAX, Change, Key, Op

_COUNTER_MAX = 2**62
_RESERVED = ("\x1d", "\x1e")  # they mark slots and sessions in keys

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Turn:
    """The changes of one call, of one slot. ``key_slot`` -1: the process is one instance, its keys name no slot."""

    __slots__ = ("_added", "_cells", "_live", "_written", "key_slot", "open")

    def __init__(self, cells: Cells, key_slot: int = -1, *, open_: bool = True) -> None:
        self._cells = cells
        self.key_slot = key_slot
        self.open = open_
        # By (session, name).
        self._written: dict[tuple[str, str], bytes | None] = {}
        self._added: dict[tuple[str, str], int] = {}
        self._live: dict[tuple[str, str], tuple[bytes, object]] = {}

    # Reading

    def cell(self, session: str, name: str) -> Cell | None:
        at = session, name
        cell = self._written[at] if at in self._written else self._cells.get(self.key_slot, session, name)
        if at in self._added:
            return (cell if isinstance(cell, int) else 0) + self._added[at]
        return cell

    def read(self, session: str, name: str) -> object:
        """The value of a key; the same object each time within a turn. Raises ``KeyError``."""
        at = session, name
        if at in self._live:
            return self._live[at][1]
        cell = self.cell(session, name)
        if cell is None:
            raise KeyError(name)
        if isinstance(cell, int):
            return cell
        value: object = _decode(cell)
        if self.open and type(value) in (dict, list):
            self._live[at] = cell, value
        return value

    def names(self, session: str) -> list[str]:
        names = dict.fromkeys(self._cells.names(self.key_slot, session))
        for changed in (self._written, self._added):
            names.update(dict.fromkeys(name for where, name in changed if where == session))
        return [name for name in names if self.cell(session, name) is not None]

    # Writing

    def write(self, session: str, name: str, value: object) -> None:
        at = self._checked(session, name)
        if isinstance(self.cell(session, name), int):
            raise StateError("state-counter", f"{name} is a counter: use state.counter({name!r}), or delete it first")
        data = _json_of(name, value)
        self._written[at] = data
        if isinstance(value, dict | list):
            self._live[at] = data, value
        else:
            self._live.pop(at, None)

    def delete(self, session: str, name: str) -> None:
        at = self._checked(session, name)
        if self.cell(session, name) is None:
            raise KeyError(name)
        self._added.pop(at, None)
        self._live.pop(at, None)
        if self._cells.get(self.key_slot, session, name) is None:
            self._written.pop(at, None)
        else:
            self._written[at] = None

    def add(self, session: str, name: str, amount: int) -> None:
        at = self._checked(session, name)
        before = self.cell(session, name)
        if isinstance(before, bytes):
            raise StateError("state-counter", f"{name} holds a value and cannot be a counter: delete it first")
        if abs((before or 0) + amount) > _COUNTER_MAX:
            raise StateError("state-counter", f"{name} would leave the range of a counter, 62 bits")
        self._added[at] = self._added.get(at, 0) + amount

    # The end

    def settle(self) -> list[Change]:
        """What the turn changed, in an order that may be replayed; the turn is over. Raises ``StateError``."""
        self.open = False
        for at, (before, value) in self._live.items():
            after = _json_of(at[1], value)
            # Whoever wrote it may have spaced its JSON differently.
            if after != before and after != _encode(_decode(before)):
                self._written[at] = after
        changes = [self._written_change(*at, data) for at, data in self._written.items()]
        changes += [Change(self._text(*at), Op.ADD, amount=amount) for at, amount in self._added.items() if amount]
        if len(changes) > CHANGES_MAX:
            raise StateError("state-too-many-changes", f"{len(changes)} keys in one call, the limit is {CHANGES_MAX}")
        self._cells.check_room(changes)
        return changes

    def begin(self) -> None:
        """A new turn, for those who have several after each other."""
        for part in (self._written, self._added, self._live):
            part.clear()
        self.open = True

    def drop(self) -> None:
        """The turn is over and changed nothing."""
        self.begin()
        self.open = False

    def _written_change(self, session: str, name: str, data: bytes | None) -> Change:
        text = self._text(session, name)
        return Change(text, Op.DELETE) if data is None else Change(text, Op.SET, data)

    def _text(self, session: str, name: str) -> str:
        return Key(name, session, self.key_slot).text()

    def _checked(self, session: str, name: str) -> tuple[str, str]:
        if not self.open:
            raise StateError(
                "state-no-turn", f"{name}: the call is over, or this is outside of 'async with ctx.turn()'"
            )
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance] - authors write anything
            raise StateError("state-key", f"{name!r} is no key: use a text that is not empty")
        if name.startswith(_RESERVED) or not _is_utf8(name):
            raise StateError("state-key", f"{name[:40]!r} is no key: use plain text")
        if len(name) + len(session) + 16 > KEY_CHARS_MAX:
            most = KEY_CHARS_MAX - 16
            raise StateError("state-key", f"{name[:40]}...: key and session have over {most} characters together")
        return session, name


class Counter:
    """A number that copies of the agent may change at the same time: after a cut, what both added is added up."""

    __slots__ = ("_name", "_session", "_turn")

    def __init__(self, turn: Turn, session: str, name: str) -> None:
        self._turn, self._session, self._name = turn, session, name

    def add(self, amount: int = 1) -> None:
        """Add a whole number; a negative one subtracts."""
        if type(amount) is not int:
            raise TypeError(f"counter {self._name}: add whole numbers, not {amount!r}")
        self._turn.add(self._session, self._name, amount)

    @property
    def value(self) -> int:
        cell = self._turn.cell(self._session, self._name)
        if isinstance(cell, bytes):
            raise StateError("state-counter", f"{self._name} holds a value, not a counter")
        return cell or 0


class State(MutableMapping[str, Any]):
    """A mapping of JSON values. Changes commit together when the call returns; a call that fails changes nothing.

    What is read is the turn's own copy. Lists and dicts may be changed in place within the turn; other objects are
    stored as the JSON they become and are read back as that.
    """

    __slots__ = ("_session", "_turn")

    def __init__(self, turn: Turn, session: str = "") -> None:
        self._turn, self._session = turn, session

    def counter(self, name: str) -> Counter:
        """The counter of that name, 0 if it was never added to."""
        return Counter(self._turn, self._session, name)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - JSON
        return self._turn.read(self._session, name)

    def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401 - JSON
        self._turn.write(self._session, name, value)

    def __delitem__(self, name: str) -> None:
        self._turn.delete(self._session, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._turn.cell(self._session, name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._turn.names(self._session))

    def __len__(self) -> int:
        return len(self._turn.names(self._session))

    def __repr__(self) -> str:
        return f"State({dict(self)!r})"


def check_session(session: str) -> str:
    """Raises ``StateError``: not every text can be a session."""
    if not session or any(mark in session for mark in _RESERVED) or not _is_utf8(session):
        raise StateError("state-key", f"{session[:40]!r} is no session: use a plain text that is not empty")
    return session


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_of(name: str, value: object) -> bytes:
    try:
        data = _encode(value)
    except (TypeError, *JUNK) as error:
        raise StateError("state-not-json", f"{name}: {error}") from error
    if len(data) > VALUE_BYTES_MAX:
        raise StateError("state-value-too-big", f"{name}: {len(data)} bytes of JSON, the limit is {VALUE_BYTES_MAX}")
    return data
