"""The documents keep their word: the reference is as made, commands stand where they are run, links lead on."""

import re
from pathlib import Path

import pytest

from tests.docs_kit.exceptions import unknown_words
from tests.docs_kit.reading import DOCUMENTS, ROOT, fences, spans, strays
from tools.reference.__main__ import main as reference
from tools.reference.api import anchor
from tools.reference.book import FOLDER, pages

ALSO = (
    ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs" / "performance").glob("*.md")), *sorted(FOLDER.glob("*.md")),
)  # fmt: skip
README_LINES_MAX = 52
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", pages())
def test_the_reference_is_what_would_be_made(name: str) -> None:
    assert (FOLDER / name).read_text() == pages()[name], f"docs/reference/{name} is old: make reference"


def test_an_old_page_of_the_reference_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.reference.__main__.FOLDER", tmp_path)
    assert reference([]) == 0
    assert reference(["--check"]) == 0
    (tmp_path / "cli.md").write_text((tmp_path / "cli.md").read_text().replace("Start this node", "Start a node"))
    (tmp_path / "kinds.md").unlink()
    capsys.readouterr()
    assert reference(["--check"]) == 1
    assert capsys.readouterr().out.split("\n")[0] == "docs/reference/cli.md is old: make reference"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_stands_where_it_is_run(path: Path) -> None:
    assert strays(path.read_text()) == []


def test_a_command_elsewhere_is_noticed() -> None:
    assert strays("    meshnode up\n") == ["line 1:     meshnode up"]
    assert strays("```text\n$ meshnode ls\nmeshnode: the rest\n```\n") == ["line 2: $ meshnode ls"]
    assert strays("```sh\nmeshnode ls\n```\nmeshnode is a word here\n") == ["line 4: meshnode is a word here"]
    assert strays("the word meshnode in a sentence; `meshnode ls`\n") == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *ALSO], ids=name_of)
def test_a_command_in_a_sentence_has_words_that_there_are(path: Path) -> None:
    assert [(span, words) for span in spans(path.read_text()) if (words := unknown_words(span))] == []


def test_a_command_in_a_sentence_with_a_wrong_word_is_noticed() -> None:
    assert unknown_words("meshnode drian NODE") == ["drian"]
    assert unknown_words("meshnode -C DIR drain NODE --no-wiat") == ["--no-wiat"]
    assert unknown_words("meshnode drain NODE --reason TEXT") == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *ALSO], ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert lost(path, path.read_text()) == []


def test_a_link_to_nowhere_is_noticed() -> None:
    assert lost(ROOT / "README.md", "[x](docs/nothing.md) [y](docs/concepts.md#nothing) [z](docs/concepts.md)") == [
        "docs/nothing.md", "docs/concepts.md#nothing",
    ]  # fmt: skip


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def lost(path: Path, text: str) -> list[str]:
    """Links of a document, within the repository, that lead to no file or to no heading."""
    found: list[str] = []
    for link in _LINK.findall(text):
        place, _, heading = link.partition("#")
        there = (path.parent / place).resolve() if place else path
        if "://" in link or (there.exists() and (not heading or heading in headings(there))):
            continue
        found.append(link)
    return found


def headings(path: Path) -> set[str]:
    text = path.read_text()
    inside = {number for fence in fences(text) for number in range(fence.line, fence.line + len(fence.text))}
    lines = [line for number, line in enumerate(text.splitlines(), start=1) if number not in inside]
    return {anchor(line.lstrip("#").strip()) for line in lines if line.startswith("#")}
