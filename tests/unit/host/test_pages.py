"""Pages are kept and given back where the C library can, and nothing ends where it cannot."""

import ctypes
import platform
import sys
from collections.abc import Callable

import pytest

from meshnode.sdk.pages import give_back, keep_pages
from tests.patience import finished

KEEP = "from meshnode.sdk.pages import keep_pages; print(keep_pages())"


class Bare:
    """A C library without those functions."""

    def __init__(self, _name: None) -> None: ...


def test_glibc_keeps_pages() -> None:
    """In a process of its own: it does not end with the test."""
    done = finished([sys.executable, "-c", KEEP], check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")


def test_what_is_free_is_given_back_and_the_process_goes_on() -> None:
    held = [bytes(1000) for _ in range(10_000)]
    del held[:-1]
    assert isinstance(give_back(), bool)
    assert held == [bytes(1000)]


@pytest.mark.parametrize("asked", [keep_pages, give_back])
def test_another_library_is_left_alone(asked: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Bare)
    assert asked() is False
