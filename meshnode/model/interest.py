"""Interest: which documents a node wants, by kind and by region. Who says nothing wants all.

The region of a document is its label ``region``, or the ``region`` of its spec; one without is of all regions. What
decides about trust and about nodes themselves is everybody's.
"""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field, refuse_repeats
from meshnode.model.manifest import KINDS

FIELD = "interest"
ALWAYS = ("Node", "Policy")
OPTIONAL = tuple(kind for kind in KINDS if kind not in ALWAYS)
REGIONS_MAX = 64


class Interest(msgspec.Struct, frozen=True):
    """Empty: all of them."""

    kinds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def wants(self, kind: str, regions: tuple[str, ...]) -> bool:
        """``regions``: of the document, several where it is written so on two sides of a cut; none: all."""
        if kind in ALWAYS:
            return True
        by_kind = not self.kinds or kind in self.kinds
        return by_kind and (not self.regions or not regions or any(each in self.regions for each in regions))

    def with_that(self, other: "Interest") -> "Interest":
        """What either of them wants, or more."""
        kinds = tuple(sorted({*self.kinds, *other.kinds})) if self.kinds and other.kinds else ()
        regions = tuple(sorted({*self.regions, *other.regions})) if self.regions and other.regions else ()
        return Interest(kinds, regions)

    def words(self) -> str:
        """``documents of kind Agent, of region west``"""
        parts = [f"of kind {' and '.join(self.kinds)}"] if self.kinds else []
        parts += [f"of region {' and '.join(self.regions)}"] if self.regions else []
        return f"documents {', '.join(parts)}" if parts else "all documents"


EVERYTHING = Interest()


def parse_interest(field: Field) -> Interest:
    """Raises ``FieldInvalid``."""
    entry = field.fields((), ("kinds", "regions"))
    kinds = entry["kinds"].items(count_max=len(OPTIONAL)) if "kinds" in entry else []
    regions = entry["regions"].items(count_max=REGIONS_MAX) if "regions" in entry else []
    named = tuple(item.choice(OPTIONAL) for item in kinds), tuple(item.label() for item in regions)
    refuse_repeats(kinds, named[0])
    refuse_repeats(regions, named[1])
    return Interest(tuple(sorted(named[0])), tuple(sorted(named[1])))


def interest_spec(interest: Interest) -> JsonObject:
    """As it is written in a manifest."""
    spec: JsonObject = {"kinds": list(interest.kinds)} if interest.kinds else {}
    return {**spec, "regions": list(interest.regions)} if interest.regions else spec
