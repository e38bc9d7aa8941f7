"""Every command in the documents is run: each document is one session, from its first line to its last."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs_kit.exceptions import INSTEAD, instead_of
from tests.docs_kit.reading import DOCUMENTS, ROOT, steps
from tests.docs_kit.session import Failed, Session

pytestmark = pytest.mark.real
TYPED = {str(path.relative_to(ROOT)): path for path in DOCUMENTS if steps(path.read_text())}


def played(directory: Path, name: str, text: str) -> list[str]:
    """What each command printed. Raises ``Failed``."""
    with Session(directory, name) as session:
        told = [session.run(step) for step in steps(text)]
    assert not session.left()
    return told


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[list[str]]]]:
    """All at once: most of the time they wait."""
    with ThreadPoolExecutor(len(TYPED)) as threads:
        yield {
            name: threads.submit(played, tmp_path_factory.mktemp("session"), name, path.read_text())
            for name, path in TYPED.items()
        }


@pytest.mark.parametrize("name", TYPED)
def test_what_a_document_says_can_be_typed(name: str, sessions: Mapping[str, Future[list[str]]]) -> None:
    assert len(sessions[name].result()) == len(steps(TYPED[name].read_text()))


def test_every_exception_is_needed() -> None:
    commands = [step.command for path in TYPED.values() for step in steps(path.read_text()) if not step.file]
    used = {each.pattern for command in commands for each in instead_of(command)}
    assert [each.why for each in INSTEAD if each.pattern not in used] == []


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ("meshnode version\nmeshnode versoin", r"README\.md:3: meshnode versoin\nexit code 2, not 0"),
        ("meshnode ls   # exits 3: nobody is there", r"exit code 6, not 3"),
        ("meshnode events -f", r"it ended by itself; it printed:\nerror: no daemon runs"),
        ("meshnode version; echo 'error: something'", r"it complains"),
        ("meshnode version && fi", r"bash could not read it|exit code 2"),
        ("make sutep", r"exit code 2, not 0"),
    ],
)
def test_a_command_that_is_wrong_is_noticed(commands: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=why):
        played(tmp_path, "README.md", f"```sh\n{commands}\n```\n")


def test_a_file_that_is_to_be_saved_is_there_and_an_announced_code_is_right(tmp_path: Path) -> None:
    text = "```python hello.py\nprint('hello')\n```\n```sh\npython hello.py\nmeshnode ls   # exits 6: no node\n```\n"
    assert played(tmp_path, "README.md", text)[1] == "hello\n"
