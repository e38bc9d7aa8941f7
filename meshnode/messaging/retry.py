"""When a call may be tried again, and what its end says of the one who answered."""

from meshnode.messaging.calls import Call, Peer

# Whoever answers so has not run the call: another may.
NOT_RUN = ("unavailable", "not-found", "overloaded")
# Whoever answers so was interrupted while it ran: again only where running twice is running once.
INTERRUPTED = ("agent-died",)
# Ends that are the caller's doing.
_CALLERS = ("", "invalid", "denied")


def may_run_again(call: Call, runs_max: int) -> bool:
    """A call that may have run. What was made for a peer is that peer's to repeat, and a stream whose items have been
    passed on cannot begin anew."""
    return call.repeatable and not isinstance(call.waiter, Peer) and call.runs + 1 < runs_max and call.items == 0


def speaks_well(code: str) -> bool:
    """Whether this end counts for whoever answered."""
    return code in _CALLERS
