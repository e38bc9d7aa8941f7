"""What a person should read first, from everything one round has seen. A line says the same as long as the same is
wrong: no figure in it grows by itself, so that ``since_ms`` means something."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cloud_gateway.model.rows import ConflictRow, GapRow, InstanceRow, NodeRow, ProblemRow, WishRow

OF_A_KIND_MAX = 40
GAP_SHOWN_MS = 24 * 3600 * 1000
_SICK = {"backoff": "keeps ending", "failed": "has failed"}
_LOST = ("down", "unreachable", "suspect")


class Findings:
    """Collects one round; bounded, however much is wrong."""

    def __init__(self, here: str) -> None:
        self._here = here
        self._found: dict[str, list[ProblemRow]] = {}
        self._more: dict[str, int] = {}
        self._down: dict[str, None] = {}

    def nodes(self, rows: Iterable[NodeRow]) -> None:
        for row in rows:
            if row.state in _LOST:
                self._down[row.node_id] = None
                severity = "error" if row.state == "down" else "warning"
                self._add("nodes", f"{row.name} {row.state}: {row.reason}", severity, f"nodes/{row.name}")

    def instances(self, rows: Iterable[InstanceRow]) -> None:
        for row in rows:
            if row.state in _SICK:
                where = "" if row.node == self._here else f" on {row.node}"
                severity = "error" if row.state == "failed" else "warning"
                text = f"agent {row.instance}{where} {_SICK[row.state]}: {row.reason}"
                self._add("instances", text, severity, f"agents/{row.agent}")

    def wishes(self, rows: Iterable[WishRow]) -> None:
        for row in rows:
            refused = any(each["type"] == "Accepted" and each["status"] == "False" for each in row.conditions)
            starting = all(each["reason"] != "NoNodeTakesIt" for each in row.conditions) and row.running > 0
            if refused or row.pending:
                severity = "error" if refused or not starting else "warning"
                text = f"{subject_of(row)}: {row.pending} of {row.wanted} are pending"
                self._add("wishes", f"{text}: {row.reason}" if row.reason else text, severity, _link(row))

    def conflicts(self, rows: Sequence[ConflictRow]) -> None:
        for row in rows:
            name = "/".join(part for part in (row.kind.lower(), row.namespace, row.name) if part)
            self._add("conflicts", f"{name}: {row.field} has concurrent values", "warning", "conflicts")

    def journals(self, missing: Mapping[str, tuple[str, str]], gaps: Iterable[GapRow], now_ms: int) -> None:
        """``missing``: node id -> (name, why). That of a node that is down is told by the node's own line."""
        for node_id, (name, why) in missing.items():
            if node_id not in self._down:
                self._add("journals", f"the journal of {name} cannot be read: {why}", "warning", f"nodes/{name}")
        for gap in gaps:
            before_us = gap.life == 1 and gap.first == 1
            if now_ms - gap.noticed_ms < GAP_SHOWN_MS and not before_us:
                what = f"{gap.count} events" if gap.count else "events"
                text = f"the journal of {gap.node} lacks {what} from {gap.first} on (life {gap.life}): {gap.why}"
                self._add("gaps", text, "warning", f"nodes/{gap.node}")

    def told(self, lines: Iterable[str]) -> None:
        """What the gateway's node itself complains of, but for what was found already."""
        subjects = {problem.text.partition(":")[0] for found in self._found.values() for problem in found}
        for line in lines:
            if line.partition(":")[0] not in subjects and "concurrent values" not in line:
                self._add("told", line, "warning", f"nodes/{self._here}")

    def rows(self, since: Mapping[str, int], now_ms: int) -> list[ProblemRow]:
        """Worst first. ``since``: when those that were there before began."""
        found = [problem for problems in self._found.values() for problem in problems]
        found += [
            ProblemRow(text=f"more {kind} are in trouble than are shown here", severity="error", link=kind)
            for kind in self._more
        ]
        found.sort(key=lambda problem: problem.severity)
        return [msgspec.structs.replace(each, since_ms=since.get(each.text, now_ms)) for each in found]

    def _add(self, kind: str, text: str, severity: str, link: str) -> None:
        found = self._found.setdefault(kind, [])
        if len(found) >= OF_A_KIND_MAX:
            self._more[kind] = self._more.get(kind, 0) + 1
        elif all(text != each.text for each in found):
            found.append(ProblemRow(text=text, severity=severity, link=link))


def subject_of(row: WishRow) -> str:
    """As the node calls it: ``agent/words``, ``cluster/default/team``."""
    return f"agent/{row.name}" if row.kind == "Agent" else f"cluster/{row.namespace}/{row.name}"


def _link(row: WishRow) -> str:
    return f"clusters/{row.kind}/{row.namespace}/{row.name}"
