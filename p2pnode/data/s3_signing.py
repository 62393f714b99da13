"""How a request to S3 proves whose it is: AWS Signature Version 4, in the Authorization header.

After "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" in the
Amazon S3 API Reference. The secret itself is never sent, and a signature holds for one host,
one request and some minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
# RFC 3986's unreserved characters are quote's own exceptions.
_PATH_SAFE = "/"


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str = field(repr=False)
    # Temporary credentials have one.
    token: str = field(default="", repr=False)


def quote_key(key: str) -> str:
    """An object's key as it stands in a URL's path and is signed."""
    return quote(key, safe=_PATH_SAFE)


def sign(
    credentials: Credentials,
    region: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body_sha256: str,
    now_s: float,
) -> dict[str, str]:
    """`headers` and those that make the request ours. The URL's path and query must be quoted already."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    parts = urlsplit(url)
    signed = {"host": parts.netloc, "x-amz-content-sha256": body_sha256, "x-amz-date": stamp}
    signed |= {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    request = "\n".join(
        [
            method,
            parts.path or "/",
            _query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            body_sha256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, text).hex()
    whose = f"Credential={credentials.access_key}/{scope}"
    return {**signed, "authorization": f"{_ALGORITHM} {whose},SignedHeaders={names},Signature={signature}"}


def _query(query: str) -> str:
    pairs = sorted(
        (quote(name, safe=""), quote(value, safe=""))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
