"""Addresses as people write them."""


def host_and_port(host: str, port: int) -> str:
    """An IPv6 host stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parted(address: str) -> tuple[str, int] | None:
    """What ``host_and_port`` made of them; ``None``: it made no such thing."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)
