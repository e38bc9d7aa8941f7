"""What the shell offers at a TAB: verbs, options, choices, and names that the node knows right now."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.cli import main as front
from meshnode.cli.completing import DIRECTORIES, FILES, candidates
from meshnode.cli.verbs import HIDDEN, VERBS
from tests.patience import finished
from tests.unit.api.asker import CannedNode, daemon


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("n")
    with daemon(place, CannedNode()):
        yield str(place)


def test_verbs_come_first_and_what_only_scripts_ask_is_not_among_them() -> None:
    assert candidates([], "st") == ["state", "status", "stop"]
    assert candidates([], "") == sorted([*VERBS, "-C"])
    assert not set(candidates([], "")) & HIDDEN.keys()


def test_every_verb_has_options_and_none_fails_without_a_node(tmp_path: Path) -> None:
    for verb in VERBS:
        assert "--help" in candidates(["-C", str(tmp_path), verb], "-"), verb
        candidates(["-C", str(tmp_path), verb], "")


def test_choices_of_words_and_of_options_are_offered() -> None:
    assert candidates(["state"], "h") == ["history"]
    assert candidates(["ls", "-o"], "j") == ["json", "jsonl"]
    assert candidates(["get"], "ag") == ["agentclusters", "agents"]


def test_files_and_directories_are_left_to_the_shell() -> None:
    assert candidates(["run"], "exam") == [FILES]
    assert candidates(["apply", "-f"], "") == [FILES]
    assert candidates(["-C"], "") == [DIRECTORIES]


def test_names_are_those_that_the_node_knows_now(directory: str) -> None:
    here = ["-C", directory]
    nodes = candidates([*here, "ping"], "")
    assert nodes
    assert candidates([*here, "ping"], nodes[0][:2])[0].startswith(nodes[0][:2])
    assert candidates([*here, "call"], "")
    assert all("/" in subject for subject in candidates([*here, "why"], ""))
    assert candidates([*here, "describe", "node"], "") == nodes


def test_an_unknown_verb_or_kind_offers_nothing() -> None:
    assert candidates(["dance"], "") == []
    assert candidates(["get", "unicorns"], "") == []


def test_the_script_of_bash_offers_what_complete_says(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = f'COMP_WORDS=(meshnode -C {directory} ls -o j) COMP_CWORD=5\n_meshnode; echo "${{COMPREPLY[@]}}"'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = finished(["bash", "-c", f"{script}\n{typed}"], check=True, env={**os.environ, "PATH": path})
    assert ended.stdout.split() == ["json", "jsonl"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script_that_asks_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["completion", shell]) == 0
    assert "meshnode complete -- " in capsys.readouterr().out
