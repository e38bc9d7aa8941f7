"""The state of agents: state list|show|history|diff|restore|forget, and checkpoint; show|history|diff of documents, and
verify: whether the journal holds them whole."""

from collections.abc import Callable, Sequence

import msgspec

from meshnode.cli import record, rows, verifying
from meshnode.cli.agents import bare
from meshnode.cli.output import show_list, show_one, yaml_of
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option, warn
from meshnode.cli.table import Column
from meshnode.cli.words import clock, one_line, size
from meshnode.model.errors import Invalid
from meshnode.model.unit_views import HistoryRow, StateDiffView, StateView, UnitStateView

ACTIONS = ("list", "show", "history", "diff", "restore", "forget", "verify", "count")
_HASH_CHARS = 12

_STATES: tuple[Column[UnitStateView], ...] = (
    Column(title="UNIT", cell=lambda s: s.unit),
    Column(title="ROLE", cell=lambda s: s.role),
    Column(title="NODE", cell=lambda s: s.node),
    Column(title="VERSION", cell=lambda s: str(s.version), right=True),
    Column(title="KEYS", cell=lambda s: str(s.keys), right=True),
    Column(title="SIZE", cell=lambda s: size(s.size_bytes), right=True),
    Column(title="CHECKPOINT", cell=lambda s: str(s.checkpoint or ""), right=True),
    Column(title="SINCE", cell=lambda s: str(s.entries), right=True),
    Column(title="DURABILITY", cell=lambda s: s.durability),
    Column(title="COPIES", cell=lambda s: ",".join(s.copies)),
    Column(title="CONFLICTS", cell=lambda s: str(s.conflicts or ""), right=True, optional=True),
    Column(title="SEEN", cell=lambda s: rows.seen(s.age_s)),
    Column(title="EPOCH", cell=lambda s: s.epoch, wide=True),
    Column(title="HASH", cell=lambda s: s.hash[:_HASH_CHARS], wide=True),
)
_HISTORY: tuple[Column[HistoryRow], ...] = (
    Column(title="VERSION", cell=lambda h: str(h.version), right=True),
    Column(title="KIND", cell=lambda h: h.kind),
    Column(title="WHEN", cell=lambda h: clock(h.at_ms)),
    Column(title="EPOCH", cell=lambda h: h.epoch),
    Column(title="KEYS", cell=lambda h: ", ".join(h.keys)),
    Column(title="SIZE", cell=lambda h: size(h.size_bytes), right=True),
    Column(title="CALL", cell=lambda h: h.call, optional=True),
    Column(title="HASH", cell=lambda h: h.hash[:_HASH_CHARS]),
)


def state_name(state: UnitStateView) -> str:
    return f"state/{state.unit}@{state.node}"


def _list(given: Given) -> int:
    _spare(given, versions=0)
    states = client_of(given).states(bare(given.unit))
    show_list(given, states, _STATES, state_name, empty="no state is known here")
    return 0


def _show(given: Given) -> int:
    document = _document(given)
    if document is not None:
        return record.show(given, document)
    unit = _unit(given, versions=0)
    view = client_of(given).state(unit, given.key, given.session)
    show_one(given, view, lambda: [*_head(view), *_values(view)], f"state/{view.unit}")
    return 0


def _history(given: Given) -> int:
    document = _document(given)
    if document is not None:
        return record.history(given, document)
    view = client_of(given).history(_unit(given, versions=0))

    def name(row: HistoryRow) -> str:
        return f"state/{view.unit}#{row.version}"

    show_list(given, view.items, _HISTORY, name, empty=f"{view.unit} has no history on {view.node}")
    return 0


def _diff(given: Given) -> int:
    found = record.names_of([given.unit, *given.versions], given.namespace, versions=True)
    if found is not None:
        return record.diff(given, *found)
    unit = _unit(given, versions=2)
    if not given.versions:
        raise Invalid(
            "state diff: from which version on?", next_step=command(given, f"state history {unit}, then state diff")
        )
    first, *rest = map(_version, given.versions)
    view = client_of(given).diff(unit, first, *rest)
    show_one(given, view, lambda: _diff_lines(view), f"state/{view.unit}")
    return 0


def _restore(given: Given) -> int:
    unit = _unit(given, versions=0)
    if given.version is None:
        raise Invalid("state restore: to which version?", next_step=command(given, f"state restore {unit} --version V"))
    view = client_of(given).restore(unit, given.version)
    show_one(given, view, lambda: _head(view), f"state/{view.unit}")
    if given.output in ("table", "wide"):
        warn(one_line(f"now as it was at version {given.version}; what it was before stays in its history"))
    return 0


def _forget(given: Given) -> int:
    unit = _unit(given, versions=0)
    done = client_of(given).forget(unit)
    show_one(given, done, lambda: [one_line(done.message or f"forgotten: {unit}")], f"state/{unit}")
    return 0


def _count(given: Given) -> int:
    found = record.names_of([given.unit, *given.versions], given.namespace)
    if found is None:
        raise Invalid("state count: of which document?", next_step="meshnode state count KIND NAME COUNTER [AMOUNT]")
    return record.count(given, *found)


def _document(given: Given) -> record.Names | None:
    """What ``KIND NAME`` names, where these are the words; nothing behind them is ignored silently."""
    found = record.names_of([given.unit, *given.versions], given.namespace)
    if found is None:
        return None
    names, behind = found
    if behind:
        raise Invalid(f"state {given.action}: what is {behind[0]}?", next_step="meshnode state --help")
    for option in ("version", "key", "session"):
        if getattr(given, option):
            raise Invalid(f"state {given.action} of a document takes no --{option}", next_step="meshnode state --help")
    return names


def _unit(given: Given, *, versions: int) -> str:
    if not given.unit:
        raise Invalid(
            f"state {given.action}: of which unit?", next_step=command(given, "state list shows what is known here")
        )
    _spare(given, versions=versions)
    return bare(given.unit.removeprefix("state/"))


def _spare(given: Given, *, versions: int) -> None:
    """Nothing that was typed is ignored silently."""
    strange = [word for word in given.versions if not word.isdecimal()]
    if strange and given.action in ("show", "history", "diff") and strange[0] == given.versions[0]:
        raise Invalid(
            f"state {given.action}: {given.unit} is no kind of documents",
            next_step="kinds: agent, agentcluster (cluster), node, policy; of a unit's state: NAME or NAME/SLOT",
        )
    if strange or len(given.versions) > versions:
        what = strange[0] if strange else given.versions[versions]
        raise Invalid(f"state {given.action}: what is {what}?", next_step="meshnode state --help")
    for option, actions in (("version", ("restore",)), ("key", ("show",)), ("session", ("show",))):
        if getattr(given, option) and given.action not in actions:
            raise Invalid(f"state {given.action} takes no --{option}", next_step="meshnode state --help")


def _head(view: StateView) -> list[str]:
    pairs = [
        ("unit", view.unit),
        ("node", f"{view.node} ({view.role})"),
        ("version", f"{view.version}, epoch {view.epoch}, hash {view.hash[:_HASH_CHARS]}"),
        ("seen", rows.seen(view.age_s)),
        ("answers", f"{view.answers} kept" if view.answers else ""),
        ("conflicts", ", ".join(view.conflicts)),
        ("note", view.note),
    ]
    return [one_line(f"{name + ':':<10} {value}") for name, value in pairs if value]


def _values(view: StateView) -> list[str]:
    if not view.keys:
        return ["keys:      none"]
    return ["keys:", *(f"  {line}" for line in yaml_of(view.keys).splitlines())]


def _diff_lines(view: StateDiffView) -> list[str]:
    until = str(view.second) if view.second else "now"
    lines = [f"{view.unit}: {view.first} -> {until}"]
    lines += [f"  {key}: {_shown(before)} -> {_shown(after)}" for key, (before, after) in view.changed.items()]
    return [one_line(line) for line in (lines if view.changed else [*lines, "  nothing differs"])]


def _shown(value: object) -> str:
    return "-" if value is None else msgspec.json.encode(value).decode()


_ACTIONS: dict[str, Callable[[Given], int]] = dict(
    zip(ACTIONS, (_list, _show, _history, _diff, _restore, _forget, verifying.verify, _count), strict=True)
)


def _state(given: Given) -> int:
    return _ACTIONS[given.action](given)


def _checkpoint(given: Given) -> int:
    states: Sequence[UnitStateView] = client_of(given).checkpoint(bare(given.name))
    show_list(given, states, _STATES, state_name, empty=f"{given.name} has no state here")
    return 0


def _version(text: str) -> int:
    version = int(text)
    if version < 0:
        raise ValueError(text)
    return version


_version.__name__ = "version"  # argparse names the rule by it


def _state_options(parser: Parser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    what = "NAME (its first unit) or NAME/SLOT; or KIND NAME of a document"
    parser.add_argument("unit", metavar="UNIT", nargs="?", default="", help=what)
    parser.add_argument(
        "versions",
        metavar="NAME|VERSION",
        nargs="*",
        help="NAME of a document; of diff: A, or A B; of count: COUNTER, or COUNTER N",
    )
    parser.add_argument("-n", dest="namespace", metavar="NAMESPACE", default="default", help="of a document")
    parser.add_argument("--version", metavar="V", type=_version, default=None, help="of restore")
    parser.add_argument("--key", default="", help="of show: this key only")
    parser.add_argument("--session", default="", help="of show: the keys of this session only")
    output_option(parser)


def _checkpoint_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    output_option(parser)


VERBS = {
    "state": Verb(options=_state_options, run=_state),
    "checkpoint": Verb(options=_checkpoint_options, run=_checkpoint),
}
