"""Giving memory back: it says whether the C library could, and a library that cannot is no fault."""

import ctypes

import pytest

from meshnode.host import heap


class _Other:
    """A C library without such a thing."""

    def __init__(self, _name: None) -> None:
        pass


def test_what_is_free_is_given_back_and_the_process_goes_on() -> None:
    held = [bytes(1000) for _ in range(10_000)]
    del held[:-1]
    assert isinstance(heap.give_back(), bool)
    assert held == [bytes(1000)]


def test_another_c_library_gives_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", _Other)
    assert not heap.give_back()
