"""A page of a node's journal -> what is to be committed. Every number of a journal ends up as an event or within a gap.

Events count from 1 in every *life* of a node. A journal that began anew (a lost disk, a restored backup) is known by
the node itself, from ``run`` of the cursor it is shown: then the old life ends with a gap without a known end, and the
next begins.
"""

from typing import NamedTuple

import msgspec

from cloud_gateway.model.rows import CursorRow, EventRow, GapRow
from meshnode.model.commands import JournalCursor
from meshnode.model.views import JournalView

DROPPED = "the node dropped them to stay within its budget"
BEFORE = "dropped by the node before it was first read here"
DAMAGED = "they are not in the node's journal any more: damaged, or lost with its disk"
ANEW = "the node's journal began anew (lost disk, restored backup): what it had not told yet is lost"


class Page(NamedTuple):
    """Belongs into one commit."""

    events: list[EventRow]
    gaps: list[GapRow]
    cursor: CursorRow


def read_page(view: JournalView, cursor: CursorRow, *, region: str, now_ms: int) -> Page:
    """``cursor``: what is committed. The answer's is at or behind it."""
    gaps: list[GapRow] = []
    life, at = cursor.life, cursor.number
    if view.anew and cursor.number:
        gaps.append(_gap(view, life, at + 1, 0, max(0, cursor.last - at), ANEW, now_ms))
        life, at = life + 1, 0
    events: list[EventRow] = []
    for item in view.items:
        if item.number <= at:  # read before
            continue
        if item.number > at + 1:
            why = DAMAGED if item.number > view.first else DROPPED if cursor.number else BEFORE
            gaps.append(_gap(view, life, at + 1, item.number - 1, item.number - 1 - at, why, now_ms))
        at = item.number
        events.append(
            EventRow(
                node_id=view.node_id, node=view.node, life=life, boot=item.boot, number=item.number,
                at_ms=item.at_ms, subject=item.subject, text=item.text, region=region,
            )
        )  # fmt: skip
    if not events:
        fresh = CursorRow(node_id=view.node_id, node=view.node, life=life, last=view.last, as_of_ms=now_ms)
        kept = msgspec.structs.replace(cursor, node=view.node, missing="", as_of_ms=now_ms)
        return Page([], gaps, fresh if life != cursor.life else kept)
    return Page(
        events,
        gaps,
        CursorRow(
            node_id=view.node_id, node=view.node, life=life, boot=view.boot, number=at, run=view.run,
            last=max(view.last, at), as_of_ms=now_ms,
        ),
    )  # fmt: skip


def asked(cursor: CursorRow) -> JournalCursor:
    """As the node knows it. Sent, it acknowledges all up to it."""
    return JournalCursor(boot=cursor.boot, number=cursor.number, run=cursor.run)


def _gap(view: JournalView, life: int, first: int, last: int, count: int, why: str, now_ms: int) -> GapRow:
    return GapRow(
        node_id=view.node_id, node=view.node, life=life, first=first, last=last, count=count, why=why,
        noticed_ms=now_ms,
    )  # fmt: skip
