"""The gateway on a real socket: plain and with TLS, and in order at its end."""

import asyncio
import datetime
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.server import Tls, listen, serve
from cloud_gateway.store import open_store
from meshnode.model.errors import LocalError
from tests.gateway.api_kit import TOKEN, serving, settings_of

AUTHORITY = {"Authorization": f"Bearer {TOKEN}"}


def answered(address: str, ask: Callable[[http.client.HTTPConnection], object]) -> object:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        return ask(connection)
    finally:
        connection.close()


def test_one_connection_serves_many_requests_without_waiting_for_acknowledgements() -> None:
    def ask(connection: http.client.HTTPConnection) -> int:
        for _ in range(20):
            connection.request("GET", "/api/v1/nodes?limit=3")
            response = connection.getresponse()
            assert response.status == 200 and len(response.read()) > 100
        return 20

    async def whole() -> None:
        async with serving(12, per_node=2, alive=False) as address:
            assert await asyncio.to_thread(answered, address, ask) == 20

    asyncio.run(whole())
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what makes asyncio set TCP_NODELAY


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read() -> None:
    def ask(connection: http.client.HTTPConnection) -> int:
        connection.putrequest("POST", "/api/v1/commands")
        for name, value in {**AUTHORITY, "Content-Type": "application/json", "Content-Length": "99999999"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b" " * 2_000_000)
        return connection.getresponse().status

    async def whole() -> None:
        async with serving(4, per_node=1, alive=False) as address:
            assert await asyncio.to_thread(answered, address, ask) == 413

    asyncio.run(whole())


def test_an_open_feed_does_not_hold_up_the_end() -> None:
    async def whole() -> None:
        async with serving(4, per_node=1) as address:
            host, port = address.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /api/v1/watch HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            async with asyncio.timeout(20):
                while b"event: hello" not in await reader.readline():
                    pass
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()

    asyncio.run(whole())


def test_a_port_that_is_taken_is_said() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port}") as caught:
            listen("127.0.0.1", port)
        assert caught.value.next_step


def test_with_a_certificate_only_tls_is_spoken(tmp_path: Path) -> None:
    tls = _certificate(tmp_path)

    async def whole() -> None:
        store = await open_store("sqlite::memory:")
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        async with serve(Gateway(store, None, settings_of(port)), listener, tls):
            trusted = ssl.create_default_context(cafile=str(tls.certificate))
            status = await asyncio.to_thread(_status, f"127.0.0.1:{port}", trusted)
            assert status == 200
            with pytest.raises((http.client.HTTPException, OSError)):
                await asyncio.to_thread(_status, f"127.0.0.1:{port}", None)
        await store.close()

    asyncio.run(whole())


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    async def whole() -> None:
        store = await open_store("sqlite::memory:")
        listener = listen("127.0.0.1", 0)
        bad = Tls(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
        with pytest.raises(LocalError, match="certificate") as caught:
            async with serve(Gateway(store, None, settings_of(1)), listener, bad):
                raise AssertionError
        assert caught.value.next_step and listener.fileno() == -1
        await store.close()

    asyncio.run(whole())


def _status(address: str, context: ssl.SSLContext | None) -> int:
    connection = (
        http.client.HTTPSConnection(address, timeout=5, context=context)
        if context
        else http.client.HTTPConnection(address, timeout=5)
    )
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def _certificate(directory: Path) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    tls = Tls(certificate=directory / "gateway.pem", key=directory / "gateway.key")
    tls.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    tls.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return tls
