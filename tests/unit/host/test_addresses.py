"""Peers are told addresses that lead here, and loopback only where there is nothing else."""

import socket
from typing import NamedTuple

import psutil
import pytest

from meshnode.host.addresses import ADDRESSES_MAX, reachable_addresses


class Address(NamedTuple):
    """As psutil shows it."""

    family: int
    address: str


def machine(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    def family(text: str) -> int:
        return socket.AF_INET6 if ":" in text else socket.AF_INET

    found = {f"if{n}": [Address(family(text), text)] for n, text in enumerate(texts)}
    found["lo"] = [Address(socket.AF_INET, "127.0.0.1"), Address(socket.AF_INET6, "::1")]
    found["mac"] = [Address(psutil.AF_LINK, "02:00:00:00:00:01")]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)


@pytest.mark.parametrize("bound", ["", "0.0.0.0", "::"])
def test_bound_to_everything_all_addresses_but_loopback_are_told(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    machine(monkeypatch, "192.168.1.7", "fd00::7", "fe80::7%eth0", "169.254.1.1", "224.0.0.1")
    assert reachable_addresses(bound, 7070) == (("192.168.1.7", 7070), ("fd00::7", 7070))


def test_bound_to_one_address_that_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "192.168.1.7")
    assert reachable_addresses("127.0.0.2", 1) == (("127.0.0.2", 1),)


def test_a_machine_without_a_network_tells_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert reachable_addresses("", 7070) == (("127.0.0.1", 7070),)


def test_an_address_on_two_interfaces_is_told_once_and_many_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "10.0.0.1", "10.0.0.1")
    assert reachable_addresses("", 1) == (("10.0.0.1", 1),)
    machine(monkeypatch, *(f"10.0.1.{n}" for n in range(1, 30)))
    assert len(reachable_addresses("", 1)) == ADDRESSES_MAX
