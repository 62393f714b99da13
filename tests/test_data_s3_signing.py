"""Signatures of requests to S3: the examples of Amazon's own reference, with the keys given there.

From "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
"""

from __future__ import annotations

import calendar
import hashlib

import pytest

from p2pnode.data.s3_signing import EMPTY_SHA256, Credentials, quote_key, sign

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW_S = calendar.timegm((2013, 5, 24, 0, 0, 0))
HOST = "https://examplebucket.s3.amazonaws.com"
PUT_BODY_SHA256 = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


@pytest.mark.parametrize(
    ("method", "url", "headers", "body_sha256", "signature"),
    [
        (
            "GET",
            f"{HOST}/test.txt",
            {"range": "bytes=0-9"},
            EMPTY_SHA256,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            f"{HOST}/{quote_key('test$file.text')}",
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            PUT_BODY_SHA256,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            f"{HOST}/?lifecycle",
            {},
            EMPTY_SHA256,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            f"{HOST}/?prefix=J&max-keys=2",
            {},
            EMPTY_SHA256,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_reference_examples(
    method: str, url: str, headers: dict[str, str], body_sha256: str, signature: str
) -> None:
    signed = sign(EXAMPLE, "us-east-1", method, url, headers, body_sha256, NOW_S)
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert EXAMPLE.secret_key not in str(signed)


def test_secrets_are_not_shown() -> None:
    credentials = Credentials("id", "the-secret", "the-token")
    assert "the-" not in repr(credentials)
    assert sign(credentials, "r", "GET", HOST, {}, EMPTY_SHA256, 0)["x-amz-security-token"] == "the-token"
