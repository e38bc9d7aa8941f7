"""From requests to commands and from answers to bodies: what the application and the door for plain requests share."""

from collections.abc import Mapping

import msgspec

from meshnode.api.errors import ErrorBody, failure_of, invalid_request, status_of
from meshnode.api.operations import Operation
from meshnode.api.ports import Asker
from meshnode.model.commands import AnyCommand
from meshnode.model.document_views import DocumentsView
from meshnode.model.errors import LocalError
from meshnode.model.view_parts import View
from meshnode.model.views import AnyView, Failure

BODY_BYTES_MAX = 1024 * 1024


async def asked(asker: Asker, command: AnyCommand) -> AnyView:
    try:
        return await asker.ask(command)
    except LocalError as error:
        return failure_of(error)


def from_path(operation: Operation, fields: Mapping[str, str]) -> AnyCommand | Failure:
    """From what path and query say."""
    try:
        return msgspec.convert(fields, type=operation.command, strict=False)
    except msgspec.ValidationError as error:
        return invalid_request(error, "query")


def from_body(operation: Operation, body: bytes, in_path: Mapping[str, str]) -> AnyCommand | Failure:
    try:
        if not in_path:
            return msgspec.json.decode(body or b"{}", type=operation.command)
        fields = msgspec.json.decode(body or b"{}", type=dict[str, object])
        if twice := sorted(fields.keys() & in_path.keys()):
            return Failure(
                code="invalid", message=f"body: {twice[0]}: the path says it already", exit_code=2,
                details={"path": twice[:1]},
            )  # fmt: skip
        return msgspec.convert({**fields, **in_path}, type=operation.command)
    except msgspec.DecodeError as error:
        return invalid_request(error, "body")
    except RecursionError:
        return Failure(code="invalid", message="body: nested too deeply", exit_code=2)


def said(operation: Operation, answer: AnyView) -> tuple[int, bytes]:
    """Status and body."""
    shown: View | None = answer
    if operation.one and isinstance(answer, DocumentsView):
        shown = answer.items[0] if answer.items else None
    if shown is None:
        shown = Failure(code="not-found", message="no such document is known here", exit_code=3)
    if isinstance(shown, Failure):
        return status_of(shown), msgspec.json.encode(ErrorBody(shown))
    return 200, msgspec.json.encode(shown)


def internal(error: Exception) -> Failure:
    """A fault of ours, as its reader is told of it."""
    return Failure(
        code="internal", message=f"the node failed to answer: {_cause(error)}",
        next_step="the daemon's log in DIR/logs has the details",
    )  # fmt: skip


def _cause(error: BaseException) -> str:
    """The kind of the first thing that went wrong, without the groups of tasks around it."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _cause(inner[0]) if inner else type(error).__name__
