"""Small pieces of the command line: words, tables, arguments, kinds, splitting."""

import json
from pathlib import Path

import pytest

from meshnode.cli.call import argument
from meshnode.cli.kinds import document_kind, kind_of
from meshnode.cli.machine import load_line, load_words
from meshnode.cli.main import unfit
from meshnode.cli.run import command_line, name_of
from meshnode.cli.table import Column, paint, table
from meshnode.cli.verbs import split
from meshnode.cli.words import age, milliseconds, one_line, printable, seconds, size, span
from meshnode.model.errors import Invalid


@pytest.mark.parametrize(
    ("seconds_", "words"),
    [(-5, "now"), (0.9, "now"), (3.7, "3s"), (130, "2m10s"), (3_600, "1h"), (15_120, "4h12m"), (90_061, "1d1h")],
)
def test_an_age_is_its_two_largest_units(seconds_: float, words: str) -> None:
    assert age(seconds_) == words


def test_a_span_below_a_second_is_not_now() -> None:
    assert span(0.4) == "0s"


def test_sizes_and_milliseconds_keep_two_figures() -> None:
    assert [size(n) for n in (0, 900, 1_536, 1_500_000, 3 << 40)] == ["0", "900", "1.5Ki", "1.4Mi", "3Ti"]
    assert [milliseconds(n) for n in (None, 0.94, 43.2)] == ["-", "0.9ms", "43ms"]


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\n") == "a\\x1b[31mb\\x07\n"
    assert one_line("two\nlines\t\x9b") == "two lines \\x9b"


def test_columns_align_and_only_those_with_something_to_say_are_shown() -> None:
    rows = [("a", "1", "", "w"), ("long", "22", "", "w")]
    columns = (
        Column(title="NAME", cell=lambda r: r[0]),
        Column(title="N", cell=lambda r: r[1], right=True),
        Column(title="NOTE", cell=lambda r: r[2], optional=True),
        Column(title="WIDE", cell=lambda r: r[3], wide=True),
    )
    assert table(rows, columns, wide=False, colour=False) == ["NAME   N", "a      1", "long  22"]
    assert table(rows, columns, wide=True, colour=False)[0] == "NAME   N  WIDE"


def test_colour_goes_around_states_and_never_moves_a_column() -> None:
    columns = (
        Column(title="STATE", cell=lambda r: r[0]),
        Column(title="X", cell=lambda r: r[1]),
    )
    plain = table([("ready", "1"), ("down", "2")], columns, wide=False, colour=False)
    coloured = table([("ready", "1"), ("down", "2")], columns, wide=False, colour=True)
    assert coloured[1] == "\x1b[32mready\x1b[0m  1"
    assert "\x1b[31mdown" in coloured[2]
    assert [line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in coloured] == plain
    assert paint("other") == "other"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("n=3", 3), ("x=1.5", 1.5), ("b=true", True), ("z=null", None),
        ('o={"a": [1]}', {"a": [1]}), ("l=[1,2]", [1, 2]),
        ('s="3"', "3"), ("t=hello world", "hello world"), ("e=", ""), ("q=a=b", "a=b"), ("u=NaN", "NaN"),
        ("i=-Infinity", "-Infinity"), ("at=@@home", "@home"), ("v=1.2.3", "1.2.3"),
        ("deep=" + "[" * 100_000, "[" * 100_000),
    ],
)  # fmt: skip
def test_a_value_is_json_where_it_reads_as_json_and_text_elsewhere(given: str, value: object) -> None:
    assert argument(given) == (given.partition("=")[0], value)


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("3\n", encoding="utf-8")
    assert argument(f"text=@{tmp_path}/t.txt") == ("text", "3\n")
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"x" * 1_000_001)
    for name, why in (("b", "not UTF-8"), ("big", "larger than"), ("no", "cannot read"), ("", "cannot read")):
        with pytest.raises(Invalid, match=why):
            argument(f"text=@{tmp_path}/{name}")


@pytest.mark.parametrize("given", ["text", "=x", "1a=x", "a b=c", ""])
def test_an_argument_without_a_key_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(Invalid) as caught:
        argument(given)
    assert "meshnode call" in caught.value.next_step


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)])
def test_a_ttl_reads_as_people_write_it(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "h", "0", "-1h", "1.5h", "1w", "1 h"])
def test_a_ttl_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        seconds(text)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["-C", "d", "ls", "-o", "json"], ("d", "ls", ["-o", "json"])),
        (["-Cd", "ls"], ("d", "ls", [])),
        (["-C=d", "ls"], ("d", "ls", [])),
        (["ls", "-C", "d"], ("", "ls", ["-C", "d"])),
        (["-C"], ("", "", [])),
        ([], ("", "", [])),
        (["--help"], ("", "--help", [])),
    ],
)
def test_what_stands_before_the_verb_is_told_from_what_follows(
    argv: list[str], parts: tuple[str, str, list[str]]
) -> None:
    assert split(argv) == parts


def test_kinds_have_many_spellings_and_names_may_carry_them() -> None:
    assert {kind_of(word).word for word in ("cluster", "Clusters", "AgentCluster", "agentclusters", "ac")} == {
        "agentcluster"
    }
    assert kind_of("nodes").bare("node/alpha") == "alpha"
    assert kind_of("agents").bare("words/alpha") == "words/alpha"
    for name in ("agentcluster/dock/line3", "dock/line3", "clusters/dock/line3"):
        assert kind_of("cluster").place(name, "default") == ("dock", "line3")
    assert kind_of("cluster").place("line3", "default") == ("default", "line3")
    with pytest.raises(Invalid, match="unknown kind: pods"):
        kind_of("pods")
    with pytest.raises(Invalid, match="nodes are no kind of documents"):
        document_kind("node")


def test_a_machine_in_words_takes_any_shape_of_facts() -> None:
    assert load_words({"cpu_percent": 38, "accelerator_percent": 71, "throttled": True}) == "71%!"
    assert load_words({"cpu_percent": "much"}) == "?"
    assert load_line({"cpu_percent": 3, "memory_percent": 61, "hottest_celsius": 55, "age_s": 70}) == (
        "cpu 3%  memory 61%  55 C  (1m10s ago)"
    )
    assert load_line(json.loads('{"cpu_percent": null, "on_battery": true}')) == "on battery"
    assert load_line({}) == "not measured yet"


@pytest.mark.parametrize(("version", "optimize"), [((3, 10), 0), ((3, 13), 0), ((3, 11), 1), ((3, 12), 2)])
def test_a_python_that_cannot_run_it_is_told_in_one_sentence_with_the_way_out(
    version: tuple[int, int], optimize: int
) -> None:
    what, _, then = unfit(version, optimize).partition("\n -> ")
    assert what.startswith("error: meshnode ")
    assert then
    assert "\n" not in then


def test_the_two_pythons_it_is_made_for_are_fit() -> None:
    assert unfit((3, 11), 0) == unfit((3, 12), 0) == ""


def test_an_agent_is_named_after_its_file(tmp_path: Path) -> None:
    assert name_of(Path("/x/Word_Stats.v2.py")) == "word-stats-v2"
    assert name_of(Path("/x/___.py")) == "agent"
    script = tmp_path / "tool.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(Invalid, match="neither a"):
        command_line(script)
    script.chmod(0o700)
    assert command_line(script) == [str(script)]
