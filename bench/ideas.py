"""What a profile of the product said to try next, for every figure that has been over its goal: told with the miss."""

from dataclasses import replace

from bench.rows import Row

# Of 2026-11-25: the story of each fault (``meshnode why``) beside the clock of the bench, and docs/performance/.
NEXT = {
    "silent-state": "0.5 to 0.9 s until it is suspect, 1.0 s until its units are given up, 0.2 s to gather the state, "
    "then calls under way are sent again: give up earlier where all observers agree",
    "kill9-state": "see in the story of the unit whether the vote, the gathering of state or the start took the time",
    "cold-mesh": "until links stand three interpreters import 0.3 s each on two cores; then 0.2 s are waited for "
    "claims and 0.2 s go into warden and agent: start the warden while links form, and import less before listening",
    "cold-alone": "imports of the daemon, then the wait for peers that do not come",
    "heal-merge": "see which of link, claim and hand-over took the time in the story of the unit",
    "call-local": "some 90 us of Python a turn in the daemon, 100 in the callee, 75 in the caller, all flat: a loop of "
    "our own for agents, without self-pipe and transports (docs/performance/agents.md)",
    "call-local-zmq": "each hop passes a thread of libzmq twice, which asks the kernel 56 times a call where a unix "
    "socket asks 6 times: nothing around it is left to take (docs/performance/calls.md)",
    "call-remote": "a pass of a daemon is 53 us, 25 of them the kernel's and the rest flat (docs/performance/calls.md)",
    "spawn": "the order itself (HTTP, a signed document, its commit, a claim with its epoch) takes most of it: let "
    "commit and fork run side by side, and compile the file once for all replicas (docs/performance/agents.md)",
    "sse-views": "a node whose proof was renewed is told as a whole row, 1 KB to each reader, some 700 a second of "
    "10,000 nodes: tell ages apart from rows, or let the page ask for the fields it shows "
    "(docs/performance/gateway.md)",
    "sse": "what is told waits for a round of polls: every renewed proof is a row to commit and to encode "
    "(docs/performance/gateway.md)",
    "page-queries": "the tail is a round of polls, 5 s of CPU for 205,000 rows, most of it for renewed proofs; the "
    "slowest medians are named here (docs/performance/gateway.md)",
    "rss": "what a burst of events or the keys of a start took lies in pieces between what stays "
    "(docs/performance/gateway.md)",
    "links-1000": "CPU of both ends, 2.5 ms a link at the listener, on the cores there are: profile a handshake there",
    "links-1000-idle": "some 75 us for a PING and its PONG, 1,000 a second: let the WELCOME of a node with hundreds of "
    "links tell a slower pace (pace_us is there), as far as its peers may find it silent later",
    "resume-stall": "let the dialler send again what is not acknowledged right behind its HELLO, which would say with "
    "which number it begins: its direction would be there a round trip sooner (docs/performance/calls.md)",
    "agent-mem": "some 1,000 pages with one touched object each, 1.1 MiB of them for asyncio: a loop of our own for "
    "agents (docs/performance/agents.md)",
}
FAMILIES = {
    "call-local-unix": "call-local", "call-remote-ray": "call-remote", "silent-state-tuned": "silent-state",
    "kill9-state-tuned": "kill9-state", "skill-search": "page-queries", "overview": "page-queries",
}  # fmt: skip


def with_next_step(row: Row) -> Row:
    """The row; if it misses its goal, ``why`` says by how much and what to try."""
    if row.ok or row.value is None or row.goal is None:
        return row
    over = _miss(row.value, row.goal, more=row.more)
    idea = NEXT.get(FAMILIES.get(row.id, row.id), "")
    return replace(row, why=f"{row.why}; {over}" + (f"; next: {idea}" if idea else ""))


def _miss(value: float, goal: float, *, more: bool) -> str:
    if more and value < goal:
        return f"short by {100 * (1 - value / goal):.0f} %"
    return f"over by {100 * (value / goal - 1):.0f} %" if not more and goal and value > goal else "not ok"
