"""What a gateway may be started with, and what it says when it may not."""

import datetime
import ipaddress
import socket
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_gateway import home
from cloud_gateway.__main__ import main, page_is_whole
from cloud_gateway.api.settings import PAGE
from cloud_gateway.settings import Settings, check_open, parse_address, read_token
from meshnode.model.errors import Denied, Invalid, LocalError

TOKEN = "0123456789abcdef"


def settings(directory: Path, **given: object) -> Settings:
    return Settings(**{"directory": directory, "store": "sqlite::memory:", "token": TOKEN, **given})  # pyright: ignore[reportArgumentType]


def certificate(directory: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A directory that looks like a node's; no daemon runs there."""
    (tmp_path / "identity").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:7900", "127.0.0.1", 7900), ("[::1]:0", "::1", 0), ("Localhost:80", "localhost", 80)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":80", "::1:80", "a:99999", "a:b", "a b:80", "[::1:80"])
def test_an_address_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_address(text)
    assert "127.0.0.1:7900" in refused.value.next_step


@pytest.mark.parametrize(
    ("tls", "token", "missing"),
    [(False, False, ("--tls-cert", "--token-file")), (True, False, ("--token-file",)), (False, True, ("--tls-cert",))],
)
def test_an_open_address_without_tls_and_token_is_refused(*, tls: bool, token: bool, missing: tuple[str, ...]) -> None:
    with pytest.raises(Denied) as refused:
        check_open("0.0.0.0", tls=tls, token=token)
    assert all(word in refused.value.message for word in missing)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_neither(host: str) -> None:
    check_open(host, tls=False, token=False)


@pytest.mark.parametrize("store", ["", "sqlite:", "mysql://x", "/a/file"])
def test_a_store_that_nobody_knows_is_refused(tmp_path: Path, store: str) -> None:
    with pytest.raises(Invalid, match="store"):
        settings(tmp_path, store=store)


def test_a_password_in_a_store_is_not_shown(tmp_path: Path) -> None:
    assert settings(tmp_path, store="postgresql://me:secret@db/x").shown_store == "postgresql://me:...@db/x"


@pytest.mark.parametrize("token", ["", "short", "with a\nnewline in it!", "ümlauts are not allowed"])
def test_a_weak_token_is_refused_without_being_shown(tmp_path: Path, token: str) -> None:
    with pytest.raises(Invalid) as refused:
        settings(tmp_path, token=token)
    assert not token or token not in refused.value.message


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="TLS"):
        settings(tmp_path, tls_cert=tmp_path / "cert.pem")


def test_files_that_are_no_certificate_are_refused_by_name(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    settings(tmp_path, tls_cert=cert, tls_key=key)
    key.write_text("junk")
    with pytest.raises(Invalid, match=r"cert\.pem"):
        settings(tmp_path, tls_cert=cert, tls_key=key)
    with pytest.raises(Invalid, match="No such file"):
        settings(tmp_path, tls_cert=tmp_path / "none.pem", tls_key=key)


def test_a_token_is_made_once_and_is_its_owners(node: Path) -> None:
    kept = home.make_home(node)
    token = home.kept_token(kept)
    assert home.kept_token(kept) == token
    assert len(token) >= 24
    assert (kept / "token").stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700


def test_a_token_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="token-file"):
        read_token(tmp_path / "none")


def test_the_port_of_the_last_start_is_taken_again_unless_it_is_taken(node: Path) -> None:
    home.make_home(node)
    with home.listening(settings(node, remembered=True)) as first:
        port = first.getsockname()[1]
    with home.listening(settings(node, remembered=True)) as again:
        assert again.getsockname()[1] == port
        with home.listening(settings(node, remembered=True)) as other:
            assert other.getsockname()[1] != port


def test_a_wished_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LocalError, match="cannot listen"):
        home.listening(settings(tmp_path, port=taken.getsockname()[1]))


def test_it_answers_to_the_names_of_this_machine_and_no_others(tmp_path: Path) -> None:
    assert home.hosts(settings(tmp_path), 7900) == {"127.0.0.1:7900", "[::1]:7900", "localhost:7900"}
    cert, key = certificate(tmp_path)
    found = home.hosts(settings(tmp_path, host="0.0.0.0", tls_cert=cert, tls_key=key, names=("fleet.example",)), 443)
    assert {"fleet.example:443", "fleet.example", "127.0.0.1:443"} <= found


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--listen", "0.0.0.0:7900"), 4, "--tls-cert"),
        (("--listen", "nonsense"), 2, "HOST:PORT"),
        (("--store", "mysql://x"), 2, "store"),
        (("--token-file", "/nonexistent"), 2, "token-file"),
    ],
)
def test_the_program_refuses_with_what_is_wrong_and_what_next(
    node: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, told: str
) -> None:
    assert main(["--dir", str(node), *words]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "\n -> " in err
    assert told in err
    assert "Traceback" not in err


def test_without_a_node_it_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path)]) == 3
    assert "meshnode up" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_a_page_without_its_libraries_is_noticed(tmp_path: Path) -> None:
    assert not page_is_whole(tmp_path)
    assert page_is_whole(PAGE)
