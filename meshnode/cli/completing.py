"""What may stand at the cursor: verbs, a verb's options and their choices, and names the node knows right now.

The scripts of ``completion`` ask this at every TAB. A node that is not there has no names to offer, and says nothing.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence

from meshnode.cli.parser import Parser, Verb, parser_of
from meshnode.cli.verbs import VERBS, split
from meshnode.client.client import Client
from meshnode.model.errors import LocalError
from meshnode.model.manifest import KINDS

TIMEOUT_S = 1.0
# Said instead of names: the shell knows files better than we do.
FILES, DIRECTORIES = "::files", "::directories"
Names = Callable[[Client], Iterable[str]]


def candidates(before: Sequence[str], word: str) -> list[str]:
    """``before``: the words between ``meshnode`` and the cursor; ``word``: what stands there already."""
    directory, verb, given = split(list(before))
    if before and before[-1] == "-C":
        return [DIRECTORIES]
    if not verb:
        return _fitting([*VERBS, "-C"], word)
    if verb not in VERBS:
        return []
    parser = _parser(verb)
    asked = parser.takes.get(given[-1]) if given else None
    if asked is not None:
        return _fitting(asked or _values(given[-1], directory), word)
    if word.startswith("-"):
        return _fitting([*parser.takes, *parser.flags], word)
    return _fitting(_words(verb, given, directory, parser), word)


def _parser(verb: str) -> Parser:
    module, summary = VERBS[verb]
    known: Verb = importlib.import_module(f"meshnode.cli.{module}").VERBS[verb]
    parser = parser_of(verb, summary)
    known.options(parser)
    return parser


def _fitting(words: Iterable[str], word: str) -> list[str]:
    return sorted({one for one in words if one.startswith((word, "::"))})


def _values(option: str, directory: str) -> Iterable[str]:
    """Values of an option that names no choices of its own."""
    names = {"--on": _nodes, "--node": _nodes, "--to": _nodes, "--agent": _agents}.get(option)
    return _ask(names, directory) if names else [FILES] if option in ("-f", "--file") else ()


def _words(verb: str, given: Sequence[str], directory: str, parser: Parser) -> Iterable[str]:
    plain = [word for word in given if not word.startswith("-")]
    choices = parser.places[len(plain)] if len(plain) < len(parser.places) else ()
    if choices:
        return choices
    if verb in ("get", "describe", "delete"):
        return _of_kind(plain, directory)
    if verb in ("run", "join"):
        return [FILES]
    if verb == "explain":
        return KINDS
    names = _LIVE.get(verb)
    return _ask(names, directory) if names else ()


def _of_kind(plain: Sequence[str], directory: str) -> Iterable[str]:
    from meshnode.cli.kinds import kind_of

    if not plain:
        return ("nodes", "agents", "skills", "agentclusters", "documents")
    try:
        word = kind_of(plain[0]).word
    except LocalError:
        return ()
    names = {"node": _nodes, "agent": _agents, "skill": _skills, "agentcluster": _clusters}.get(word)
    return _ask(names, directory) if names else ()


def _ask(names: Names, directory: str) -> Iterable[str]:
    try:
        return list(names(Client(directory or None, timeout_s=TIMEOUT_S)))
    except LocalError:
        return ()


def _nodes(client: Client) -> Iterable[str]:
    return (node.name for node in client.nodes())


def _agents(client: Client) -> Iterable[str]:
    return (agent.name for agent in client.agents())


def _units(client: Client) -> Iterable[str]:
    return (agent.instance or agent.name for agent in client.agents())


def _skills(client: Client) -> Iterable[str]:
    return (skill.skill for skill in client.skills())


def _clusters(client: Client) -> Iterable[str]:
    return (f"{document.namespace}/{document.name}" for document in client.documents("AgentCluster"))


def _subjects(client: Client) -> Iterable[str]:
    kinds = (("node", _nodes), ("agent", _agents), ("cluster", _clusters))
    return [f"{kind}/{name}" for kind, names in kinds for name in names(client)]


def _wanted(client: Client) -> Iterable[str]:
    return [*_agents(client), *(f"cluster/{name}" for name in _clusters(client))]


_LIVE: dict[str, Names] = {
    "ping": _nodes, "drain": _nodes, "resume": _nodes, "why": _subjects, "stop": _agents, "restart": _agents,
    "scale": _wanted, "logs": _agents, "checkpoint": _agents, "ps": _agents, "state": _units, "call": _skills,
    "find": _skills,
}  # fmt: skip
