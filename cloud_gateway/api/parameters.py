"""Parameters of operations: one table makes the parsing, the refusals and the OpenAPI of each."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cloud_gateway.api.problems import Refused, invalid
from cloud_gateway.model.listings import LIMIT_DEFAULT, LIMIT_MAX, Listing
from cloud_gateway.model.rows import CURRENT, JsonObject, Row

TEXT_CHARS_MAX, VALUES_MAX, CURSOR_CHARS_MAX = 1_024, 50, 2_000
# Wall clock milliseconds: every integer of JavaScript, and of both stores.
MS_MAX = 2**53 - 1
_NUMBER = re.compile(r"[0-9]{1,16}")
Value = str | int | list[str]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter. ``many``: may be given several times. ``commas``: several values in one, with commas between.
    ``maximum``: it is a number up to this. ``choices``: nothing else is taken."""

    name: str
    summary: str
    place: str = "query"
    required: bool = False
    many: bool = False
    commas: bool = False
    minimum: int = 0
    maximum: int | None = None
    default: int | str | None = None
    choices: tuple[str, ...] = ()
    example: int | str | None = None
    chars_max: int = TEXT_CHARS_MAX

    def taken(self, given: Sequence[str]) -> Value:
        """The value of what was given, which is not nothing."""
        if not self.many and len(given) > 1:
            raise invalid(self.name, "given twice")
        texts = [part for text in given for part in (text.split(",") if self.commas else (text,))]
        if len(texts) > VALUES_MAX:
            raise invalid(self.name, f"more than {VALUES_MAX} values")
        for text in texts:
            self._check(text)
        if self.many or self.commas:
            return texts
        return self._number(texts[0]) if self.maximum is not None else texts[0]

    def schema(self) -> JsonObject:
        one = self._schema_of_one()
        if not (self.many or self.commas):
            return one
        return {"type": "array", "items": one, "maxItems": VALUES_MAX}

    def _check(self, text: str) -> None:
        if len(text) > self.chars_max:
            raise invalid(self.name, f"longer than {self.chars_max} characters")
        if "\0" in text:
            raise invalid(self.name, "contains a NUL character")
        if self.choices and text not in self.choices:
            raise invalid(self.name, f"{text[:60]!r} is not one of {', '.join(self.choices)}")

    def _number(self, text: str) -> int:
        number = int(text) if _NUMBER.fullmatch(text) else -1
        if self.maximum is None or not self.minimum <= number <= self.maximum:
            raise invalid(self.name, f"must be a whole number between {self.minimum} and {self.maximum}")
        return number

    def _schema_of_one(self) -> JsonObject:
        if self.maximum is not None:
            return _with_default({"type": "integer", "minimum": self.minimum, "maximum": self.maximum}, self.default)
        if self.choices:
            return _with_default({"type": "string", "enum": list(self.choices)}, self.default)
        shortest = {"minLength": 1} if self.place == "path" else {}
        return _with_default({"type": "string", "maxLength": self.chars_max, **shortest}, self.default)


class Asked(msgspec.Struct, frozen=True):
    """What was asked: checked values by parameter."""

    values: dict[str, Value]

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        value = self.values.get(name, [])
        return value if isinstance(value, list) else [str(value)]

    def number(self, name: str, otherwise: int = 0) -> int:
        value = self.values.get(name, otherwise)
        return value if isinstance(value, int) else otherwise

    def apart_from(self, *names: str) -> str:
        """The question without these, in one spelling: what a cursor belongs to."""
        kept = {name: value for name, value in sorted(self.values.items()) if name not in names}
        return msgspec.json.encode(kept).decode()


def asked(
    parameters: Sequence[Parameter], path: Mapping[str, str], query: Iterable[tuple[str, str]]
) -> Asked:  # fmt: skip
    """Check what was given. Raises ``Refused`` with the field, and the names there are."""
    given: dict[str, list[str]] = {name: [text] for name, text in path.items()}
    for name, text in query:
        if name in path:
            raise invalid(name, "the path says it already")
        given.setdefault(name, []).append(text)
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise _unknown(name, known)
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        if name in given:
            values[name] = parameter.taken(given[name])
        elif parameter.required:
            raise invalid(name, "is needed")
        elif parameter.default is not None:
            values[name] = parameter.default
    return Asked(values)


def listing_parameters(listing: Listing) -> tuple[Parameter, ...]:
    """All that ``model/listings.py`` lets one ask of a list."""
    row = CURRENT[listing.kind]
    sorts = tuple(name.removeprefix("-") for name in listing.sorts)
    return (
        LIMIT,
        AFTER,
        Parameter(
            name="sort",
            summary="the column to order by, - before it for descending; ties by key",
            choices=tuple(mark + name for name in sorts for mark in ("", "-")),
            default=listing.sorts[0],
        ),
        Parameter(name="q", summary=f"a part of {' or '.join(listing.search)}, in any case"),
        fields_parameter(row),
        *(_filter(name, row) for name in listing.filters),
    )


def fields_parameter(row: type[Row]) -> Parameter:
    return Parameter(
        name="fields",
        summary="only these fields of each row, and those that identify it",
        commas=True,
        many=True,
        choices=row.__struct_fields__,
    )


def _filter(name: str, row: type[Row]) -> Parameter:
    kind = next(field.type for field in msgspec.structs.fields(row) if field.name == name)
    choices = ("true", "false") if kind is bool else ()
    return Parameter(name=name, summary=f"only rows with this {name}; given twice: any of them", many=True,
                     choices=choices)  # fmt: skip


def _unknown(name: str, known: Mapping[str, Parameter]) -> Refused:
    there = ", ".join(name for name, parameter in known.items() if parameter.place == "query")
    said = f"there are {there}" if there else "there are none here"
    return invalid(name[:60], f"unknown parameter; {said}")


def _with_default(schema: JsonObject, default: int | str | None) -> JsonObject:
    return schema if default is None else {**schema, "default": default}


LIMIT = Parameter(
    name="limit", summary="rows of a page", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT, example=LIMIT_DEFAULT
)
AFTER = Parameter(name="after", summary="next of the page before", chars_max=CURSOR_CHARS_MAX)
