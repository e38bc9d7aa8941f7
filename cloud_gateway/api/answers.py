"""Shapes of answers. All say as of when they are, and whether that is stale."""

from typing import Generic, TypeVar

import msgspec

from cloud_gateway.model.queries import GridCell, Overview
from cloud_gateway.model.rows import CommandRow, EventRow, GapRow, ProblemRow, SourceRow
from meshnode.model.view_parts import LinkView

T = TypeVar("T")


class Aged(msgspec.Struct, frozen=True, kw_only=True):
    """``as_of``: wall clock ms of the newest proof. ``stale``: that is old, or the gateway's node is out of reach."""

    as_of: int
    stale: bool


class Page(Aged, Generic[T], frozen=True, kw_only=True):
    """``next``: give it as ``after`` for the page behind; null at the end."""

    items: list[T]
    next: str | None = None


class One(Aged, Generic[T], frozen=True, kw_only=True):
    item: T


class All(Aged, Generic[T], frozen=True, kw_only=True):
    """A list that is never long enough for pages."""

    items: list[T]


class OverviewAnswer(Overview, frozen=True, kw_only=True):
    """The fleet at one glance; ``problems``: the newest, errors first."""

    problems: list[ProblemRow]
    source: SourceRow
    as_of: int
    stale: bool


class GridAnswer(Aged, frozen=True, kw_only=True):
    """Region -> its nodes by name, as [name, state, cpu, troubled]."""

    regions: dict[str, list[GridCell]]


class EventsAnswer(Aged, frozen=True, kw_only=True):
    """Newest first. Events from ``searched_to_ms`` on were looked at: a page may be short and have a ``next``."""

    items: list[EventRow]
    next: str | None
    searched_to_ms: int


class JournalAnswer(Aged, frozen=True, kw_only=True):
    """Oldest first. ``gaps``: ranges that are missing before or between the items."""

    items: list[EventRow]
    gaps: list[GapRow]
    next: str | None


class LoadCell(msgspec.Struct, frozen=True, array_like=True):
    """One measure over one step, small: lowest, mean and highest."""

    at_ms: int
    low: float
    mean: float
    high: float


class LoadAnswer(Aged, frozen=True, kw_only=True):
    """Measure -> [at_ms, low, mean, high], oldest first."""

    step_ms: int
    measures: dict[str, list[LoadCell]]


class LinksAnswer(Aged, frozen=True, kw_only=True):
    """``more``: there are others that are not told."""

    node: str
    items: list[LinkView]
    more: bool


class CommandAnswer(Aged, frozen=True, kw_only=True):
    """The request as it is kept; watch it at ``/commands/ID``, or live."""

    item: CommandRow
