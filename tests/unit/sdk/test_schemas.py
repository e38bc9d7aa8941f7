"""The schemas written down here are msgspec's, to the letter."""

from typing import Annotated, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk import schemas
from meshnode.sdk.schemas import ARGUMENTS, schema_of

LEAVES = st.sampled_from([Any, object, str, int, float, bool, None, list, dict])
TYPES = st.recursive(
    LEAVES, lambda inner: inner.map(lambda of: list[of]) | inner.map(lambda of: dict[str, of]), max_leaves=4
)
DEFAULTS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
FIELD = st.tuples(TYPES, st.none() | st.text(min_size=1, max_size=5), st.none() | st.tuples(DEFAULTS))


def general(of: object) -> object:
    """Without the short way."""
    schema = msgspec.json.schema(of, schema_hook=schemas._schema_of_class)
    return msgspec.json.decode(msgspec.json.encode(schemas._inlined(schema)))


@given(of=TYPES)
def test_a_plain_type_has_the_schema_that_msgspec_gives_it(of: object):
    assert schemas._plain(of) is not None
    assert msgspec.json.decode(schema_of("s", of)) == general(of)


@given(fields=st.lists(FIELD, max_size=4))
def test_plain_parameters_have_the_schema_that_msgspec_gives_them(
    fields: list[tuple[Any, str | None, tuple[object] | None]],
):
    made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for number, (of, words, default) in enumerate(fields):
        hint = Annotated[of, msgspec.Meta(description=words)] if words else of
        made.append((f"f{number}", hint, default[0]) if default else (f"f{number}", hint))
    struct = msgspec.defstruct("s_f", made, kw_only=True, forbid_unknown_fields=True, module=ARGUMENTS)
    assert schemas._plain_arguments(struct) is not None
    assert msgspec.json.decode(schema_of("s", struct)) == general(struct)
