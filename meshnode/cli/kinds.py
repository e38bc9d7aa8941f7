"""The kinds of things ``get``, ``describe`` and ``delete`` know, and every word for them."""

from dataclasses import dataclass

from meshnode.model.errors import Invalid


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """``document``: the kind as manifests write it; empty for things that are not documents, and for all documents."""

    word: str
    plural: str
    document: str = ""
    also: tuple[str, ...] = ()

    def bare(self, name: str) -> str:
        """``node/alpha`` as ``-o name`` prints it is ``alpha``."""
        prefix, slash, rest = name.partition("/")
        return rest if slash and prefix.lower() in (self.word, self.plural, *self.also) else name

    def place(self, name: str, namespace: str) -> tuple[str, str]:
        """(namespace, name) of a document: ``agentcluster/dock/line3`` and ``dock/line3`` say both."""
        said, slash, rest = self.bare(name).partition("/")
        return (said, rest) if slash else (namespace, said)


_KINDS = (
    Kind(word="node", plural="nodes", also=("no",)),
    Kind(word="agent", plural="agents", document="Agent", also=("instance", "instances", "unit", "units")),
    Kind(word="skill", plural="skills", also=("caps", "capabilities")),
    Kind(word="agentcluster", plural="agentclusters", document="AgentCluster", also=("cluster", "clusters", "ac")),
    Kind(word="policy", plural="policies", document="Policy"),
    Kind(word="document", plural="documents", also=("docs",)),
)
_BY_WORD = {word: kind for kind in _KINDS for word in (kind.word, kind.plural, *kind.also)}


def kind_of(word: str) -> Kind:
    """Any spelling of a kind.

    Raises:
        Invalid: there is no such kind.
    """
    kind = _BY_WORD.get(word.lower())
    if kind is None:
        raise Invalid(
            f"unknown kind: {word}",
            next_step="kinds: nodes, agents, skills, agentclusters (clusters), policies, documents",
        )
    return kind


def document_kind(word: str) -> Kind:
    """A kind of documents, one in particular.

    Raises:
        Invalid: these cannot be deleted, or are no single kind.
    """
    kind = kind_of(word)
    if not kind.document:
        raise Invalid(
            f"{kind.plural} are no kind of documents",
            next_step="kinds of documents: agents, agentclusters (clusters), policies",
        )
    return kind
