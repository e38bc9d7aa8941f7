"""Data directories of nodes that were admitted to one mesh and have never met: what ``meshnode join`` leaves behind."""

import time
from pathlib import Path

from meshnode.host import keystore
from meshnode.host.identity import Identity
from meshnode.model.ids import NodeId
from meshnode.security.authority import issue_leaf, make_csr, new_tls_key
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.members import make_member
from meshnode.security.roles import MEMBER


def admitted(directories: list[Path], regions: list[str]) -> list[NodeId]:
    """The first makes the mesh, the others are admitted by it. A node is called as its directory."""
    wall_ms = time.time_ns() // 1_000_000
    first, _ = keystore.create_mesh(directories[0], name=directories[0].name, region=regions[0], wall_ms=wall_ms)
    others = [_admit(first, at, region) for at, region in zip(directories[1:], regions[1:], strict=True)]
    return [first.node, *others]


def _admit(founder: Identity, directory: Path, region: str) -> NodeId:
    assert founder.admin is not None
    assert founder.enroller is not None
    wall_ms = time.time_ns() // 1_000_000
    record_key, tls_key = new_record_key(), new_tls_key()
    signer = RecordSigner(record_key)
    member = make_member(
        founder.admin, mesh=founder.mesh, name=directory.name, record_key=signer.public_key, roles=(MEMBER,),
        region=region, labels={}, issued_ms=wall_ms,
    )  # fmt: skip
    chain = issue_leaf(
        make_csr(tls_key, signer.public_key), mesh=founder.mesh, name=directory.name, record_key=signer.public_key,
        enroller_key_pem=founder.enroller.key_pem.reveal(), enroller_cert_pem=founder.enroller.certificate_pem,
        wall_ms=wall_ms,
    )  # fmt: skip
    keystore.store_admission(
        directory, root_sha256=founder.bundle.root_sha256, bundle=founder.bundle.data, member=member, chain_pem=chain,
        tls_key=tls_key, record_key=record_key, seeds=(),
    )  # fmt: skip
    return signer.node
