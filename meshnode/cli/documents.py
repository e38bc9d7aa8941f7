"""Documents: apply and delete. Every manifest is checked before the first one is stored."""

from collections.abc import Callable, Sequence

from meshnode.cli.carried import carry
from meshnode.cli.dispatch import show_error
from meshnode.cli.kinds import document_kind
from meshnode.cli.manifests import Source, checked_manifests
from meshnode.cli.output import show_list
from meshnode.cli.parser import Given, Parser, Verb, client_of, output_option, warn
from meshnode.cli.rows import applied_name
from meshnode.cli.table import Column
from meshnode.cli.words import one_line
from meshnode.client.client import Client
from meshnode.model.document_views import AppliedView
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.manifest import parse_manifest

PARTIAL = 5


_COLUMNS: tuple[Column[AppliedView], ...] = (
    Column(title="DOCUMENT", cell=applied_name),
    Column(title="STATE", cell=lambda a: a.action),
    Column(title="DURABILITY", cell=lambda a: a.durability),
    Column(title="NOTES", cell=lambda a: "; ".join(a.notes), optional=True),
)


def _apply(given: Given) -> int:
    sources = checked(given.files)
    client = client_of(given)

    def act(source: Source) -> AppliedView:
        for content in source.contents:
            client.keep_bundle(content)
        return client.apply(source.manifest, given.durability)

    return _each(given, sources, act)


def checked(files: Sequence[str]) -> list[Source]:
    """All manifests of all files; none when one of them is bad: then nothing is stored."""
    sources: list[Source] = []
    faults: list[Invalid] = []
    for file in files:
        try:
            sources.extend(checked_manifests(file, carry))
        except Invalid as error:
            faults.append(error)
    for fault in faults[:-1]:
        show_error(fault)
    if faults:
        raise faults[-1]
    return sources


def _each(given: Given, sources: Sequence[Source], act: Callable[[Source], AppliedView]) -> int:
    done: list[AppliedView] = []
    try:
        for source in sources:
            done.append(_placed(source, act))  # noqa: PERF401  # what was done is shown, also when the next one fails
    except LocalError as error:
        if not done:
            raise
        _show(given, done)
        show_error(error)
        warn(f" -> {len(done)} of {len(sources)} done; repeating the command is harmless")
        return PARTIAL
    _show(given, done)
    return 0


def _placed(source: Source, act: Callable[[Source], AppliedView]) -> AppliedView:
    """What the node refuses is shown at its line, like what was refused here."""
    try:
        return act(source)
    except Invalid as error:
        raise source.placed(error) from error


def _show(given: Given, done: Sequence[AppliedView]) -> None:
    if given.output != "table":
        show_list(given, done, _COLUMNS, applied_name)
        return
    for view in done:
        print(one_line(f"{applied_name(view)} {view.action} ({view.durability})"))
        for note in view.notes:
            print(one_line(f"  {note}"))


def _delete(given: Given) -> int:
    client = client_of(given)
    if given.files:
        if given.kind:
            raise Invalid("delete: either -f FILE or KIND NAME, not both", next_step="meshnode delete --help")
        return _each(given, checked(given.files), lambda source: _delete_source(client, source))
    if not given.kind or not given.names:
        raise Invalid("delete: what? -f FILE, or KIND NAME", next_step="meshnode delete agentcluster NAME")
    kind = document_kind(given.kind)
    places = [kind.place(name, given.namespace) for name in given.names]
    _show(given, [client.delete(kind.document, namespace, name) for namespace, name in places])
    return 0


def _delete_source(client: Client, source: Source) -> AppliedView:
    named = parse_manifest(source.manifest)
    return client.delete(named.kind, named.namespace, named.name)


def _apply_options(parser: Parser) -> None:
    parser.add_argument(
        "-f", dest="files", metavar="FILE", nargs="+", action="extend", required=True, help="YAML or JSON"
    )
    parser.add_argument(
        "--durability",
        metavar="LEVEL",
        default="",
        help="local (default): on the disk before the answer; lazy: told to peers within 5 ms, on the disk within 10 s",
    )
    output_option(parser)


def _delete_options(parser: Parser) -> None:
    parser.add_argument("kind", metavar="KIND", nargs="?", default="", help="agent, agentcluster (cluster)")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument(
        "-f", dest="files", metavar="FILE", nargs="+", action="extend", default=[], help="what it names"
    )
    parser.add_argument("-n", dest="namespace", metavar="NAMESPACE", default="default", help="of a document")
    output_option(parser)


VERBS = {
    "apply": Verb(options=_apply_options, run=_apply),
    "delete": Verb(options=_delete_options, run=_delete),
}
