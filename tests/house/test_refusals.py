"""Every refusal that gossip, links and documents can raise stands in the page of troubles, and no other."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from meshnode.gossip.verdict import Evidence, words_of
from meshnode.kernel.reasons import Bye
from tests.docs_kit.reading import ROOT
from tests.house.syntax import called, every, texts, tree

PAGE = ROOT / "docs" / "troubleshooting.md"
ROOMS = (
    *(path for room in ("gossip", "links", "crdt") for path in sorted((ROOT / "meshnode" / room).glob("*.py"))),
    *(ROOT / "meshnode" / "wire" / name for name in ("frame.py", "parts.py")), ROOT / "meshnode" / "node" / "stairs.py",
)  # fmt: skip
RECORDS = tuple(ROOT / "meshnode" / "security" / name for name in ("members.py", "signed.py"))
# Which argument names the refusal, by who is called.
RAISES = {"RemoteError": 0, "Overdone": 0, "refusal": 0, "Reject": 1, "reject": 1, "decoded": 2}
# Bodies of a link, each refused under the name of its frame (links/hello.py).
BODIES = ("ack", "credit", "goaway", "hello", "ping", "pong", "welcome")
# Places that pass on a name that was given elsewhere.
PASSED_ON = {"error.reason", "reason", "refusal.reason"}
OWN_ERROR = {"fork"}  # an error of a class of its own, which carries the evidence (crdt/gate.py)
ALSO = {"no-room"}  # a goodbye beside those of Bye (links/hub.py)


def raised(paths: Iterable[Path]) -> dict[str, str]:
    """Names as they are raised, "*" for what is put in, with a place of each. A name in a variable is looked for among
    the strings of its module that look like it: ``flood-probes`` for a variable that ``Overdone`` takes."""
    found: dict[str, str] = {}
    for path in paths:
        module = tree(path.read_text())
        for call in every(ast.Call, module):
            if (argument := _named(call)) is not None:
                for name in _names(argument, module):
                    found.setdefault(name, f"{path.relative_to(path.parents[2])}:{call.lineno}")
    return found


def _named(call: ast.Call) -> ast.expr | None:
    at = RAISES.get(called(call))
    return call.args[at] if at is not None and len(call.args) > at else None


def _names(argument: ast.expr, module: ast.Module) -> list[str]:
    if names := list(texts(argument)):
        return names
    if ast.unparse(argument) == "name":
        strings = [each.value for each in every(ast.Constant, module) if isinstance(each.value, str)]
        return [each for each in strings if re.fullmatch(r"flood-[a-z]+", each)]
    assert ast.unparse(argument) in PASSED_ON, f"a refusal without a name: {ast.unparse(argument)}"
    return []


def spelled(names: Iterable[str], records: Iterable[str]) -> set[str]:
    """With what is put in for "*"."""
    put_in = {"member-*": [f"member-{r}" for r in records], "row-member-*": [f"row-member-{r}" for r in records],
              "*-malformed": [f"{body}-malformed" for body in BODIES]}  # fmt: skip
    assert not [name for name in names if "*" in name and name not in put_in], "say here what is put in"
    return {each for name in names for each in put_in.get(name, [name])}


def told(text: str, heading: str) -> set[str]:
    """The names in the first column of a section's table; "... and the same behind `row-`" are both."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        names = re.findall(r"`([a-z-]+[a-z])`", row)
        found |= {*names, *(f"row-{name}" for name in names if "the same behind `row-`" in row)}
    return found


def test_every_refusal_of_gossip_links_and_documents_is_explained() -> None:
    rooms = raised(ROOMS)
    names = spelled(rooms, raised(RECORDS))
    assert len(names) > 50, "the reading of the code has gone blind"
    explained = told(PAGE.read_text(), "What a peer sent is refused")
    assert {name: rooms.get(name, "") for name in names - explained} == {}, "explain them in docs/troubleshooting.md"
    assert explained - names == OWN_ERROR, "these are raised no more"


def test_every_goodbye_is_explained() -> None:
    explained = told(PAGE.read_text(), "Why a link ends")
    assert {*map(str, Bye), *ALSO} == explained


def test_every_evidence_is_explained() -> None:
    page = PAGE.read_text()
    assert [words_of(kind) for kind in Evidence if f"`{words_of(kind)}`" not in page] == []


def test_a_refusal_that_nobody_explains_is_noticed(tmp_path: Path) -> None:
    room = tmp_path / "meshnode" / "gossip" / "new.py"
    room.parent.mkdir(parents=True)
    room.write_text('def read() -> None:\n    raise RemoteError("row-upside-down", "it is")\n')
    assert raised([room]) == {"row-upside-down": "meshnode/gossip/new.py:2"}
    assert "row-upside-down" not in told(PAGE.read_text(), "What a peer sent is refused")
    room.write_text('def read(why: str) -> None:\n    raise RemoteError(f"odd-{why}")\n')
    with pytest.raises(AssertionError, match="say here what is put in"):
        spelled(raised([room]), [])
    room.write_text("def read(found: str) -> None:\n    raise RemoteError(found)\n")
    with pytest.raises(AssertionError, match="a refusal without a name: found"):
        raised([room])
