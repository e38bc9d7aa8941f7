"""How the verifier looks: through the public API, again and again until it sees what was promised, or patience ends."""

import time
from collections.abc import Callable

from meshnode.client.client import Client
from meshnode.model.errors import LocalError
from tests.demo.evidence import Seen

POLL_S, POLL_S_MAX, POLLS_RARER = 0.02, 0.1, 1.1  # times are told to 10 ms: what comes soon is looked for often
PATIENCE_S = 25.0


def client_of(directory: str) -> Client:
    return Client(directory, timeout_s=10.0)


def until(look: Callable[[], Seen], since: float, wait_s: float = PATIENCE_S) -> Seen:
    """Look again and again; ``took_s`` counts from ``since``. A look that says ``final`` is not repeated."""
    deadline, poll_s = time.monotonic() + wait_s, POLL_S
    while True:
        try:
            seen = look()
        except LocalError as error:
            seen = Seen(holds=False, seen=f"{error.code}: {error.message}")
        if seen.holds or seen.final or time.monotonic() > deadline:
            took = time.monotonic() - since if seen.holds else None
            return Seen(seen.holds, seen.seen, took)
        time.sleep(poll_s)
        poll_s = min(POLL_S_MAX, poll_s * POLLS_RARER)
