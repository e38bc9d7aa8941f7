"""What a node shows to others and how it judges them: TLS contexts, and the one door through which peers come."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from meshnode.host.identity import Enroller, Identity
from meshnode.kernel.instant import Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.security.check_peer import check_peer, has_ended
from meshnode.security.clock import MeshClock
from meshnode.security.messages import PeerIdentity
from meshnode.security.tls import (
    ALPN_MESH,
    client_context,
    enrolment_server_context,
    server_context,
    verified_chain,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """One certificate in use. Making contexts takes milliseconds, so they are made once and shared by all links."""

    mesh: str
    leaf_sha256: bytes
    mutual_server: ssl.SSLContext
    mutual_client: ssl.SSLContext
    enrol_server: ssl.SSLContext | None  # only where somebody can be admitted
    enroller: Enroller | None
    bundle: bytes
    clock: MeshClock
    now: Callable[[], Instant]

    @classmethod
    def of(cls, identity: Identity, clock: MeshClock, now: Callable[[], Instant]) -> "Credentials":
        chain, key, roots = identity.chain_path, identity.key_path, identity.bundle.root_pem
        return cls(
            mesh=identity.mesh,
            leaf_sha256=identity.leaf_sha256,
            mutual_server=server_context(chain, key, roots),
            mutual_client=client_context(chain, key, roots),
            enrol_server=enrolment_server_context(chain, key) if identity.enroller else None,
            enroller=identity.enroller,
            bundle=identity.bundle.data,
            clock=clock,
            now=now,
        )

    def judge(self, tls: ssl.SSLObject, expect: NodeId) -> PeerIdentity:
        """Who is at the other end. ``expect`` empty: anybody of this mesh. Raises ``RemoteError``."""
        if tls.selected_alpn_protocol() != ALPN_MESH:
            raise RemoteError("alpn", "the other side does not speak this protocol")
        return check_peer(verified_chain(tls), self.mesh, self.clock, self.now(), expect or None)

    def has_ended(self, until_ms: int) -> bool:
        """Whether a certificate that was accepted has run out since."""
        return has_ended(until_ms, self.clock, self.now())
