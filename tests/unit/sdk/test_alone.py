"""``python FILE`` without a daemon, files that are forked, and what an import costs."""

import asyncio
import json
import sys
import tracemalloc
from pathlib import Path

import pytest

from meshnode.sdk import Agent, Ctx
from meshnode.sdk.forked import compiled, main
from tests.patience import finished
from tests.unit.sdk.daemon_end import at_work

FILE = '''
from typing import AsyncIterator, Iterator
from meshnode.sdk import Agent, CallFailed, Ctx, Restored, SkillError

agent = Agent("tested")

@agent.on_restore
def restored(ctx: Ctx, told: Restored) -> None:
    ctx.state.setdefault("boots", 0)
    ctx.state["boots"] += 1

@agent.skill
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b

@agent.skill
async def visit(name: str, ctx: Ctx) -> dict[str, object]:
    ctx.state["names"] = [*ctx.state.get("names", []), name]
    ctx.state.counter("visits").add(await ctx.call("tested.add", a=0))
    ctx.session(name)["seen"] = True
    return dict(ctx.state)

@agent.skill
def items(n: int) -> Iterator[int]:
    yield from range(n)

@agent.skill
async def image() -> bytes:
    return b"\\xff"

@agent.skill
async def pieces() -> AsyncIterator[object]:
    yield b"\\xfe"
    yield 7

@agent.skill
async def look(ctx: Ctx) -> list[str]:
    told = [repr(await ctx.call("tested.image", as_bytes=more)) for more in (True, False)]
    for skill in ("image", "pieces", "add"):
        try:
            async for item in ctx.stream(f"tested.{skill}", {"a": 1} if skill == "add" else None, as_bytes=True):
                told.append(repr(item))
        except CallFailed as error:
            told.append(error.code)
    return told

@agent.skill
async def itself(ctx: Ctx) -> None:
    ctx.state["itself"] = 1
    await ctx.call("tested.itself")

@agent.skill
def fails(ctx: Ctx) -> None:
    ctx.state["fails"] = 1
    raise SkillError("broken", "it is")

if __name__ == "__main__":
    agent.run()
'''


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("MESHNODE_BUS", raising=False)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    path = tmp_path / "tested.py"
    path.write_text(FILE)
    return str(path)


def test_a_file_by_itself_says_what_it_offers(file: str, capsys: pytest.CaptureFixture[str]):
    assert main(file, []) == 0
    said = capsys.readouterr().out
    assert "tested.add(a, [b])\n        Add two numbers." in said
    assert f"meshnode run {file}" in said and f"python {file} tested.add" in said


@pytest.mark.parametrize(
    ("argv", "code", "out"),
    [
        (["add", "a=2", "b=3"], 0, "5\n"),
        (["tested.add", "a=2"], 0, "3\n"),
        (["items", "n=3"], 0, "0\n1\n2\n"),
        (["visit", "name=7"], 0, '{"boots":1,"names":["7"],"visits":1}\n'),
    ],
)
def test_one_call_prints_its_result(
    file: str, argv: list[str], code: int, out: str, capsys: pytest.CaptureFixture[str]
):
    assert main(file, argv) == code
    assert capsys.readouterr().out == out


def test_bytes_of_another_skill_are_heard_as_in_a_mesh(file: str, capsys: pytest.CaptureFixture[str]):
    assert main(file, ["look"]) == 0, capsys.readouterr().err
    one, text = repr(b"\xff"), repr("/w==")
    assert json.loads(capsys.readouterr().out) == [one, text, one, repr(b"\xfe"), "not-bytes", "not-bytes"]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["add", "a=x"], 1, "invalid: tested.add: Expected `int`, got `str` - at `$.a`"),
        (["fails"], 1, "skill:broken: it is"),
        (["itself"], 1, "would wait for the turn"),
        (["nothing"], 2, "there is no skill nothing; it offers tested.add"),
        (["add", "2"], 2, "'2' is no argument: write name=value"),
        (["add", "--state"], 2, "--state needs a file"),
    ],
)
def test_one_call_that_cannot_be_says_why(
    file: str, argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
):
    assert main(file, argv) == code
    assert words in capsys.readouterr().err


def test_a_state_file_is_loaded_and_saved(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    state = str(tmp_path / "state.json")
    for name in ("a", "b"):
        assert main(file, ["--state", state, "visit", f"name={name}"]) == 0
    assert main(file, ["--state", state, "fails"]) == 1, "and a call that fails saves nothing"
    assert json.loads(Path(state).read_text()) == {
        "values": {"boots": 2, "names": ["a", "b"]},
        "counters": {"visits": 2},
        "sessions": {"a": {"values": {"seen": True}}, "b": {"values": {"seen": True}}},
    }
    Path(state).write_text("{")
    assert main(file, ["--state", state, "visit", "name=a"]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("raise SystemExit('no model')", 1, "no model"),
        ("raise SystemExit(7)", 7, ""),
        ("import sys; sys.exit()", 0, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("def", 1, "SyntaxError"),
        ("import beside; print(beside.__file__, __name__, __file__)", 0, ""),
    ],
)
def test_a_forked_file_ends_as_python_would_end_it(
    file: str, text: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
):
    Path(file).with_name("beside.py").write_text("")
    Path(file).write_text(text)
    assert main(file, ["x"]) == code
    assert words in capsys.readouterr().err


def test_code_compiled_before_runs_the_same(file: str, capsys: pytest.CaptureFixture[str]):
    assert main(file, ["add", "a=2"], compiled(file)) == 0
    assert capsys.readouterr().out == "3\n"


def test_a_file_that_is_gone_is_an_error(file: str, capsys: pytest.CaptureFixture[str]):
    assert main(f"{file}.gone", []) == 1
    assert "FileNotFoundError" in capsys.readouterr().err


def modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    return set(finished([sys.executable, "-c", program], check=True).stdout.split())


def test_an_import_of_the_sdk_takes_no_loop_no_threads_and_no_zmq():
    heavy = {"asyncio", "threading", "concurrent.futures", "zmq", "socket", "ssl", "logging"}
    assert not heavy & modules_after("from meshnode.sdk import Agent, Ctx")


def test_after_the_preload_a_running_agent_imports_nothing_more():
    run = """
import asyncio, os, tempfile, threading
from meshnode.sdk import Agent, preload
preload()
assert threading.active_count() == 1
before = set(sys.modules)
agent = Agent("tested")
@agent.skill
def add(a: int) -> int:
    return a
from meshnode.sdk.runtime import serve
{}
"""
    assert "zmq" not in modules_after(run.format(""))
    tried = run.format(
        """
try:
    serve(agent, {"MESHNODE_BUS": "unix:///nowhere", "MESHNODE_INSTANCE": "tested/0", "MESHNODE_TICKET": ""})
except SystemExit:
    pass
assert set(sys.modules) == before, set(sys.modules) - before
"""
    )
    assert modules_after(tried)


def test_ten_thousand_actors_with_a_counter_each_cost_less_than_8_kib_each():
    count = 10_000
    agent = Agent("tested", tier="actor")

    @agent.skill
    async def hit(ctx: Ctx) -> int:
        ctx.state.counter("hits").add(1)
        return ctx.slot

    async def check() -> None:
        async with at_work(agent, slots=count) as end:
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            for slot in range(count):
                end.ask("tested.hit", slot=slot)
                if slot % 100 == 99:
                    for _ in range(100):
                        header, _ = await end.state()
                        await end.result()
                    end.kept(header.seq)
            await end.ping()
            end.reads.clear()
            each = (tracemalloc.get_traced_memory()[0] - before) / count
            tracemalloc.stop()
            assert each < 8 * 1024, f"{each:.0f} bytes"
            print(f"{each:.0f} bytes an actor")

    asyncio.run(check())
