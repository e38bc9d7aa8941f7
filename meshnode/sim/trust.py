"""Who the simulated nodes are: keys drawn from the seed, under one fixed root of trust.

The root's ECDSA signature draws on the system's randomness, so it was made once and is carried here; its key is gone.
The admin key is the hash of a sentence anybody can read: nothing real must ever believe this mesh.
"""

import base64
import hashlib
from dataclasses import dataclass

from meshnode.kernel.ports import Verifier
from meshnode.model.ids import MeshId, NodeId
from meshnode.security.bundle import Bundle, read_bundle
from meshnode.security.identity import Ed25519Verifier, RecordSigner
from meshnode.security.members import make_member

MESH = MeshId("sim.mesh")
# When the simulated world begins: 2027-01-15. Certificates and member records were made a day earlier.
EPOCH_MS = 1_800_000_000_000
ISSUED_MS = EPOCH_MS - 24 * 3600 * 1000
CACHE_MAX = 1 << 18

_BUNDLE = base64.b64decode(
    "bWIxAZswggGXMIIBPqADAgECAhRELPSYbyvBclpUtf70xY5XE8QmpTAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1zaW0ubWVzaCByb290MB4XDTI3"
    "MDExMzA4MDAwMFoXDTQ3MDEwOTA4MDAwMFowGDEWMBQGA1UEAwwNc2ltLm1lc2ggcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJD4aWRc"
    "Of2M3u0WPmre5jXThfh1QhUKUgKpBJHG/wdZCEATuPtb1AvzXmaR9uR9hGQrumYOFAyd/PzeqKwTDH2jZjBkMB0GA1UdDgQWBBQ6x9vurK1Lt7zf"
    "dNeifnY2yKZc1DAfBgNVHSMEGDAWgBQ6x9vurK1Lt7zfdNeifnY2yKZc1DASBgNVHRMBAf8ECDAGAQH/AgECMA4GA1UdDwEB/wQEAwIBBjAKBggq"
    "hkjOPQQDAgNHADBEAiAWKNFz/JOOWvmUTt8RXjMN/f3CWIHzjNgm0wfQOfkhmQIgaGNFmm6KMuQap6DKuajZQ3VL/k19vjq6rYS73pLS3AAARzBF"
    "AiEAnxEVmZLYPo62cuqW7CDym2GDNWNcF2kOrrqkEBCJAEwCIEtpvNr/dAvyZesdxaNZ9JVfPdca/wmS2rzmumCSnDdMlaZidW5kbGWoc2ltLm1l"
    "c2gBkcUBmzCCAZcwggE+oAMCAQICFEQs9JhvK8FyWlS1/vTFjlcTxCalMAoGCCqGSM49BAMCMBgxFjAUBgNVBAMMDXNpbS5tZXNoIHJvb3QwHhcN"
    "MjcwMTEzMDgwMDAwWhcNNDcwMTA5MDgwMDAwWjAYMRYwFAYDVQQDDA1zaW0ubWVzaCByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkPhp"
    "ZFw5/Yze7RY+at7mNdOF+HVCFQpSAqkEkcb/B1kIQBO4+1vUC/NeZpH25H2EZCu6Zg4UDJ38/N6orBMMfaNmMGQwHQYDVR0OBBYEFDrH2+6srUu3"
    "vN9016J+djbIplzUMB8GA1UdIwQYMBaAFDrH2+6srUu3vN9016J+djbIplzUMBIGA1UdEwEB/wQIMAYBAf8CAQIwDgYDVR0PAQH/BAQDAgEGMAoG"
    "CCqGSM49BAMCA0cAMEQCIBYo0XP8k45a+ZRO3xFeMw39/cJYgfOM2CbTB9A5+SGZAiBoY0Wabooy5BqnoMq5qNlDdUv+TX2+OrqthLvektLcAJHE"
    "ILpBNlAvIbT2J3YRtBKkknDRripovBDIYRvqpEOxhuoY"
)
_ROOT_SHA256 = bytes.fromhex("25d59be8e010c10bb4bef45cc69ec843fbf7fd57dd97882813300bcce8775376")
_ADMIN = RecordSigner(hashlib.sha256(b"meshnode sim admin").digest())


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """One node of the simulated mesh: its record key and what the admin signed about it."""

    name: str
    region: str
    signer: RecordSigner
    member: bytes

    @property
    def node(self) -> NodeId:
        return self.signer.node


def trusted_bundle() -> Bundle:
    return read_bundle(_BUNDLE, _ROOT_SHA256)


def make_identity(seed: bytes, name: str, region: str, roles: tuple[str, ...] = ("member",)) -> Identity:
    """Equal seeds and names give equal keys in every process."""
    signer = RecordSigner(hashlib.sha256(b"record key\0" + seed + b"\0" + name.encode()).digest())
    member = make_member(
        _ADMIN, mesh=MESH, name=name, record_key=signer.public_key, roles=roles, region=region, labels={},
        issued_ms=ISSUED_MS,
    )  # fmt: skip
    return Identity(name=name, region=region, signer=signer, member=member)


def shared_verifier() -> Verifier:
    """One for all nodes of a world: what is true of a signature is true for everybody, and checking it takes time."""
    return Ed25519Verifier(CACHE_MAX)
