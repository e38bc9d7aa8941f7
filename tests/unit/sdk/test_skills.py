"""A typed function as a skill: schemas, checks, results, refusals."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk import Agent, CallFailed, Cancelled, Ctx, DeadlinePassed, SkillError, Unavailable
from meshnode.sdk.errors import failure_of
from meshnode.sdk.skills import BadArguments, BadResult, Skill


class Size(TypedDict):
    wide: int
    high: int


@dataclasses.dataclass
class Box:
    label: str
    size: Size


class Tree(msgspec.Struct):
    name: str
    children: "list[Tree]" = []


def pack(box: Box, *, copies: int = 1, how: Literal["flat", "deep"] = "flat") -> list[Box]:
    """Pack a box
    as often as asked.

    Longer words that do not matter here.

    Args:
        box: what to pack,
            with its size.
        copies: how often.

    Returns:
        the packed boxes
    """
    return [box] * copies


def input_schema(skill: Skill) -> dict[str, object]:
    return msgspec.json.decode(skill.description.input_schema, type=dict[str, object])


def test_hints_and_docstring_become_schema_and_description():
    skill = Skill("s.pack", pack)
    schema = input_schema(skill)
    assert skill.description.description == "Pack a box as often as asked."
    assert schema["type"] == "object" and schema["required"] == ["box"] and schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["copies"] == {"description": "how often.", "type": "integer", "default": 1}
    assert properties["how"] == {"enum": ["deep", "flat"], "default": "flat"}
    assert "what to pack, with its size." in str(properties["box"])
    output = msgspec.json.decode(skill.description.output_schema)
    assert output["type"] == "array" and "Box" in output["$defs"]


def test_arguments_arrive_as_the_types_of_the_hints():
    arguments = Skill("s.pack", pack).arguments(b'{"box": {"label": "a", "size": {"wide": 1, "high": 2}}, "copies": 2}')
    assert arguments == {"box": Box("a", {"wide": 1, "high": 2}), "copies": 2, "how": "flat"}
    assert pack(**arguments) == [arguments["box"]] * 2


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"box": {"label": "a", "size": {"wide": 1, "high": "x"}}}', r"\$\.box\.size"),
        (b'{"box": {"label": 1, "size": {"wide": 1, "high": 1}}}', r"\$\.box\.label"),
        (b"{}", "missing required field `box`"),
        (b'{"box": {"label": "a", "size": {"wide": 1, "high": 1}}, "colour": 1}', "unknown field `colour`"),
        (b"[1]", "Expected `object`"),
        (b"{", "truncated"),
        (b"\xff\xff", "s.pack"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_path(payload: bytes, words: str):
    with pytest.raises(BadArguments, match=words):
        Skill("s.pack", pack).arguments(payload)


@given(payload=st.binary(max_size=200))
def test_no_bytes_at_all_end_in_anything_but_arguments_or_a_refusal(payload: bytes):
    skill = Skill("s.pack", pack)
    with contextlib.suppress(BadArguments):
        assert set(skill.arguments(payload)) == {"box", "copies", "how"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=JSON)
def test_what_a_skill_returns_comes_back_equal(value: object):
    def same(value: object) -> object:
        return value

    skill = Skill("s.same", same)
    arguments = skill.arguments(msgspec.json.encode({"value": value}))
    assert msgspec.json.decode(skill.result(same(**arguments))) == value


def test_an_untold_object_is_any_json():
    def keep(value: dict[str, object]) -> object:
        return value

    skill = Skill("s.keep", keep)
    assert skill.arguments(b'{"value": {"a": [1, null]}}') == {"value": {"a": [1, None]}}
    assert skill.description.output_schema == '{"description":"any JSON value"}'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "s.pack returned what its schema forbids"),
        ([{"label": "a"}], r"missing required field `size` - at `\$\[0\]`"),
        ([Box("a", {"wide": 1, "high": "x"})], r"Expected `int`, got `str` - at `\$\[0\]\.size"),  # type: ignore[typeddict-item]
        (None, "Expected `array`, got `null`"),
    ],
)
def test_a_result_that_its_schema_forbids_is_refused_with_its_path(value: object, words: str):
    with pytest.raises(BadResult, match=words):
        Skill("s.pack", pack).result(value)


def test_no_number_passes_for_a_float_that_json_cannot_say():
    def ratio() -> float:
        return float("nan")

    with pytest.raises(BadResult, match="Expected `float`, got `null`"):
        Skill("s.ratio", ratio).result(ratio())


async def stream() -> AsyncIterator[int]:
    yield 1


def counts(n: int) -> Iterator[int]:
    """Count."""
    yield from range(n)


@pytest.mark.parametrize("function", [stream, counts])
def test_a_generator_streams_and_its_result_is_the_list(function: object):
    skill = Skill("s.many", function)  # type: ignore[arg-type]
    assert skill.description.streams
    assert msgspec.json.decode(skill.description.output_schema) == {"type": "array", "items": {"type": "integer"}}
    assert skill.result(1) == b"1"
    with pytest.raises(BadResult, match="yielded"):
        skill.result("1")


def test_a_context_is_no_argument_whatever_its_name():
    def visit(place: str, here: Ctx, times: int = 1) -> str:
        return place

    skill = Skill("s.visit", visit)
    assert skill.ctx_name == "here" and skill.takes_turns
    assert list(input_schema(skill)["properties"]) == ["place", "times"]  # type: ignore[call-overload]
    assert skill.arguments(b'{"place": "a"}') == {"place": "a", "times": 1}
    assert not Skill("s.visit", visit, concurrent=True).takes_turns


def test_a_type_that_refers_to_itself_keeps_its_definition():
    def grow(tree: Tree) -> Tree:
        return tree

    schema = msgspec.json.decode(Skill("s.grow", grow).description.output_schema)
    assert schema["$ref"].endswith("/Tree") and "Tree" in schema["$defs"]
    assert Skill("s.grow", grow).arguments(b'{"tree": {"name": "a", "children": [{"name": "b"}]}}')


def test_annotated_limits_are_checked():
    def few(n: Annotated[int, msgspec.Meta(ge=1, le=3)]) -> int:
        return n

    with pytest.raises(BadArguments, match=r"<= 3.*\$\.n"):
        Skill("s.few", few).arguments(b'{"n": 4}')


def test_calls_do_not_share_a_default_that_can_change():
    def gather(into: list[int] = [1]) -> list[int]:  # noqa: B006 - that is the point
        return into

    skill = Skill("s.gather", gather)
    first = skill.arguments(b"{}")["into"]
    assert isinstance(first, list)
    first.append(2)
    assert skill.arguments(b"{}") == {"into": [1]}


def untyped(a, b: int) -> int:  # noqa: ANN001 - that is the point
    return b


def variadic(*words: str) -> int:
    return len(words)


def positional(a: int, /) -> int:
    return a


def two_contexts(a: Ctx, b: Ctx) -> None:
    pass


def unspeakable(value: memoryview, other: "NowhereDefined") -> None:  # noqa: F821 - that is the point
    pass


class Opaque:
    pass


def opaque(value: Opaque) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (untyped, "'a' a type"),
        (variadic, "passed by name"),
        (positional, "passed by name"),
        (two_contexts, "one parameter of type Ctx"),
        (unspeakable, "NowhereDefined"),
        (opaque, "plain types"),
        (len, "a skill is a function"),
    ],
)
def test_a_function_that_cannot_be_a_skill_is_refused_when_it_is_decorated(function: object, words: str):
    with pytest.raises(TypeError, match=words):
        Skill("s.bad", function)  # type: ignore[arg-type]


def test_the_decorator_returns_the_function_itself():
    agent = Agent("sums")

    @agent.skill
    def add(a: int, b: int) -> int:
        return a + b

    @agent.skill(name="maths.double", tags=("arithmetic",))
    async def double(a: int) -> int:
        return 2 * a

    assert add(1, 2) == 3
    assert list(agent.skills) == ["sums.add", "maths.double"]
    assert agent.skills["maths.double"].description.tags == ["arithmetic"]
    assert [skill.is_async for skill in agent.skills.values()] == [False, True]
    with pytest.raises(ValueError, match="two skills named"):
        agent.skill(name="sums.add")(add)


@pytest.mark.parametrize("name", ["", "two words", "1st", "a/b", "ünï"])
def test_a_bad_agent_name_is_refused(name: str):
    with pytest.raises(ValueError, match="agent name"):
        Agent(name)


@pytest.mark.parametrize(
    ("code", "kind", "shown"),
    [
        ("timeout", DeadlinePassed, "timeout"),
        ("cancelled", Cancelled, "cancelled"),
        ("unreachable", Unavailable, "unreachable"),
        ("not-found", Unavailable, "not-found"),
        ("skill:not-found", CallFailed, "not-found"),
        ("denied", CallFailed, "denied"),
    ],
)
def test_codes_of_results_become_errors_and_a_skills_own_code_never_passes_for_the_meshs(
    code: str, kind: type[CallFailed], shown: str
):
    error = failure_of(code, "words")
    assert type(error) is kind and error.code == shown and error.message == "words"


@pytest.mark.parametrize("code", ["", "Upper", "skill:x", "two words", "9"])
def test_a_skill_error_has_a_plain_code(code: str):
    with pytest.raises(ValueError, match="small letters"):
        SkillError(code, "words")


def test_a_type_that_cannot_be_checked_is_refused_where_the_skill_is_defined_not_when_it_is_called():
    def unclear(a: Point | Pair) -> int:
        return 1

    with pytest.raises(TypeError, match="skill unclear"):
        Skill("unclear", unclear)


class Point(msgspec.Struct):
    x: int


class Pair(msgspec.Struct):
    y: int
