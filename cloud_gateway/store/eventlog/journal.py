"""One node's journal, oldest first, with the gaps in it."""

from collections.abc import Iterable, Sequence

from cloud_gateway.model.queries import JournalListed, JournalQuery
from cloud_gateway.model.rows import EventRow, GapRow
from cloud_gateway.store.eventlog.catalog import Snapshot
from cloud_gateway.store.eventlog.run import posts
from cloud_gateway.store.eventlog.search import NeedPosts, NeedSegment, Steps
from cloud_gateway.store.eventlog.segment import Origins, Span, unpack


def journal(query: JournalQuery, snapshot: Snapshot, origins: Origins, gaps: Sequence[GapRow]) -> Steps[JournalListed]:
    """A page of it; ``gaps``: all of that node. A node's numbers only grow in order of arrival, therefore segments
    are read one after the other until the page is full."""
    numbers = origins.of_node(query.node_id)
    behind = (query.life, query.number)
    found: dict[tuple[int, int], EventRow] = {}
    if numbers:
        for run in snapshot.runs:
            yield from _read(posts((yield NeedPosts(run.no, numbers)), numbers), query, origins, found)
            if len(found) > query.limit:
                break
        else:
            wanted = frozenset(numbers)
            spans = [span for head in snapshot.recent for span in head.spans_of(wanted)]
            yield from _read(spans, query, origins, found)
    places = sorted(found)[: query.limit]
    more = len(found) > query.limit
    last = places[-1] if places and more else None
    return JournalListed([found[place] for place in places], _between(gaps, behind, last), more=more)


def _read(
    spans: Iterable[Span], query: JournalQuery, origins: Origins, found: dict[tuple[int, int], EventRow]
) -> Steps[None]:
    behind = (query.life, query.number)
    seen = -1
    for span in spans:
        if (span.life, span.last) <= behind or span.segment == seen:
            continue
        if len(found) > query.limit:
            return
        seen = span.segment
        for body in (yield NeedSegment(span.segment)):
            events = unpack(body)
            numbers = origins.of_node(query.node_id)
            for at, origin in enumerate(events.origins):
                place = (events.lives[at], events.numbers[at])
                if origin in numbers and place > behind:
                    found[place] = events.row(at, origins)


def _between(gaps: Sequence[GapRow], behind: tuple[int, int], last: tuple[int, int] | None) -> list[GapRow]:
    """Those that end behind the start of the page and begin before its last item; on the last page all that follow."""
    return sorted(
        (
            gap
            for gap in gaps
            if (gap.life, gap.last or gap.first) > behind and (last is None or (gap.life, gap.first) <= last)
        ),
        key=lambda gap: (gap.life, gap.first),
    )
