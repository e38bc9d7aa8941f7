"""Which event loop a daemon gets, and what it says where there is none."""

import asyncio
import sys

import pytest

from meshnode.host import engine
from meshnode.model.errors import Invalid


def made_by(name: engine.Engine) -> str:
    with asyncio.Runner(loop_factory=engine.maker(name)) as runner:
        return type(runner.get_loop()).__module__


def test_the_loop_of_asyncio_is_always_there() -> None:
    assert made_by("asyncio").startswith("asyncio.")


def test_uvloop_is_made_where_it_is_asked_for() -> None:
    pytest.importorskip("uvloop", reason="the extra meshnode[fast] is not installed")
    assert made_by("uvloop").startswith("uvloop")


def test_a_loop_that_is_not_installed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(Invalid, match="uvloop is not installed") as refused:
        engine.maker("uvloop")
    assert "meshnode[fast]" in refused.value.next_step and "--loop asyncio" in refused.value.next_step
    assert made_by("asyncio").startswith("asyncio."), "the other one needs nothing"
