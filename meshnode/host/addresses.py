"""Under which addresses peers may reach this machine."""

import ipaddress
import socket

import psutil

ADDRESSES_MAX = 8


def reachable_addresses(bound_host: str, port: int) -> tuple[tuple[str, int], ...]:
    """The bound address, or with "all interfaces" those of this machine that are not loopback.

    Loopback is offered only where there is nothing else (a mesh on one machine): elsewhere a peer would meet itself,
    and take the refusal for proof that this node is gone.
    """
    if bound_host not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return ((bound_host, port),)
    found: dict[str, None] = {}
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6) and _usable(address.address):
                found[address.address] = None
    return tuple((host, port) for host in list(found)[:ADDRESSES_MAX]) or (("127.0.0.1", port),)


def _usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast)
