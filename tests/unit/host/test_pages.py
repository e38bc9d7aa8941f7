"""Pages are kept where the C library can, and nothing ends where it cannot."""

import ctypes
import platform

import pytest

from meshnode.host.pages import keep_pages


def test_glibc_keeps_pages() -> None:
    assert keep_pages() is (platform.libc_ver()[0] == "glibc")


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        """A library without that function."""

        def __init__(self, _name: None) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    assert keep_pages() is False
