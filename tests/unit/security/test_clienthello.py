"""The peek at the first bytes of a connection."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.security.clienthello import PEEK_BYTES_MAX, PIPE, PIPE_PREFACE, Alpn, NeedMore, NotTls, alpn_of


def captured(protocols: list[str], *, old: bool = False, host: str | None = None) -> bytes:
    """The ClientHello that this machine's OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if old else ssl.TLSVersion.TLSv1_3
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


HELLO = captured(["meshnode/1"])


def built(extensions: bytes, *, records: int = 1) -> bytes:
    """A ClientHello with these extensions, cut into this many TLS records."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2) + extensions
    message = b"\x01" + len(body).to_bytes(3) + body
    step = -(-len(message) // records)
    pieces = [message[at : at + step] for at in range(0, len(message), step)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + len(content).to_bytes(2) + content


def alpn(*names: bytes) -> bytes:
    listed = b"".join(bytes((len(name),)) + name for name in names)
    return extension(16, len(listed).to_bytes(2) + listed)


@pytest.mark.parametrize(
    ("hello", "protocols"),
    [
        (HELLO, ["meshnode/1"]),
        (captured(["meshnode-enrol/1"]), ["meshnode-enrol/1"]),
        (captured(["h2", "http/1.1"], host="example.org"), ["h2", "http/1.1"]),
        (captured(["meshnode/1"], old=True), ["meshnode/1"]),
        (captured([]), []),
        (built(alpn(b"meshnode/1"), records=7), ["meshnode/1"]),
        (built(extension(51, bytes(1300)) + alpn(b"meshnode/1")), ["meshnode/1"]),
        (built(b""), []),
    ],
    ids=["mesh", "enrol", "browser", "tls-1.2", "none", "seven-records", "post-quantum", "no-extensions"],
)
def test_the_offered_protocols_are_read(hello: bytes, protocols: list[str]) -> None:
    assert alpn_of(hello) == Alpn(protocols)
    assert alpn_of(hello + b"whatever follows") == Alpn(protocols)


@pytest.mark.parametrize("hello", [HELLO, built(alpn(b"meshnode/1"), records=7)], ids=["one-record", "seven-records"])
def test_every_beginning_of_a_hello_wants_more(hello: bytes) -> None:
    for end in range(len(hello)):
        assert alpn_of(hello[:end]) == NeedMore(), end


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "not-tls"),
        (b"SSH-2.0-x\r\n", "not-tls"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "not-tls"),
        (b"\x16\x02\x00\x00\x10", "not-tls"),
        (b"\x16\x03\x01\x00\x00", "not-tls"),
        (b"\x16\x03\x01\xff\xff", "not-tls"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not-a-client-hello"),
        (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", "hello-too-long"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "hello-malformed"),
        (built(extension(51, bytes(4200))), "hello-too-long"),
        (built(alpn(b"a") + alpn(b"b")), "alpn-twice"),
        (built(alpn(b"")), "alpn-malformed"),
        (built(alpn(b"\xff")), "alpn-malformed"),
        (built(extension(16, b"\x00\x02\x01a!")), "alpn-malformed"),
        (built(extension(16, b"\x00\x09\x01a")), "hello-malformed"),
        (built(alpn(*[b"x"] * 17)), "alpn-malformed"),
        (built(b"\x00"), "hello-malformed"),
        (built(b"\x00\x10\xff\xff"), "hello-malformed"),
    ],
)
def test_anything_else_is_refused_by_name(data: bytes, reason: str) -> None:
    assert alpn_of(data) == NotTls(reason)


def test_a_preface_is_told_from_all_that_is_tls_and_every_beginning_of_it_wants_more() -> None:
    for end in range(len(PIPE_PREFACE)):
        assert alpn_of(PIPE_PREFACE[:end]) == NeedMore(), end
        assert alpn_of(PIPE_PREFACE[:end] + b"!") == NotTls("not-tls"), end
    assert alpn_of(PIPE_PREFACE + b"whatever follows") == Alpn([PIPE])


def test_a_hello_in_very_many_records_is_given_up_at_the_limit() -> None:
    drip = b"".join(b"\x16\x03\x01\x00\x01" + bytes((byte,)) for byte in b"\x01\x00\x0f\x00" + bytes(1000))
    assert alpn_of(drip[: PEEK_BYTES_MAX - 1]) == NeedMore()
    assert alpn_of(drip) == NotTls("hello-too-long")


@given(data=st.binary(max_size=400))
def test_junk_never_raises(data: bytes) -> None:
    for candidate in (data, b"\x16\x03\x01" + data, PIPE_PREFACE[:1] + data, HELLO[:5] + data, built(data)):
        assert isinstance(alpn_of(candidate), NeedMore | Alpn | NotTls)


@given(at=st.integers(0, len(HELLO) - 1), byte=st.integers(0, 255), end=st.integers(0, len(HELLO)))
def test_a_changed_hello_never_raises(at: int, byte: int, end: int) -> None:
    changed = HELLO[:at] + bytes((byte,)) + HELLO[at + 1 :]
    assert isinstance(alpn_of(changed[:end]), NeedMore | Alpn | NotTls)
