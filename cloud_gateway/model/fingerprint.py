"""Equal rows have equal fingerprints, also after a restart: only what differs is written."""

import zlib

import msgspec

from cloud_gateway.model.rows import Row

# What changes without anything having happened.
_RESTLESS = frozenset({"as_of_ms", "rtt_ms", "proof_ms"})


def fingerprint(row: Row) -> int:
    """32 bits over all fields but the restless ones."""
    kept = {name: getattr(row, name) for name in row.__struct_fields__ if name not in _RESTLESS}
    return zlib.crc32(msgspec.msgpack.encode(kept))
