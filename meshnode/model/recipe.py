"""What to run: the part of an agent that is the same on every node."""

import msgspec

PROCESS, ACTOR = "process", "actor"
TIERS = (PROCESS, ACTOR)


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """One way to run an agent.

    ``file``: absolute path of a Python file that uses the SDK; it is forked from a warm interpreter and ``argv`` are
    its arguments. Without it ``argv`` is a whole command line. ``bundle``: SHA-256 of the file's content, by which a
    machine without the file gets it; "" = it is not carried. ``cwd``: absolute; where it is missing the bundle's own
    folder is used. ``environment``: added to a clean one.
    """

    argv: tuple[str, ...] = ()
    cwd: str = "/"
    environment: dict[str, str] = {}
    file: str = ""
    bundle: str = ""
    tier: str = PROCESS
