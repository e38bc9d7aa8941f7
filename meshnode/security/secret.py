"""A value that does not end up in logs, tracebacks or views by accident."""

import hmac


class Secret:
    """Bytes nobody should see. ``reveal`` is the only way out, and easy to search for."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[()]:
        raise TypeError("a Secret is not pickled")
