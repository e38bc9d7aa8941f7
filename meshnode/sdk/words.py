"""Words of a call that are its own, as ``deadline_s``: an argument of such a name is given in the dictionary."""

from collections.abc import Mapping

KINDS: dict[str, tuple[type, ...]] = {
    "deadline_s": (int, float), "session": (str,), "key": (str,), "batch": (bool,), "as_bytes": (bool,),
}  # fmt: skip
_MISSING = {f"Object missing required field `{word}`": word for word in KINDS}


def merged(
    arguments: Mapping[str, object] | None,
    more: Mapping[str, object],
    deadline_s: object,
    session: object,
    key: object = "",
    batch: object = False,  # noqa: FBT002 - a flag only where it is given
    as_bytes: object = False,  # noqa: FBT002
) -> dict[str, object]:
    """The arguments of a call. Raises ``TypeError`` for a word of the call that was taken for one of them."""
    # Nearly always so, and cheaper to see than to ask ``isinstance`` five times for each call.
    if not (type(session) is type(key) is str and type(batch) is type(as_bytes) is bool and type(deadline_s) is float):
        _check({"deadline_s": deadline_s, "session": session, "key": key, "batch": batch, "as_bytes": as_bytes})
    return {**(arguments or {}), **more}


def _check(words: Mapping[str, object]) -> None:
    for word, value in words.items():
        if not isinstance(value, KINDS[word]):
            raise TypeError(
                f"{word}={value!r}: {word} is a word of the call itself; give an argument of that name in a "
                f"dictionary: call('words.count', {{'{word}': ...}})"
            )


def hint(error: str) -> str:
    """For a caller whose argument did not come because he gave it by name."""
    word = _MISSING.get(error)
    return f" ({word}= is a word of ctx.call itself: the argument is given in its dictionary)" if word else ""
