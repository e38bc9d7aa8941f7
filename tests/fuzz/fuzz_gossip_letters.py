"""Fuzz target: bytes of a peer into every parser of gossip. The first byte chooses which:

    0 a letter   1 a rumour   2 a row   3 a soft fact   4 a refresh   5 an alert   6 a batch of alerts   7 a row of the
    catalogue   8 a region's summary   9 a row as the journal keeps it   10 a question to another region   11 its answer

Property beside "no exception but RemoteError": what is accepted is the same when it is written and read again, so no
two nodes read one letter differently after it was passed on.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from meshnode.gossip import alerts, row
from meshnode.gossip.archive import Archive
from meshnode.gossip.catalogue import decode_row
from meshnode.gossip.directory import Directory
from meshnode.gossip.facts import decode_fact, decode_refresh
from meshnode.gossip.letters import LETTER_BYTES_MAX, AlertRumour, AlertsRumour, decode, decode_rumour, encode
from meshnode.gossip.summaries import decode_summary
from meshnode.kernel.ports import Member
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId
from meshnode.node import beyond_letters

CORPUS = Path(__file__).parent / "corpus" / "gossip_letters"
Parser = Callable[[bytes], None]


class Nobody:
    """A trust that admits nobody, and a verifier that believes nobody."""

    def admit(self, record: bytes) -> Member | str:
        return f"no members in {len(record)} bytes"

    def member(self, node: NodeId) -> Member | None:
        return None

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return False


def _letter(body: bytes) -> None:
    letter = decode(body)
    again = encode(letter)
    assert len(again) <= LETTER_BYTES_MAX and decode(again) == letter


def _rumour(body: bytes) -> None:
    rumour = decode_rumour(body)
    assert decode_rumour(encode(rumour)) == rumour


def _row(body: bytes) -> None:
    read = row.read(body)
    assert row.read(row.encode_row(read)) == read
    row.check_facts(read)


def _alert(body: bytes) -> None:
    assert len(alerts.read(AlertRumour(body, bytes(64)))) == 1


def _alerts(body: bytes) -> None:
    told = alerts.read(AlertsRumour(body, bytes(64)))
    assert told and len({alert.observer for alert in told}) == 1


def _stored(body: bytes) -> None:
    directory = Directory(Nobody(), Nobody())
    archive = Archive([Record(RecordKind.DIRECTORY, body[:32], body)])
    for record in archive.taken(1):
        assert directory.recall(record) is None
    assert len(directory) == 0


def _same(read: Callable[[bytes], msgspec.Struct], write: Callable[[msgspec.Struct], bytes]) -> Parser:
    def parse(body: bytes) -> None:
        found = read(body)
        assert read(write(found)) == found

    return parse


_pack = msgspec.msgpack.Encoder().encode
PARSERS: tuple[Parser, ...] = (
    _letter, _rumour, _row, _same(decode_fact, _pack), _same(decode_refresh, _pack), _alert, _alerts,
    _same(decode_row, _pack), _same(decode_summary, _pack), _stored,
    _same(beyond_letters.decode_question, beyond_letters.encode),
    _same(beyond_letters.decode_detail, beyond_letters.encode),
)  # fmt: skip


def one_input(data: bytes) -> None:
    PARSERS[data[0] % len(PARSERS) if data else 0](data[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("gossip_letters", one_input, CORPUS))
