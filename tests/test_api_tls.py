"""The API with a certificate: whom clients trust, and at which hosts it answers."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from p2pnode.api import certificates, connections
from p2pnode.api.server import ApiAddress
from p2pnode.api.shapes import TOKEN_FILE
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find
from tests.fake_node import PEER, Served
from tests.raw_http import TIMEOUT_S, to_end

NAMES = "DNS:localhost,DNS:node.example,DNS:*.wild.example,IP:192.0.2.7,IP:2001:db8::7"
JOB = b"Name: %s\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"


def certificate(directory: Path, *more: str) -> tuple[Path, Path]:
    """A certificate that is signed by itself, and its key."""
    directory.mkdir(exist_ok=True)
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={NAMES}"]
    command += ["-keyout", str(key), "-out", str(cert), *(more or ["-nodes"])]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path / "tls")


def in_tls(data_dir: Path, files: tuple[Path, Path], host: str = "127.0.0.1") -> Served:
    return Served(data_dir, ApiAddress(host, 0, *map(str, files)))


def said_to(served: Served, *headers: str, path: str = "/api/v1/id") -> bytes:
    """The answer to a request in TLS whose certificate is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0), timeout=TIMEOUT_S)
    with context.wrap_socket(raw) as connection:
        head = "\r\n".join([f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""])
        connection.sendall(head.encode())
        return to_end(connection)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_commands_on_the_node_s_machine_trust_its_certificate_and_no_other(
    tmp_path: Path, files: tuple[Path, Path], host: str
) -> None:
    with in_tls(tmp_path, files, host).running() as served:
        assert served.url.startswith("https://127.0.0.1:")
        client = find(tmp_path, {})
        assert client.identity()["peer"] == PEER
        job = client.submit(JOB % b"one", "job.yaml")
        assert [one["number"] for one in client.job_events(job, follow=True)]
        # The same address, held by somebody with another certificate.
        node = (tmp_path / "node.json").read_text()
    other = certificate(tmp_path / "other")
    port = urlsplit(served.url).port or 0
    with Served(tmp_path, ApiAddress(host, port, *map(str, other))).running():
        (tmp_path / "node.json").write_text(node)
        with pytest.raises(NodeUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            find(tmp_path, {}).identity()


def test_a_client_elsewhere_trusts_the_authority_that_it_is_told(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    with in_tls(tmp_path, files).running() as served:
        token = (tmp_path / TOKEN_FILE).read_text()
        url = served.url.replace("127.0.0.1", "localhost")
        environ = {"P2PNODE_API": url, "P2PNODE_TOKEN": token}
        elsewhere = tmp_path / "elsewhere"
        with pytest.raises(NodeUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            find(elsewhere, environ).identity()
        told = environ | {"P2PNODE_API_CA": str(files[0])}
        assert find(elsewhere, told).identity()["peer"] == PEER
        # The certificate does not name this one.
        with pytest.raises(NodeUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            find(elsewhere, told | {"P2PNODE_API": served.url}).identity()
        with pytest.raises(NodeUnreachable, match=r"P2PNODE_API_CA: .*key\.pem cannot be used"):
            find(elsewhere, told | {"P2PNODE_API_CA": str(files[1])})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:4701", 200), ("node.example", 200), ("NODE.example:443", 200),
        ("a.wild.example", 200), ("192.0.2.7", 200), ("[2001:db8::7]:4701", 200),
        ("evil.example", 401), ("node.example.evil.example", 401), ("a.b.wild.example", 401),
        ("wild.example", 401), ("*.wild.example", 401), ("nodeXexample", 401), ("0.0.0.0", 401),
    ],
)  # fmt: skip
def test_the_hosts_are_those_of_the_certificate(
    tmp_path: Path, files: tuple[Path, Path], host: str, status: int
) -> None:
    with in_tls(tmp_path, files, "0.0.0.0").running() as served:
        token = (tmp_path / TOKEN_FILE).read_text()
        answer = said_to(served, f"Host: {host}", f"Authorization: Bearer {token}")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_cookie_of_a_node_in_tls_is_secure(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with in_tls(tmp_path, files).running() as served:
        path = find(tmp_path, {}).begin_session().removeprefix(served.url)
        answer = said_to(served, "Host: localhost", path=path)
        assert b"SameSite=Strict; Secure\r\n" in answer


def test_plain_text_and_old_tls_are_not_answered(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with in_tls(tmp_path, files).running() as served:
        place = ("127.0.0.1", urlsplit(served.url).port or 0)
        with socket.create_connection(place, timeout=TIMEOUT_S) as plain:
            plain.sendall(b"GET /api/v1/alive HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"HTTP" not in to_end(plain)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(place, timeout=TIMEOUT_S) as raw, pytest.raises(ssl.SSLError):
            old.wrap_socket(raw)


def test_a_client_that_does_not_come_to_speak_tls_loses_its_connection(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.2)
    with in_tls(tmp_path, files).running() as served:
        place = ("127.0.0.1", urlsplit(served.url).port or 0)
        with socket.create_connection(place, timeout=TIMEOUT_S) as silent:
            assert to_end(silent) == b""


def test_a_certificate_that_cannot_be_used_is_told_with_its_file(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "good")
    _, other = certificate(tmp_path / "other")
    _, locked = certificate(tmp_path / "locked", "-passout", "pass:secret")
    for files, said in (
        ((tmp_path / "none.pem", key), "the certificate .*none.pem .* cannot be read"),
        ((key, key), "the certificate .*key.pem .* is none in PEM"),
        ((cert, tmp_path / "none.pem"), "the key .*none.pem .* cannot be read"),
        ((cert, other), "the key .*other/key.pem .* fits the certificate"),
        ((cert, locked), "the key .*locked/key.pem .* without a passphrase"),
    ):
        with pytest.raises(OSError, match=said):
            certificates.load(*files)
