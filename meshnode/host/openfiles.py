"""How many files this process may have open: each link, agent and door is one."""

import resource

WANTED = 4096  # 1,024 links, as many dials and connections that come and go, agents with a descriptor for their process


def raise_limit() -> int:
    """The soft limit becomes the hard one, which alone an administrator sets. Returns it; unlimited is large."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard


def objection(limit: int) -> str:
    """What to tell a person about this limit; empty: it is enough."""
    if limit >= WANTED:
        return ""
    return (
        f"this process may open {limit} files, and a node with 1,024 links and its agents needs {WANTED}: beyond that "
        "it takes no links or agents; raise the hard limit (LimitNOFILE= in its systemd unit, ulimit -Hn elsewhere)"
    )
