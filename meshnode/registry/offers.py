"""What nodes say about their agents and skills in soft state: the encoding of its keys and values.

Keys: ``agent/NAME`` for the units of an agent, with pages ``agent/NAME#1``, ``#2`` ... where one fact is too small for
them; ``skill/NAME`` for an offered skill, ``skill/NAME@AGENT`` where a second agent of the node has one of that name;
``load`` for the live load vector.

A page is three lists: words (states and reasons), holders, and rows that name them by place; neighbours that differ in
nothing are one row. So a thousand units of one agent are a handful of facts, and usually one.
"""

from collections.abc import Iterable, Sequence

import msgspec

from meshnode.kernel.decoding import JUNK, decoded_or
from meshnode.wire.calls import SkillDescription

AGENT_PREFIX = "agent/"
SKILL_PREFIX = "skill/"
LOAD_KEY = "load"
# A soft value is at most 1 KiB (gossip's bound); what does not fit loses its schemas, never its name.
VALUE_BYTES_MAX = 1000
DESCRIPTION_CHARS_MAX = 160
PAGES_MAX = 16  # of one agent: 1,000 units that have nothing in common fit
UNITS_A_PAGE_MAX = 10_000  # what a peer may claim in one page
HOLDER_BYTES = 8
TAGS_MAX = 16
TAG_BYTES_MAX = 32
RUNNING = "running"

_NUMBER_MAX = 2**53
_FRAME_BYTES = 24  # of a page around its entries: four array heads, and air
_REASON_CHARS = (DESCRIPTION_CHARS_MAX, 40, 0)


class UnitOffer(msgspec.Struct, frozen=True):
    """One unit as its node tells it. ``epoch``: the counter. ``holder``: first 8 bytes of the NodeId of who has a copy
    of its state, b"" = nobody."""

    first_slot: int
    slots: int
    state: str
    epoch: int
    reason: str = ""
    restarts: int = 0
    pid: int = 0
    version: int = 0
    holder: bytes = b""


class UnitRange(msgspec.Struct, frozen=True, gc=False):
    """``count`` neighbouring units of ``slots`` slots each that differ in nothing that is told."""

    first: int
    count: int
    slots: int
    state: str
    epoch: int
    reason: str = ""
    restarts: int = 0
    pid: int = 0
    version: int = 0
    holder: bytes = b""

    @property
    def end(self) -> int:
        """The first slot after it."""
        return self.first + self.count * self.slots

    def units(self) -> Iterable[UnitOffer]:
        for first in range(self.first, self.end, self.slots):
            yield UnitOffer(
                first, self.slots, self.state, self.epoch, self.reason, self.restarts, self.pid, self.version,
                self.holder,
            )  # fmt: skip


class AgentOffer(msgspec.Struct, frozen=True):
    """One page: units of one agent on one node."""

    ranges: tuple[UnitRange, ...]


class SkillOffer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One skill of one agent on one node."""

    agent: str
    description: str = ""
    input_schema: str = ""
    output_schema: str = ""
    tags: tuple[str, ...] = ()
    streams: bool = False
    idempotent: bool = False


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A range on the wire, defaults at its end left out. ``state``, ``reason``, ``holder``: places in the lists, the
    latter two counted from 1."""

    first: int
    count: int
    slots: int
    state: int
    epoch: int
    holder: int = 0
    restarts: int = 0
    reason: int = 0
    version: int = 0
    pid: int = 0


class _Page(msgspec.Struct, frozen=True, array_like=True):
    words: list[str]
    holders: list[bytes]
    rows: list[_Row]


_encoder = msgspec.msgpack.Encoder()
_pages = msgspec.msgpack.Decoder(_Page)
_skills = msgspec.msgpack.Decoder(SkillOffer)


# -- agents ------------------------------------------------------------------------------------------------------------


def encode_agent(units: Sequence[UnitOffer]) -> dict[str, bytes]:
    """Values by what follows ``agent/NAME`` in their keys: "" and, if need be, "#1", "#2" ...

    What does not fit into one page loses pids and versions first; what does not fit into all pages loses the ends of
    its reasons, then who holds copies.
    """
    if not units:
        return {}
    whole = _paged(_ranges(units))
    if len(whole) > 1:
        bare = [msgspec.structs.replace(unit, pid=0, version=0) for unit in units]
        whole = _paged(_ranges(bare))
        for chars in _REASON_CHARS:
            if len(whole) <= PAGES_MAX:
                break
            whole = _paged(_ranges([msgspec.structs.replace(unit, reason=unit.reason[:chars]) for unit in bare]))
        if len(whole) > PAGES_MAX:
            least = [UnitOffer(unit.first_slot, unit.slots, unit.state, unit.epoch) for unit in bare]
            whole = _paged(_ranges(least))
    return {f"#{number}" if number else "": value for number, value in enumerate(whole[:PAGES_MAX])}


def decode_agent(value: bytes) -> AgentOffer | None:
    """``None``: another node published what is no offer."""
    try:
        page = _pages.decode(value)
        ranges = tuple(_read(row, page) for row in page.rows)
    except (IndexError, *JUNK):
        return None
    return AgentOffer(ranges) if sum(item.count for item in ranges) <= UNITS_A_PAGE_MAX else None


def agent_key(rest: str) -> tuple[str, int] | None:
    """Agent and page of what follows ``agent/`` in a key; ``None`` if it is no such key."""
    name, mark, number = rest.partition("#")
    if not name or (mark and not (number.isdecimal() and 0 < int(number[:6]) < PAGES_MAX)):
        return None
    return name, int(number) if mark else 0


def _ranges(units: Sequence[UnitOffer]) -> list[UnitRange]:
    ranges: list[UnitRange] = []
    for unit in sorted(units, key=lambda unit: unit.first_slot):
        last = ranges[-1] if ranges else None
        one = UnitRange(
            unit.first_slot, 1, unit.slots, unit.state, unit.epoch, unit.reason[:DESCRIPTION_CHARS_MAX],
            unit.restarts, unit.pid, unit.version, unit.holder[:HOLDER_BYTES],
        )  # fmt: skip
        if last is not None and last.end == one.first and _alike(last, one):
            ranges[-1] = msgspec.structs.replace(last, count=last.count + 1)
        else:
            ranges.append(one)
    return ranges


def _alike(a: UnitRange, b: UnitRange) -> bool:
    return a == msgspec.structs.replace(b, first=a.first, count=a.count)


class _Builder:
    """One page being filled."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._holders: dict[bytes, int] = {}
        self._rows: list[list[int]] = []
        self._bytes = _FRAME_BYTES

    def add(self, item: UnitRange) -> bool:
        """Whether it still went in."""
        words = dict.fromkeys(word for word in (item.state, item.reason) if word not in self._words)
        more = sum(len(_encoder.encode(word)) for word in words)
        more += len(_encoder.encode(item.holder)) if item.holder not in self._holders else 0
        more += len(_encoder.encode(self._row(item)))  # a page has under 128 words: every place is one byte
        if self._rows and self._bytes + more > VALUE_BYTES_MAX:
            return False
        for word in words:
            self._words[word] = len(self._words)
        self._holders.setdefault(item.holder, len(self._holders))
        self._rows.append(self._row(item))
        self._bytes += more
        return True

    def value(self) -> bytes:
        value = _encoder.encode([list(self._words), list(self._holders), self._rows])
        assert len(value) <= VALUE_BYTES_MAX
        return value

    def _row(self, item: UnitRange) -> list[int]:
        reason = self._words.get(item.reason, 0) + 1 if item.reason else 0
        holder = self._holders.get(item.holder, 0) + 1 if item.holder else 0
        state = self._words.get(item.state, 0)
        row = [
            item.first, item.count, item.slots, state, item.epoch, holder, item.restarts, reason, item.version, item.pid
        ]  # fmt: skip
        while not row[-1] and len(row) > 5:
            row.pop()
        return row


def _paged(ranges: Sequence[UnitRange]) -> list[bytes]:
    pages: list[bytes] = []
    page = _Builder()
    for item in ranges:
        if not page.add(item):
            pages.append(page.value())
            page = _Builder()
            page.add(item)
    pages.append(page.value())
    return pages


def _read(row: _Row, page: _Page) -> UnitRange:
    """Raises ``ValueError`` or ``IndexError`` for what no node of ours says."""
    numbers = (row.first, row.count, row.slots, row.epoch, row.restarts, row.version, row.pid)
    places = (row.state, row.reason, row.holder)
    if min(*numbers, *places) < 0 or max(numbers) > _NUMBER_MAX or row.count < 1 or row.slots < 1:
        raise ValueError(row)
    reason = page.words[row.reason - 1] if row.reason else ""
    holder = page.holders[row.holder - 1] if row.holder else b""
    return UnitRange(
        row.first, row.count, row.slots, page.words[row.state], row.epoch, reason, row.restarts, row.pid, row.version,
        holder,
    )  # fmt: skip


# -- skills ------------------------------------------------------------------------------------------------------------


def skill_key(skill: str, agent: str = "") -> str:
    """The key of an offer. ``agent`` only where another agent of this node has taken the plain key."""
    return f"{SKILL_PREFIX}{skill}@{agent}" if agent else f"{SKILL_PREFIX}{skill}"


def encode_skill(agent: str, skill: SkillDescription) -> bytes:
    """As much of the description as fits: schemas go first, then the text; never the name, the tags and the marks."""
    tags = fitting_tags(skill.tags)
    description = skill.description[:DESCRIPTION_CHARS_MAX]
    for schemas in ((skill.input_schema, skill.output_schema), (skill.input_schema, ""), ("", "")):
        value = _encoder.encode(SkillOffer(agent, description, *schemas, tags, skill.streams, skill.idempotent))
        if len(value) <= VALUE_BYTES_MAX:
            return value
    return _encoder.encode(SkillOffer(agent, tags=tags, streams=skill.streams, idempotent=skill.idempotent))


def encode_offer(offer: SkillOffer) -> bytes:
    """As it was told; where it does not fit any more, for others encode more loosely, without what can be missed."""
    value = _encoder.encode(offer)
    if len(value) <= VALUE_BYTES_MAX:
        return value
    tags = fitting_tags(offer.tags)
    return _encoder.encode(SkillOffer(offer.agent, tags=tags, streams=offer.streams, idempotent=offer.idempotent))


def fitting_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The first 16 of at most 32 bytes: more than that nobody tells others."""
    return tuple(tag for tag in tags if 0 < len(tag.encode("utf-8", "replace")) <= TAG_BYTES_MAX)[:TAGS_MAX]


def decode_skill(value: bytes) -> SkillOffer | None:
    """``None``: another node published what is no offer."""
    return decoded_or(_skills.decode, value, None)
