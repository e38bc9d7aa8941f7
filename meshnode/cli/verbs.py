"""Every verb of the command line: its group, the module that knows it, one line of help. Imports nothing."""

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Lifecycle": {
        "up": ("lifecycle", "start this node; an empty directory becomes a mesh of one"),
        "down": ("lifecycle", "stop this node in order"),
        "invite": ("lifecycle", "make a token that lets one machine join"),
        "join": ("lifecycle", "make this directory a node of the mesh of a TOKEN"),
    },
    "Look": {
        "status": ("look", "this node at one glance"),
        "top": ("top", "nodes, agents and what happens, on the whole screen"),
        "ls": ("look", "nodes, with the age of what is known"),
        "ps": ("look", "agents on all nodes, unit by unit"),
        "skills": ("look", "what can be called"),
        "find": ("look", "who offers a SKILL, best first, and why others do not"),
        "get": ("look", "list a KIND: nodes, agents, skills, agentclusters"),
        "describe": ("describe", "all that is known about one thing: KIND NAME"),
        "ui": ("gateway", "open the page of this node in the browser; works offline, keeps nothing"),
        "gateway": ("gateway", "serve the page and the API of the whole fleet, with its history"),
    },
    "Do": {
        "run": ("run", "want the agent in FILE, now and at every boot"),
        "stop": ("agents", "want an agent no more; its state stays"),
        "restart": ("agents", "restart all units of an agent, one after the other"),
        "drain": ("drain", "empty a node: its units move to others, and it takes no new ones"),
        "resume": ("drain", "let a drained node take units again"),
        "scale": ("planning", "set how many replicas of an agent are wanted"),
        "plan": ("planning", "what manifests would change, and why: -f FILE..., or how things stand"),
        "apply": ("documents", "store manifests: -f FILE..."),
        "delete": ("documents", "delete documents: -f FILE... or KIND NAME"),
        "explain": ("explain", "what may stand in a manifest: KIND or KIND.FIELD"),
    },
    "Talk": {
        "call": ("call", "call a SKILL, or cap/TAG, with key=value arguments"),
        "publish": ("topics", "an event for whoever listens to a TOPIC now"),
        "subscribe": ("topics", "events of TOPICs as they come"),
        "logs": ("logs", "what agents wrote, on all nodes; -f follows"),
        "ping": ("talk", "measure the way to a node"),
        "events": ("talk", "what happened here; -f follows"),
    },
    "State": {
        "state": (
            "state",
            "list, show, history, diff, restore or forget states; of documents: KIND NAME, count; or verify all",
        ),
        "checkpoint": ("state", "write a checkpoint of every unit of an agent now"),
        "conflicts": ("conflicts", "fields and keys with concurrent values, all of them kept; resolve settles one"),
        "sync": ("sync", "compare documents with all peers now, or carry them by hand: now, export or import FILE"),
    },
    "Why": {
        "why": ("why", "the story of a node, agent, unit, cluster or call"),
        "demo": ("demo", "play failover or partition on this machine and show what happens"),
        "id": ("why", "who this node is, and by which keys"),
    },
    "Shell": {
        "version": ("shell", "which meshnode this is"),
        "completion": ("shell", "completion for bash, zsh or fish"),
    },
}
# What scripts ask, not people.
HIDDEN: dict[str, tuple[str, str]] = {
    "complete": ("shell", "what may stand at the cursor; the scripts of completion ask it")
}
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}

_HEAD = """usage: meshnode [-C DIR] VERB ...

-C DIR picks the node by its data directory (else MESHNODE_DIR, else ~/.meshnode).
-o table|wide|json|yaml|name|jsonl chooses the output of every verb that shows something.
"""
_TAIL = """
exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 partial, 6 offline, 124 timeout
meshnode VERB --help tells more"""


def help_text() -> str:
    lines = [_HEAD]
    for group, verbs in GROUPS.items():
        lines.append(group)
        lines.extend(f"  {verb:<11} {summary}" for verb, (_, summary) in verbs.items())
    return "\n".join([*lines, _TAIL])


def split(argv: list[str]) -> tuple[str, str, list[str]]:
    """(directory, verb, the rest): what stands before the verb is read here, the rest by the verb's own parser."""
    directory = ""
    at = 0
    while at < len(argv) and argv[at].startswith("-C"):
        directory = argv[at][2:].removeprefix("=") or (argv[at + 1] if at + 1 < len(argv) else "")
        at += 1 if len(argv[at]) > 2 else 2
    return directory, (argv[at] if at < len(argv) else ""), argv[at + 1 :]
