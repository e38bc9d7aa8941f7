"""How a node was started: kept in ``DIR/settings.json``, so that the next start needs no flags."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from meshnode.host.atomic import replace_file
from meshnode.model.errors import Invalid

FILE = "settings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a person may choose. Empty and 0 mean: choose for me (and remember it)."""

    bind: str = ""
    port: int = 0
    advertise: tuple[str, ...] = ()  # HOST:PORT under which peers reach this node
    seeds: tuple[str, ...] = ()
    dial_from: str = ""
    mdns: bool = True
    profile: str = "default"

    def merged(self, **given: object) -> "Settings":
        """These settings with what was given now on top; ``None`` leaves what is."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]  # names are fields, checked by replace


def load(directory: Path) -> Settings:
    """Raises Invalid naming the file and the field."""
    path = directory / FILE
    if not path.exists():
        return Settings()
    try:
        kept = json.loads(path.read_text())
        known = {field.name for field in fields(Settings)}
        unknown = sorted(kept.keys() - known)
        if unknown:
            raise Invalid(
                f"{path}: unknown field {unknown[0]}", next_step=f"remove it; known: {', '.join(sorted(known))}"
            )
        lists = {name: tuple(kept[name]) for name in ("advertise", "seeds") if name in kept}
        return Settings(**{**kept, **lists})
    except (ValueError, TypeError, AttributeError) as error:
        raise Invalid(f"{path}: {error}", next_step="mend the file, or remove it to choose again") from error


def save(directory: Path, settings: Settings) -> None:
    text = json.dumps(asdict(settings), indent=2) + "\n"
    path = directory / FILE
    if not path.exists() or path.read_text() != text:
        replace_file(path, text.encode())


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as a pair.

    Raises:
        Invalid: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise Invalid(f"{text!r} is not an address", next_step="write HOST:PORT, for example 192.168.1.7:7070")
    return host.strip("[]"), int(port)
