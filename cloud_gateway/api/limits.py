"""How often one client may ask: token buckets, as many as there are clients lately, never more than a bound."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from cloud_gateway.api.settings import Rate


class Limits:
    """One rate for many clients. ``take`` -> 0.0, or the seconds until it would be allowed."""

    def __init__(self, rate: Rate, clients_max: int) -> None:
        self._rate, self._clients_max = rate, clients_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (tokens, as of)

    def take(self, client: str, now_s: float) -> float:
        left, since_s = self._left.pop(client, (float(self._rate.burst), now_s))
        left = min(self._rate.burst, left + (now_s - since_s) * self._rate.per_s)
        allowed = left >= 1.0
        self._left[client] = (left - 1.0 if allowed else left, now_s)
        if len(self._left) > self._clients_max:
            self._left.popitem(last=False)  # the one that has been quiet longest has the fullest bucket
        return 0.0 if allowed else (1.0 - left) / self._rate.per_s

    def __len__(self) -> int:
        return len(self._left)


def client_of(address: str) -> str:
    """Whom to count: an address; of IPv6 the network of one household, which has 2**64 addresses to ask from."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.is_loopback:
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)
