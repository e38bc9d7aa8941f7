"""From evidence to a verdict about one node: a pure function, so that its rules can be read and tested on their own.

The idea of asking several observers before anything is final: Suresh et al., "Stable and Consistent Membership at Scale
with Rapid", 2018. What is ours: silence may be the cable, so alone it never proves death to fewer than three observers,
to a node that hears nobody itself, or when a whole region went silent. And a refusal may be a firewall: whom somebody
may still hear has time to answer for itself (``hearing``), by a row that nobody else can sign; nothing that a third one
says can take its place, since who says "I hear it" may lie.
"""

import enum
from collections.abc import Mapping

import msgspec

from meshnode.gossip.messages import MemberState
from meshnode.model.ids import NodeId


class Evidence(enum.IntEnum):
    """What speaks against a node, weakest first."""

    NO_ROUTE = 0  # this machine has no way there, or somebody else answers: never told to others
    SILENT = 1
    BROKEN = 2  # the link ended without a goodbye
    REFUSED = 3  # it ended, and a fresh dial was refused: the process is gone
    GOODBYE = 4  # it said so itself


STRONG = Evidence.REFUSED

_WORDS = {
    Evidence.NO_ROUTE: "no way to it from here",
    Evidence.SILENT: "silent",
    Evidence.BROKEN: "link broken",
    Evidence.REFUSED: "refuses a fresh dial",
    Evidence.GOODBYE: "said goodbye",
}


def words_of(kind: Evidence) -> str:
    """Evidence as people read it."""
    return _WORDS[kind]


def region_cut(region: str, nodes: int) -> str:
    """The excuse of all who are silent in a region that went silent as a whole."""
    return f"region {region} unreachable: {nodes} nodes"


def cut_region(reason: str) -> str:
    """The region whose cut explains a state; "" if none does."""
    head, found, _ = reason.partition(" unreachable: ")
    return head.removeprefix("region ") if found and head.startswith("region ") else ""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about one node that is not linked and fresh."""

    votes: Mapping[NodeId, Evidence]  # by observer, this node included
    own: Evidence | None = None  # this node's vote among them
    observers: int  # known and not themselves gone
    possible: int = 0  # living nodes that could observe it, known to do so or not
    ripe: bool  # the time to refute has passed
    confirmed: bool = False  # it has not, but enough observers say so to call it unreachable
    vouched: bool  # somebody trusted had proof of life
    hearsay: MemberState | None = None
    cut: str = ""  # why silence proves nothing here: this node or a region is cut off
    hearing: bool = False  # it may still answer those who say that it is gone
    trusted: bool = False  # it has answered such words lately, and more than once
    helper: str = ""  # who still hears it


def judge(case: Case) -> tuple[MemberState, str]:
    """The state, and why in words for people."""
    if not case.votes:
        return _without_evidence(case)
    worst = max(case.votes.values())
    strong = _strong(case)
    if condemned(case):
        if case.own is Evidence.GOODBYE or not case.hearing:
            return MemberState.DOWN, _words(worst, strong, case.observers)
        if case.trusted and case.own is None:
            return MemberState.READY, "others call it gone; it has answered such words before"
        return MemberState.UNREACHABLE, _words(worst, strong, case.observers)
    told = sum(kind > Evidence.NO_ROUTE for kind in case.votes.values())
    agreed = case.observers >= 3 and 3 * told >= 2 * case.observers
    if agreed and case.ripe and not case.cut and not case.helper:
        return MemberState.DOWN, _words(worst, told, case.observers)
    sure = case.ripe or (case.confirmed and not case.helper)
    state = MemberState.UNREACHABLE if sure else MemberState.SUSPECT
    return state, _why_not_down(case, worst)


def condemned(case: Case) -> bool:
    """There is evidence enough of its death, unless it answers."""
    strong = _strong(case)
    return strong > 0 and (_few(case) or strong >= 2 or case.own is Evidence.GOODBYE)


def unanimous(case: Case) -> bool:
    """Everybody who could know says that it is gone, this node by what it saw itself: nobody is left to be asked."""
    return case.own is not None and case.own >= STRONG and (_few(case) or _strong(case) >= case.observers)


def _strong(case: Case) -> int:
    return sum(kind >= STRONG for kind in case.votes.values())


def _few(case: Case) -> bool:
    """So few could observe it that one of them is enough."""
    return max(case.observers, case.possible) < 3


def _without_evidence(case: Case) -> tuple[MemberState, str]:
    if case.vouched:
        return MemberState.READY, "known through others"
    if case.hearsay is not None:
        return case.hearsay, "a neighbour says so"
    return MemberState.UNREACHABLE, "not heard since this node started"


def _words(worst: Evidence, count: int, observers: int) -> str:
    who = f", say {count} of {observers} observers" if observers > 1 else ""
    return _WORDS[worst] + who


def _why_not_down(case: Case, worst: Evidence) -> str:
    if case.helper:
        return f"{_WORDS[worst]} to this node, heard by {case.helper}"
    return case.cut if case.cut and worst < STRONG else _WORDS[worst]
