"""Facts of the documents room. (Its wire messages live in ``crdt/letters.py``.)"""

from meshnode.kernel.effects import Fact
from meshnode.model.ids import DocId, NodeId


class DocumentChanged(Fact, frozen=True):
    """A document is not what it was: created, edited, merged, deleted. Told after the commit of the change."""

    doc_id: DocId
    kind: str
    namespace: str
    name: str
    by: NodeId  # the author of the change
    remote: bool
    change: bytes = b""  # id of its envelope
    hlc: int = 0
    fields: tuple[str, ...] = ()  # what it wrote, as stored
    deletes: bool = False
    begins: bool = False  # the first write of a document, or of a deleted one
    lazily: bool = False  # told before its commit: a power cut of all who hold it takes it back


class EnvelopesKept(Fact, frozen=True):
    """The commit of these envelopes is done. For the documents room itself: it gives peers only what is kept."""

    envelopes: tuple[bytes, ...]
    roots: tuple[bytes, ...] = ()  # hashes of roots whose records are kept
