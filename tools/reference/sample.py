"""JSON for readers: what fits on a line stands on one."""

from typing import Any

import msgspec

_WIDTH = 116


def shown(value: Any, indent: int = 0) -> str:  # noqa: ANN401 - JSON
    flat = msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        inner = [f'{pad}"{key}": {shown(each, indent + 2)}' for key, each in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    inner = [pad + shown(each, indent + 2) for each in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    return "[\n" + ",\n".join(inner) + "\n" + " " * indent + "]"
