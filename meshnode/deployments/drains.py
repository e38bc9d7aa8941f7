"""Documents of kind Node: which nodes are drained, and how far each has come."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.interest import EVERYTHING
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import NodeIntent, parse_node_spec
from meshnode.model.view_parts import Condition
from meshnode.scheduler.views import UnitStanding

_NAMED_MAX = 8
StandingOn = Callable[[str], Sequence[UnitStanding]]  # by the name of a node


class Document(Protocol):
    """A stored document of kind Node."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> JsonObject: ...


class Left(msgspec.Struct, frozen=True):
    """What a node still has. ``staying``: those of ``units`` that no other node may have."""

    units: tuple[UnitStanding, ...]
    staying: tuple[UnitStanding, ...]

    def words(self) -> str:
        """``2 units are leaving; words/0 stays: ...``"""
        going = len(self.units) - len(self.staying)
        told = [f"{going} {'unit is' if going == 1 else 'units are'} leaving"] if going else []
        told += [f"{unit.unit} stays: {unit.stays}" for unit in self.staying[:_NAMED_MAX]]
        if len(self.staying) > _NAMED_MAX:
            told.append(f"and {len(self.staying) - _NAMED_MAX} more stay")
        return "; ".join(told) or "it has no units"


def intent_of(document: Document) -> NodeIntent:
    """Raises ``Invalid``: a peer can store what has no meaning."""
    if document.namespace != NAMESPACE_DEFAULT:
        raise Invalid(f"a node's name is unique in its mesh, but this one is in namespace {document.namespace}")
    return parse_node_spec(document.spec)


def subject_of(document: Document) -> str:
    return f"node/{document.name}"


def left_of(units: Iterable[UnitStanding]) -> Left:
    """``units``: those that the node has."""
    held = tuple(units)
    return Left(held, tuple(unit for unit in held if unit.stays))


def status_of(document: Document, standing_on: StandingOn) -> JsonObject:
    """``units``: how many it has; ``staying``: those of them that cannot leave, with the reason."""
    try:
        intent = intent_of(document)
    except Invalid:
        return {}
    if not intent.drain:
        return {"drained": False}
    left = left_of(standing_on(document.name))
    staying = {unit.unit: unit.stays for unit in left.staying[:_NAMED_MAX]}
    return {"drained": True, "units": len(left.units), "stay": len(left.staying), "staying": staying}


def conditions(document: Document, standing_on: StandingOn) -> list[Condition]:
    """Accepted and Drained: "True" once it has no units."""
    try:
        intent = intent_of(document)
    except Invalid as error:
        return [Condition(type="Accepted", status="False", reason="NotUnderstood", message=error.message)]
    accepted = Condition(type="Accepted", status="True", reason="Valid", message=_wish(intent))
    if not intent.drain:
        return [accepted, Condition(type="Drained", status="False", reason="NotAsked", message="nobody drains it")]
    return [accepted, _drained(left_of(standing_on(document.name)))]


def _wish(intent: NodeIntent) -> str:
    wants = "" if intent.interest == EVERYTHING else f"; it wants {intent.interest.words()}"
    if not intent.drain:
        return f"it takes units{wants}"
    return "it is to be without units" + (f": {intent.reason}" if intent.reason else "") + wants


def _drained(left: Left) -> Condition:
    if not left.units:
        return Condition(type="Drained", status="True", reason="Empty", message=left.words())
    reason = "UnitsStay" if len(left.staying) == len(left.units) else "UnitsLeaving"
    return Condition(type="Drained", status="False", reason=reason, message=left.words())
