"""Noise messages are read whole however the network cuts them, and written at once."""

from __future__ import annotations

from typing import Any

import pytest
from libp2p.io.exceptions import IncompleteReadError

from p2pnode.network.noise import _WholeMessages

# Longer than a Noise message, whose length has two bytes.
LONG = bytes(range(256)) * 300


class Wire:
    """A connection that gives what it was told, so many bytes at a time, and keeps what it is given."""

    def __init__(self, incoming: bytes = b"", at_once: int = 1) -> None:
        self.incoming = incoming
        self.at_once = at_once
        self.written: list[bytes] = []

    async def read(self, size_bytes: int) -> bytes:
        size_bytes = min(size_bytes, self.at_once)
        data, self.incoming = self.incoming[:size_bytes], self.incoming[size_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        self.written.append(data)


class Plain:
    """A cipher that leaves messages as they are."""

    def encrypt(self, data: bytes) -> bytes:
        return data

    decrypt = encrypt


def messages(wire: Any) -> _WholeMessages:
    return _WholeMessages(wire, Plain())


async def sent(*texts: bytes) -> bytes:
    wire = Wire()
    for text in texts:
        await messages(wire).write_msg(text)
    return b"".join(wire.written)


@pytest.mark.parametrize("at_once", [1, 7, 65_535, 1_000_000])
async def test_messages_are_read_whole_however_many_bytes_come_at_once(at_once: int) -> None:
    texts = [b"a", b"bc" * 1000, b"d" * 65_000]
    reader = messages(Wire(await sent(*texts), at_once))
    assert [await reader.read_msg() for _ in texts] == texts


async def test_what_is_longer_than_a_message_goes_out_in_one_write_and_in_order() -> None:
    wire = Wire()
    await messages(wire).write_msg(LONG)
    (written,) = wire.written
    reader = messages(Wire(written, len(written)))
    assert await reader.read_msg() + await reader.read_msg() == LONG


@pytest.mark.parametrize(
    ("kept_bytes", "is_clean"),
    [
        pytest.param(0, True, id="between messages"),
        pytest.param(1, False, id="within a length"),
        pytest.param(4, False, id="within a message"),
    ],
)
async def test_an_end_within_a_message_is_told_from_one_between_messages(
    kept_bytes: int, is_clean: bool
) -> None:
    reader = messages(Wire((await sent(b"hello"))[:kept_bytes], 10))
    with pytest.raises(IncompleteReadError) as caught:
        await reader.read_msg()
    assert caught.value.is_clean_close == is_clean
