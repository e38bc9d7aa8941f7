"""Bytes from outside have one door: who catches what a decoder raises does it by the name that means all of it."""

import ast

from tests.house.syntax import every, name_of, place, sources, tree

DOOR = "meshnode/kernel/decoding.py"
# Doors of HTTP: they tell a person which of the errors it was, each in other words.
TELLS_APART = {"meshnode/api/answers.py", "meshnode/api/bus.py"}


def own_lists(source: str) -> list[ast.expr]:
    """Where a handler names errors of junk itself."""
    handlers = every(ast.ExceptHandler, tree(source))
    caught = [name for handler in handlers if handler.type for name in every(ast.Name, handler.type)]
    return [name for name in caught if name.id == "RecursionError"]


def test_what_a_decoder_raises_is_named_in_one_place() -> None:
    rooms = [path for path in sources("meshnode", holding="RecursionError") if name_of(path) not in TELLS_APART]
    assert DOOR in map(name_of, rooms)
    assert [place(path, found) for path in rooms for found in own_lists(path.read_text())] == []


def test_a_list_of_its_own_is_noticed() -> None:
    alone = "try:\n    x()\nexcept (ValueError, RecursionError) as error:\n    pass\n"
    assert [found.lineno for found in own_lists(alone)] == [3]
    assert own_lists(alone.replace("(ValueError, RecursionError)", "JUNK")) == []
