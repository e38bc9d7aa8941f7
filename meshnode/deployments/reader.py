"""All documents read together: a pure function of what is stored, so that all who hold the same want the same.

A change of one document costs what the agents it names cost, and not what ten thousand others do.
"""

from collections.abc import Iterable, Mapping

from meshnode.deployments.wants import Declared, Part, Problem, Reading, part_of, want_of
from meshnode.model.ids import DocId
from meshnode.scheduler.messages import Want

Problems = tuple[Problem, ...]


def wants(documents: Iterable[Declared]) -> tuple[tuple[Want, ...], dict[str, str]]:
    """The wants by agent's name, and for each document that starts less than it says: why."""
    reading = read(documents)
    told = {subject: "; ".join(p.message for p in problems) for subject, problems in reading.problems.items()}
    return reading.wants, told


def read(documents: Iterable[Declared]) -> Reading:
    """All of them at once."""
    return Reader().change((DocId(number.to_bytes(4, "big")), document) for number, document in enumerate(documents))


class Reader:
    """The reading of all documents, kept up as single ones change."""

    def __init__(self) -> None:
        self._parts: dict[DocId, Part] = {}  # by document
        self._own: dict[str, Problem] = {}  # by subject: what is wrong with a document by itself
        self._draining: dict[DocId, Part] = {}
        self._agents: dict[str, Part] = {}  # by agent: its own document
        self._asking: dict[str, dict[DocId, Part]] = {}  # by agent: the clusters that name it
        self._wants: dict[str, Want] = {}  # by agent, in the order of names
        self._against: dict[str, dict[str, Problems]] = {}  # by subject: what stands against each agent it names
        self._marked: dict[str, tuple[str, ...]] = {}  # by agent: the subjects of it there
        self.reading = Reading((), {})  # all of them as they read now; one that was taken before stays what it was

    @property
    def documents(self) -> Iterable[DocId]:
        """All that are read."""
        return self._parts.keys()

    def want(self, agent: str) -> Want | None:
        return self._wants.get(agent)

    def change(self, documents: Iterable[tuple[DocId, Declared | None]]) -> Reading:
        """These read otherwise now, or are gone (``None``). One after the other: a start goes over thousands."""
        agents: dict[str, None] = {}
        subjects: dict[str, None] = {}
        drains = False
        for doc, document in documents:
            before = self._parts.get(doc)
            after = part_of(document) if document is not None else None
            if before is not None:
                self._take_out(doc, before)
            if after is not None:
                self._put_in(doc, after)
            for part in (before, after):
                if part is not None:
                    agents |= dict.fromkeys(_named(part))
                    drains = drains or part.drain is not None
                    if part.problem is not None:
                        subjects[part.subject] = None
        wants = self._want_all(agents, subjects)
        if agents or subjects or drains:
            self.reading = Reading(
                wants=wants, problems=self._problems(subjects), governed=self._governed(agents),
                drains=self._drains() if drains else self.reading.drains,
            )  # fmt: skip
        return self.reading

    def _take_out(self, doc: DocId, part: Part) -> None:
        del self._parts[doc]
        self._draining.pop(doc, None)
        if part.problem is not None:
            self._own.pop(part.subject, None)
        if part.agent is not None:
            self._agents.pop(part.name, None)
            return
        for agent in _named(part):
            asking = self._asking[agent]
            del asking[doc]
            if not asking:
                del self._asking[agent]

    def _put_in(self, doc: DocId, part: Part) -> None:
        self._parts[doc] = part
        if part.drain is not None:
            self._draining[doc] = part
        if part.problem is not None:
            self._own[part.subject] = part.problem
        if part.agent is not None:
            self._agents[part.name] = part
            return
        for agent in _named(part):
            self._asking.setdefault(agent, {})[doc] = part

    def _want_all(self, agents: Iterable[str], subjects: dict[str, None]) -> tuple[Want, ...]:
        """What is wanted of these agents is found anew; to ``subjects`` those are added whose problems are others."""
        held, same = dict(self._wants), True
        for agent in agents:
            want, found = self._want(agent)
            same = same and want == held.get(agent)
            if want is not None:
                held[agent] = want
            else:
                held.pop(agent, None)
            self._stand_against(agent, found, subjects)
        if same:
            return self.reading.wants
        self._wants = held if held.keys() == self._wants.keys() else dict(sorted(held.items()))
        return tuple(self._wants.values())

    def _want(self, agent: str) -> tuple[Want | None, dict[str, list[Problem]]]:
        own, asking = self._agents.get(agent), self._clusters(agent)
        problems: dict[str, list[Problem]] = {}
        if own is None and not asking:
            return None, problems
        asked = [(part.subject, row) for part in asking for row in part.rows if row.agent == agent]
        generation = sum(part.generation for part in asking)
        return want_of(agent, own.agent if own is not None else None, asked, generation, problems), problems

    def _clusters(self, agent: str) -> list[Part]:
        """Those that name it, in the order of subjects, whatever the order in which they came."""
        return [part for _, part in sorted(self._asking.get(agent, {}).items(), key=_order)]

    def _stand_against(self, agent: str, found: Mapping[str, list[Problem]], subjects: dict[str, None]) -> None:
        """``agent`` has these problems now, by subject, and no others."""
        for subject in self._marked.pop(agent, ()):
            self._against[subject].pop(agent)
            subjects[subject] = None
        if found:
            self._marked[agent] = tuple(found)
        for subject, problems in found.items():
            self._against.setdefault(subject, {})[agent] = tuple(problems)
            subjects[subject] = None

    def _problems(self, subjects: Iterable[str]) -> dict[str, Problems]:
        """Of each document its own first, then those of the agents that it names, by name."""
        told = dict(self.reading.problems)
        for subject in subjects:
            against = self._against.get(subject, {})
            own = self._own.get(subject)
            problems = [
                *((own,) if own is not None else ()),
                *(each for agent in sorted(against) for each in against[agent]),
            ]
            if problems:
                told[subject] = tuple(problems)
            else:
                told.pop(subject, None)
                self._against.pop(subject, None)
        return told

    def _governed(self, agents: Iterable[str]) -> dict[str, tuple[str, ...]]:
        told = dict(self.reading.governed)
        for agent in agents:
            if subjects := tuple(dict.fromkeys(part.subject for part in self._clusters(agent))):
                told[agent] = subjects
            else:
                told.pop(agent, None)
        return told

    def _drains(self) -> dict[str, str]:
        ordered = [part for _, part in sorted(self._draining.items(), key=_order)]
        return {part.name: part.drain for part in ordered if part.drain is not None}


def _order(item: tuple[DocId, Part]) -> tuple[str, DocId]:
    return item[1].subject, item[0]


def _named(part: Part) -> Iterable[str]:
    """Agents whose wants hang on it."""
    if part.agent is not None:
        return (part.name,)
    return dict.fromkeys(row.agent for row in part.rows)
