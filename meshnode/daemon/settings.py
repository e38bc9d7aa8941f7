"""How a node was started: kept in ``DIR/settings.json``, so that the next start needs no flags."""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from meshnode.host.atomic import replace_file
from meshnode.host.engine import Engine
from meshnode.kernel.decoding import JUNK
from meshnode.links.carriage import RelayConfig
from meshnode.model.errors import Invalid, LocalError

FILE = "settings.json"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):(\d{1,5})", re.ASCII)
RELAY = ("relay_bytes_per_s", "relay_clients", "relay_tunnels", "relay_client_tunnels")  # quotas
_LATER = ("loop", *RELAY)  # fields that came after the first release
_RELAYED = RelayConfig()
_MEND = "mend the file, or remove it to choose again"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person may choose. Empty and 0 mean: choose for me (and remember it)."""

    bind: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    advertise: tuple[str, ...] = ()  # HOST:PORT under which peers reach this node
    seeds: tuple[str, ...] = ()
    dial_from: str = ""
    listen: bool = True  # without it nobody can dial this node: it is reached through relays
    mdns: bool = True
    profile: Literal["edge", "default", "relay"] = "default"
    bus: Literal["unix", "zmq"] = "unix"  # what agents of this node are connected by
    loop: Engine = "asyncio"  # uvloop: for nodes that carry much; it is an extra
    # What a relay carries: bytes a second of one client, both directions together; clients; tunnels in all, and of one.
    relay_bytes_per_s: Annotated[int, msgspec.Meta(ge=65_536, le=2**40)] = _RELAYED.bytes_per_s
    relay_clients: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = _RELAYED.clients_max
    relay_tunnels: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = _RELAYED.tunnels_max
    relay_client_tunnels: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = _RELAYED.tunnels_per_client_max

    def merged(self, **given: object) -> "Settings":
        """These settings with what was given now on top; ``None`` leaves what is. Raises ``Invalid``."""
        chosen = {name: value for name, value in given.items() if value is not None}
        try:
            return msgspec.convert({**msgspec.structs.asdict(self), **chosen}, Settings)
        except msgspec.ValidationError as error:
            raise Invalid(f"settings: {error}", next_step="meshnode up --help tells what may be given") from error


def load(directory: Path) -> Settings:
    """Raises Invalid naming the file and the field."""
    path = directory / FILE
    if not path.exists():
        return Settings()
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Settings)
    except (OSError, *JUNK) as error:
        raise Invalid(f"{path}: {error}", next_step=_MEND) from error
    for field in ("advertise", "seeds"):
        for text in getattr(found, field):
            _check(text, f"{path}: {field}: ")
    return found


def _check(text: str, where: str) -> None:
    try:
        address(text)
    except Invalid as error:
        raise Invalid(f"{where}{error.message}; {error.next_step}", next_step=_MEND) from error


def save(directory: Path, settings: Settings) -> None:
    """Written only when something changed: an ordinary start costs the flash nothing.

    Raises:
        LocalError: the disk does not take it; what was there before is there still.
    """
    content = msgspec.json.format(msgspec.json.encode(_written(settings))) + b"\n"
    path = directory / FILE
    try:
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content)
    except OSError as error:
        raise LocalError(
            f"{path} cannot be written: {error.strerror or error}", next_step="free disk space or mend the disk"
        ) from error


def _written(settings: Settings) -> dict[str, object]:
    """An older daemon refuses what it does not know: nothing of that is written unless somebody chose it."""
    every, usual = msgspec.structs.asdict(settings), msgspec.structs.asdict(Settings())
    return {name: value for name, value in every.items() if name not in _LATER or value != usual[name]}


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as a pair.

    Raises:
        Invalid: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) <= 65535:
        raise Invalid(f"{text!r} is not an address", next_step="write HOST:PORT, for example 192.168.1.7:7070")
    return found[1].strip("[]"), int(found[2])
