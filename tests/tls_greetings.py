"""The greetings of TLS clients, as real ones send them and as an attacker may bend them."""

from __future__ import annotations

import ssl
import struct
import warnings

import pytest

# The alert that a refused TLS client gets: unrecognized_name.
ALERT = bytes.fromhex("15030100020270")


def greeting(name: str, context: ssl.SSLContext | None = None) -> bytes:
    """The first bytes of a real TLS client."""
    context = context or ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def extended(hello: bytes, kind: int, content: bytes) -> bytes:
    """A greeting with one more extension, at the end."""
    added = struct.pack(">HH", kind, len(content)) + content
    # Record head, handshake head, version, random, session.
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    extensions = hello[at + 2 :] + added
    body = hello[9:at] + len(extensions).to_bytes(2, "big") + extensions
    return hello[:3] + struct.pack(">HBBH", len(body) + 4, 1, 0, len(body)) + body


def in_records(hello: bytes, size: int) -> bytes:
    """The same greeting in records of that size."""
    parts = [hello[at : at + size] for at in range(5, len(hello), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def of_version(version: ssl.TLSVersion, name: str = "allowed.example") -> bytes:
    """The first bytes of a client that speaks one version only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python warns of the old ones.
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return greeting(name, context)
