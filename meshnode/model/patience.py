"""How whoever made a call tries again when it was shed: no sooner than it is told, rarer each time, and not for ever.

A call that ends as ``overloaded`` has surely not run, so that trying again is harmless.
"""

SHED = "overloaded"
TRIES_MAX = 8
WAIT_MS_MAX = 2_000  # whoever asks for more is not believed


def wait_s(retry_after_ms: int, tries: int, left_s: float, luck: float) -> float | None:
    """How long to wait before the next try. ``None``: give up, and say what was said.

    Args:
        retry_after_ms: what the refusal says; 0 = nothing.
        tries: how many there were, from 1. Each doubles the wait, up to the most that is believed.
        left_s: until the call's deadline. The next try must begin before it.
        luck: from 0 up to 1. Those who were shed together come back spread over half as long again.
    """
    if retry_after_ms <= 0 or tries >= TRIES_MAX:
        return None
    wait = min(retry_after_ms << (tries - 1), WAIT_MS_MAX) / 1000 * (1 + luck / 2)
    return wait if wait < left_s else None
