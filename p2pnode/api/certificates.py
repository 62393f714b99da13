"""The certificate by which the API speaks TLS: read with its key, and the hosts that it names."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

# A chain has some kB.
CERTIFICATE_SIZE_BYTES_MAX = 1024**2


@dataclass(frozen=True, slots=True)
class Certified:
    """TLS of a server, the hosts that its certificate names, and that certificate alone as PEM."""

    context: ssl.SSLContext
    names: tuple[str, ...]
    pem: str


def load(cert: Path, key: Path) -> Certified:
    """TLS with the certificate, or chain, in one PEM file and its key in another.

    Raises `OSError` with a sentence that names the file.
    """
    leaf = _leaf(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A key with a passphrase fails by the empty one, and does not ask at the terminal.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise OSError(
            f"the key {key} (api_key) is none in PEM without a passphrase that fits the certificate {cert}"
            f" (api_cert): {error.reason or error}"
        ) from error
    except OSError as error:
        raise OSError(f"the key {key} (api_key) cannot be read: {error.strerror}") from error
    return Certified(context, _names(leaf), leaf.public_bytes(Encoding.PEM).decode())


def _leaf(path: Path) -> x509.Certificate:
    try:
        with path.open("rb") as file:
            data = file.read(CERTIFICATE_SIZE_BYTES_MAX)
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise OSError(f"the certificate {path} (api_cert) is none in PEM") from error
    except OSError as error:
        raise OSError(f"the certificate {path} (api_cert) cannot be read: {error.strerror}") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts in the form of a Host header."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        # Clients go by no other field.
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (
        *found.get_values_for_type(x509.DNSName),
        *(f"[{one}]" if ":" in str(one) else str(one) for one in addresses),
    )
