"""The name server of Network Type HTTP: the names of the job, and no others."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire.codec import BadMessage
from p2pnode.engines.http import names as http_names
from p2pnode.engines.http.policy import Policy

POLICY = Policy(domains=("allowed.example", ".wild.example"))


def question(name: str, type: int = 1, flags: int = 0x0100, questions: int = 1, klass: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return struct.pack(">HHHHHH", 7, flags, questions, 0, 0, 0) + labels + struct.pack(">BHH", 0, type, klass)


@pytest.mark.parametrize(
    ("name", "type", "flags", "addresses"),
    [
        ("allowed.example", 1, 0x8580, 1),
        ("SUB.Wild.example", 1, 0x8580, 1),
        ("allowed.example", 28, 0x8580, 0),
        ("allowed.example", 16, 0x8580, 0),
        ("allowed.example", 65_000, 0x8580, 0),
        ("evil.example", 1, 0x8583, 0),
        ("secret.allowed.example", 1, 0x8583, 0),
        ("wild.example.évil", 1, 0x8583, 0),
        ("a" * 63 + ".example", 1, 0x8583, 0),
    ],
)
@pytest.mark.parametrize("more", [b"", bytes.fromhex("00 0029 04d0 00000000 0000"), b"junk"], ids=len)
def test_the_jobs_names_are_at_loopback_and_no_others_exist(
    name: str, type: int, flags: int, addresses: int, more: bytes
) -> None:
    asked = question(name, type)
    found = http_names.answer_untrusted(asked + more, POLICY)
    assert struct.unpack_from(">HHHHHH", found) == (7, flags, 1, addresses, 0, 0)
    assert found[12 : len(asked)] == asked[12:]
    record = struct.pack(">HHHIH4s", 0xC00C, 1, 1, http_names.TTL_S, 4, bytes([127, 0, 0, 1]))
    assert found[len(asked) :] == (record if addresses else b"")


def test_recursion_is_desired_in_the_answer_only_if_it_was_in_the_question() -> None:
    found = http_names.answer_untrusted(question("allowed.example", flags=0), POLICY)
    assert struct.unpack_from(">H", found, 2) == (0x8480,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        question("a.example")[:-1],
        question("a.example", flags=0x8000),
        question("a.example", flags=0x2800),
        question("a.example", questions=0),
        question("a.example", questions=2),
        question("a.example", questions=2) + question("b.example")[12:],
        question("a.example", klass=3),
        question("a" * 64 + ".example"),
        question(".".join(["a" * 60] * 5)),
        bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xC0, 12, 0, 1, 0, 1]),
    ],
)
def test_what_is_no_question_for_a_name_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        http_names.answer_untrusted(data, POLICY)


@given(
    st.binary(max_size=600)
    | st.binary(max_size=300).map(lambda data: question("allowed.example")[:12] + data)
)
def test_any_bytes_are_a_question_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        assert len(http_names.answer_untrusted(data, POLICY)) <= http_names.MESSAGE_SIZE_BYTES_MAX
