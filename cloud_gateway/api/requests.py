"""Requests to the mesh: checked here, kept by the store, passed on by ``mesh/``. Nothing is ordered."""

import hashlib
import re
import secrets
from typing import Annotated

import msgspec

from cloud_gateway.api.answers import CommandAnswer
from cloud_gateway.api.freshness import Freshness
from cloud_gateway.api.problems import Refused, invalid, misfit
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.model.rows import CommandRow, JsonObject
from cloud_gateway.store.port import Store

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
REPLICAS_MAX = 100_000
KEY_CHARS_MAX = 200
# A NUL in a JSON text: no store of ours and no terminal wants one.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """A request as it is posted."""


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its arguments."""


class ManifestBody(_Body, frozen=True):
    """``manifest``: a document as ``meshnode apply`` takes it, as JSON."""

    manifest: JsonObject


class ScaleBody(_Body, frozen=True):
    """``name``: an agent, or "cluster/NAMESPACE/NAME"; of a cluster with several agents ``agent`` says which."""

    name: Name
    replicas: Annotated[int, msgspec.Meta(ge=0, le=REPLICAS_MAX)]
    agent: Annotated[str, msgspec.Meta(max_length=253)] = ""


class NodeBody(_Body, frozen=True):
    """``node``: its name."""

    node: Name


class DocumentBody(_Body, frozen=True):
    """One document."""

    kind: Name
    namespace: Name
    name: Name


class Apply(_Asked, frozen=True, tag="apply"):
    """Store one manifest."""

    body: ManifestBody


class Delete(_Asked, frozen=True, tag="delete"):
    """Delete one document."""

    body: DocumentBody


class ScaleTo(_Asked, frozen=True, tag="scale"):
    """Set how many replicas are wanted."""

    body: ScaleBody


class Drain(_Asked, frozen=True, tag="drain"):
    """Let a node take nothing new, and let its units move."""

    body: NodeBody


class Resume(_Asked, frozen=True, tag="resume"):
    """Let a drained node take part again."""

    body: NodeBody


Request = Apply | Delete | ScaleTo | Drain | Resume
_REQUEST = msgspec.json.Decoder(Request)


class Requests:
    """Takes requests. The same ``Idempotency-Key`` with the same request is the same command, however often."""

    def __init__(self, store: Store, settings: ApiSettings, fresh: Freshness) -> None:
        self._store, self._settings, self._fresh = store, settings, fresh

    async def keep(self, body: bytes, key: str, by: str) -> CommandAnswer:
        verb, arguments = decoded(body)
        command_id = _id_of(key)
        command = await self._known(command_id, verb, arguments)
        if command is None:
            asked = await self._ask(command_id, verb, arguments, by)
            # Of several that come at once, here or at another replica, the store keeps one: that one is the answer.
            command = await self._known(command_id, verb, arguments) or asked
        source = await self._fresh.source()
        return CommandAnswer(item=command, as_of=source.as_of_ms, stale=self._fresh.stale(source))

    async def _known(self, command_id: str, verb: str, arguments: JsonObject) -> CommandRow | None:
        row = await self._store.get("commands", (command_id,))
        if not isinstance(row, CommandRow):
            return None
        if (row.verb, row.body) != (verb, arguments):
            raise Refused(
                "key-reused",
                f"Idempotency-Key: belongs to another request, {row.verb} {command_id}",
                next_step="use a new key for a new request; nothing changed",
                field="Idempotency-Key",
            )
        return row

    async def _ask(self, command_id: str, verb: str, arguments: JsonObject, by: str) -> CommandRow:
        limit = self._settings.open_commands_max
        if len(await self._store.open_commands(limit)) >= limit:
            raise Refused(
                "too-busy", f"{limit} requests wait for the mesh already", next_step="try again later", retry_s=30
            )
        now_ms = self._fresh.now_ms()
        command = CommandRow(
            command_id=command_id, verb=verb, body=arguments, by=by, asked_ms=now_ms, changed_ms=now_ms
        )
        await self._store.ask(command)
        return command


def decoded(body: bytes) -> tuple[str, JsonObject]:
    """Verb and arguments. Raises ``Refused``."""
    try:
        if _NUL.search(body):
            raise invalid("body", "contains a NUL character")
        request = _REQUEST.decode(body)
        plain: JsonObject = msgspec.to_builtins(request)
    except msgspec.DecodeError as error:
        raise misfit(error, "body") from error
    except RecursionError:
        raise invalid("body", "nested too deeply") from None
    return str(plain["verb"]), plain["body"]


def _id_of(key: str) -> str:
    if not key:
        return secrets.token_hex(16)
    if len(key) > KEY_CHARS_MAX or not key.isprintable():
        raise invalid("Idempotency-Key", f"must be at most {KEY_CHARS_MAX} printable characters")
    return hashlib.sha256(key.encode()).hexdigest()[:32]
