"""The states in a journal and its chunks, read without a node: for verifiers that believe nobody."""

from collections.abc import Callable, Iterable

from meshnode.checkpoints import shelf
from meshnode.checkpoints.state import State
from meshnode.kernel.records import Record
from meshnode.model.ids import InstanceId

GetBlob = Callable[[str], bytes]


def read_state(records: Iterable[Record], get_blob: GetBlob) -> dict[InstanceId, State]:
    """By unit. ``records``: the live ones of a journal, in their order. ``get_blob`` may raise ``LookupError`` or
    ``OSError`` for a chunk that cannot be had; what it returns is checked against the digest.
    """
    found = shelf.read_records(records)
    states: dict[InstanceId, State] = {}
    for unit in found.units():
        manifests = found.manifests.get(unit, [])
        blobs: dict[str, bytes] = {}
        for digest in dict.fromkeys(digest for manifest in manifests for digest in manifest.digests()):
            try:
                blobs[digest] = get_blob(digest)
            except (LookupError, OSError):
                continue  # ``rebuilt`` goes on without it
        states[unit] = shelf.rebuilt(unit, manifests, found.logs.get(unit, []), blobs).state
    return states
