"""Words of a call that are its own, and arguments of the same names; what an author may catch is there to be caught."""

import asyncio
import inspect
from typing import Any

import pytest

from meshnode import sdk
from meshnode.sdk import Agent, Ctx, errors
from meshnode.sdk.skills import BadArguments, Skill
from meshnode.sdk.words import KINDS

WRONG: dict[str, object] = {"deadline_s": "soon", "session": 5, "key": 7, "batch": "no", "as_bytes": "yes"}
OF_A_STREAM = ("deadline_s", "session", "as_bytes")


def named(**given: object) -> dict[str, object]:
    return given


def test_every_error_that_the_sdk_raises_for_an_author_is_exported() -> None:
    own = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert own - {*sdk.__all__} == set() and "Refused" in own


def test_the_words_are_those_of_the_signatures() -> None:
    for of in (Ctx.call, Agent.call):
        parameters = inspect.signature(of).parameters.values()
        assert {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} == {*KINDS} == {*WRONG}


def test_an_argument_named_like_a_word_of_the_call_is_given_in_the_dictionary() -> None:
    ctx = Ctx.for_test(calls={"echo.it": named})
    assert ctx.call("echo.it", WRONG, more=1) == {**WRONG, "more": 1}


@pytest.mark.parametrize("word", WRONG)
def test_one_that_is_given_by_name_all_the_same_is_told_which_way_it_goes(word: str) -> None:
    ctx, given = Ctx.for_test(calls={"echo.it": named}), dict[str, Any]({word: WRONG[word]})
    way = rf"{word}=.* is a word of the call itself; .*\{{'{word}': ...\}}"
    with pytest.raises(TypeError, match=way):
        ctx.call("echo.it", **given)
    with pytest.raises(TypeError, match=way):
        asyncio.run(Agent("alone").call("echo.it", **given))
    if word in OF_A_STREAM:
        with pytest.raises(TypeError, match=way):
            ctx.stream("echo.it", **given)
        with pytest.raises(TypeError, match=way):
            Agent("alone").stream("echo.it", **given)


def test_a_skill_that_misses_such_an_argument_says_why_it_may_not_have_come() -> None:
    def read(as_bytes: bool) -> bool:
        return as_bytes

    def other(path: str) -> str:
        return path

    with pytest.raises(BadArguments, match=r"field `as_bytes` \(as_bytes= is a word of ctx\.call itself: .*dictionary"):
        Skill("files.read", read).arguments(b"{}")
    with pytest.raises(BadArguments, match=r"field `path`$"):
        Skill("files.other", other).arguments(b"{}")
