"""Every name under which a frame is refused stands in the handbook, so that whoever sees it counted can look it up."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOLD = (ROOT / "docs" / "troubleshooting.md").read_text()
ROOMS = ("meshnode/wire", "meshnode/links", "meshnode/messaging", "meshnode/host")
OF_THE_ROAD = re.compile(
    r"(?:bus|frame|hello|call|result|chunk|grant|event|subscribe|state|emit|tunnel|relay|part|lane)-"
)
NAME = re.compile(r'RemoteError\(\s*"([a-z][a-z-]*)"')


def refusals() -> Iterator[tuple[str, str]]:
    """Where they are raised, and their names."""
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            for name in NAME.findall(path.read_text()):
                if OF_THE_ROAD.match(name):
                    yield str(path.relative_to(ROOT)), name


@pytest.mark.parametrize("kind", ["call", "result", "cancel", "chunk", "grant", "state", "merged", "emit"])
def test_junk_of_each_kind_has_a_line(kind: str):
    assert f"`{kind}-junk`" in TOLD


def test_every_refusal_has_a_line():
    untold = {name: where for where, name in refusals() if f"`{name}`" not in TOLD}
    assert not untold, "add them to docs/troubleshooting.md"


def test_the_names_are_found_at_all():
    names = {name for _, name in refusals()}
    assert {"bus-held", "frame-kind", "event-junk", "call-frame-kind"} <= names, (
        "the planted fault: an empty list passes"
    )
