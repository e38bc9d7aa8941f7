"""Invites: who may make one, for whom, and the token, once there is luck for its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.kernel import rng
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.ports import Action
from meshnode.model.addresses import host_and_port
from meshnode.model.errors import Denied, Invalid, LocalError
from meshnode.model.views import InviteView
from meshnode.node.effects import DrawEntropy, Reply
from meshnode.node.snapshot import failure_of
from meshnode.security.invite import make_token
from meshnode.security.names import check_name, generated_name
from meshnode.security.roles import INVITED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import MakeInvite
    from meshnode.node.core import Core
    from meshnode.node.inputs import EntropyDrawn

INVITE_ENTROPY_BYTES = 48
INVITE_TTL_MAX_S = 7 * 24 * 3600
ASKED_MAX = 10_000


class InviteDesk:
    """``ask`` raises, or ends in one ``Reply`` after ``entropy``."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[int, MakeInvite] = {}  # command number -> what waits for entropy
        self._reserved: dict[str, int] = {}  # name -> wall time at which its invite expires

    def ask(self, command_no: int, command: MakeInvite) -> Sequence[Effect]:
        self._check(command)
        if len(self._waiting) >= ASKED_MAX:
            raise LocalError("too many invites are being made at once", next_step="try again in a second")
        self._waiting[command_no] = command
        return [DrawEntropy(command_no, INVITE_ENTROPY_BYTES)]

    def entropy(self, event: EntropyDrawn, now: Instant) -> Sequence[Effect]:
        command = self._waiting.pop(event.purpose, None)
        if command is None:
            return []
        try:
            return self._invite(event.purpose, command, event.entropy, now)
        except LocalError as error:
            return [Reply(event.purpose, failure_of(error))]

    def dropped(self, command_no: int) -> None:
        self._waiting.pop(command_no, None)

    def _check(self, command: MakeInvite) -> None:
        core = self._core
        if command.name:
            check_name(command.name)
        if core.ports.admin is None:
            raise Denied(
                "this node holds no admin key, so it cannot sign an invite",
                next_step="run meshnode invite on the node that made the mesh",
            )
        verdict = core.authority.may(
            core.config.node, Action.INVITE, f"node/{command.name}" if command.name else "node"
        )
        if not verdict.allowed:
            raise Denied(f"this node may not invite: {verdict.reason}", next_step="meshnode id shows this node's roles")
        if command.role not in INVITED:
            raise Invalid(
                f"role is {command.role[:80]!r}; an invite is for a {' or a '.join(INVITED)}",
                next_step="admins are made with the mesh, by its recovery words",
            )
        if not 1 <= command.ttl_s <= INVITE_TTL_MAX_S:
            raise Invalid(
                f"ttl_s is {command.ttl_s}; it must be between 1 and {INVITE_TTL_MAX_S}",
                next_step="an invite lives for 7 days at most: meshnode invite --ttl 7d",
            )
        if command.name and core.trust.by_name(command.name) is not None:
            raise Invalid(f"a node named {command.name} is a member already", next_step="choose another --name")

    def _invite(self, command_no: int, command: MakeInvite, entropy: bytes, now: Instant) -> Sequence[Effect]:
        core = self._core
        assert core.ports.admin is not None
        wall_ms = core.clock.now_ms(now)
        self._reserved = {name: until for name, until in self._reserved.items() if until > wall_ms}
        name = command.name or self._free_name(entropy)
        token = make_token(
            core.ports.admin, mesh=core.config.mesh, name=name, roles=(command.role,),
            region=command.region or core.config.region,
            addresses=tuple(host_and_port(*endpoint) for endpoint in core.config.endpoints),
            root_sha256=core.config.bundle.root_sha256, entropy=entropy, now_ms=wall_ms, ttl_s=command.ttl_s,
        )  # fmt: skip
        self._reserved[name] = wall_ms + command.ttl_s * 1000
        view = InviteView(name=name, token=token, expires_ms=wall_ms + command.ttl_s * 1000)
        invited = "invited" if command.role == INVITED[0] else f"invited as {command.role}"
        return [Note(f"node/{name}", f"{invited}, for {command.ttl_s} s"), Reply(command_no, view)]

    def _free_name(self, entropy: bytes) -> str:
        """A generated name that neither a member nor an open invite has."""
        luck = rng.fork(entropy, "name")
        for _ in range(64):
            name = generated_name(luck)
            if self._core.trust.by_name(name) is None and name not in self._reserved:
                return name
        raise LocalError("no free name found", next_step="give one: meshnode invite --name NAME")
