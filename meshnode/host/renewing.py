"""A node's next certificate: a new key, an enroller's signature, both stored as one, and in use from then on.

An enroller signs its own. Others ask at the enrolment door of one, whose root they know: so a node whose certificate
has ended, and that nobody would link with, gets its next one the same way.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable

from meshnode.host import keystore
from meshnode.host.identity import Identity
from meshnode.host.joining import dialogue, first_answer
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.model.addresses import host_and_port
from meshnode.model.errors import LocalError, RemoteError
from meshnode.security.authority import issue_leaf, make_csr, new_tls_key
from meshnode.security.check_peer import check_peer
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment import make_renewal_request, read_renewed
from meshnode.security.messages import LeafRenewed, RenewalFailed, RenewLeaf
from meshnode.security.tls import enrolment_client_context, presented_leaf, verified_chain

log = logging.getLogger(__name__)

_TIMELESS = Instant(0, 0, ClockTrust.FLOOR)  # as for a joiner: the nonce proves that the answer is fresh


class Renewer:
    """Performs ``RenewLeaf``, one at a time. ``use``: the new identity is to be shown from now on."""

    def __init__(
        self, identity: Identity, tell: Callable[[LeafRenewed | RenewalFailed], None],
        use: Callable[[Identity], None], now_ms: Callable[[], int], dial_from: str = "",
    ) -> None:  # fmt: skip
        self._identity, self._tell, self._use = identity, tell, use
        self._now_ms, self._dial_from = now_ms, dial_from
        self._asked: RenewLeaf | None = None
        self._stirred = asyncio.Event()

    def perform(self, effect: RenewLeaf) -> None:
        self._asked = effect
        self._stirred.set()

    async def serve(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            if self._asked is not None:
                self._tell(await self._renewed(self._asked))

    async def _renewed(self, asked: RenewLeaf) -> LeafRenewed | RenewalFailed:
        try:
            tls_key = new_tls_key()
            chain = await self._chain(make_csr(tls_key, self._identity.signer.public_key), asked)
            self._identity = await asyncio.to_thread(
                keystore.renew, self._identity.directory.parent, chain_pem=chain, tls_key=tls_key
            )
        except (LocalError, RemoteError) as error:
            log.warning("certificate not renewed", extra={"error": str(error)})
            return RenewalFailed(str(error))
        self._use(self._identity)
        renewed = self._identity
        log.info("certificate renewed", extra={"until_ms": renewed.expires_ms})
        return LeafRenewed(renewed.leaf_sha256.hex(), renewed.not_before_ms, renewed.expires_ms)

    async def _chain(self, csr: bytes, asked: RenewLeaf) -> bytes:
        """Leaf and intermediate, PEM. Raises ``LocalError`` or ``RemoteError``."""
        enroller = self._identity.enroller
        if enroller is None:
            return await self._ask_everybody(csr, asked)
        return issue_leaf(
            csr, mesh=self._identity.mesh, name=self._identity.name, record_key=self._identity.signer.public_key,
            enroller_key_pem=enroller.key_pem.reveal(), enroller_cert_pem=enroller.certificate_pem,
            wall_ms=self._now_ms(),
        )  # fmt: skip

    async def _ask_everybody(self, csr: bytes, asked: RenewLeaf) -> bytes:
        failures: list[str] = []
        addresses = [host_and_port(*address) for address in asked.addresses]
        chain = await first_answer(addresses, lambda address: self._ask(address, csr), failures)
        if chain is None:
            raise RemoteError("nobody-renews", "; ".join(failures) or "no enroller's address is known")
        return chain

    async def _ask(self, address: str, csr: bytes) -> bytes:
        identity = self._identity
        async with dialogue(address, enrolment_client_context(identity.bundle.root_pem), self._dial_from) as enroller:
            greeting = await enroller.greeting()
            check_peer(verified_chain(enroller.tls), identity.mesh, MeshClock(0), _TIMELESS, None)
            leaf_sha256 = hashlib.sha256(presented_leaf(enroller.tls)).digest()
            request = make_renewal_request(identity.member_record, csr, identity.signer, greeting.nonce, leaf_sha256)
            return read_renewed(await enroller.exchange(request), identity.bundle, identity.name).chain_pem
