"""Private networks on the line: who has the key is let in, and who has another or none is left at once."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.abc import IRawConnection
from nacl.secret import SecretBox

from p2pnode.network import private_network
from p2pnode.network.host import Host, Unreachable, open_host
from p2pnode.network.private_network import GREETING, OtherNetwork, PrivateConnection, xsalsa20

from .kubo_daemon import environment, program, running_daemon
from .network_support import LOOPBACK, WAIT_S, keys_of, new_identity, until
from .test_network_host import ECHO, connect, echo, echoes

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
# A dial's own deadline is 5 s: these end by what is said, and not by a deadline.
AT_ONCE_S = 3.0
# Fewer than the handshakes that a host takes at once, and in all more than its places for them.
ATTEMPTS_AT_ONCE, ROUNDS = 20, 5
STRANGERS = [
    pytest.param(KEY, OTHER_KEY, "another network key", id="another key"),
    pytest.param(None, KEY, "one of another network", id="from the open network"),
    pytest.param(KEY, None, "a node of the open network", id="into the open network"),
]


async def test_nodes_with_one_key_talk_and_what_they_say_arrives_whole() -> None:
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(KEY)) as a,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(KEY)) as b,
    ):
        b.handle(ECHO, echo)
        await connect(a, b)
        assert await echoes(a, b, os.urandom(4_000_000))
        assert a.remote_host(b.peer_id) == b.remote_host(a.peer_id) == "127.0.0.1"


async def refused(a: Host, b: Host, why: str) -> None:
    with pytest.raises(Unreachable, match=why), trio.fail_after(AT_ONCE_S):
        await a.connect(b.peer_id, b.addresses()[:1], WAIT_S)


@pytest.mark.parametrize(("ours", "theirs", "why"), STRANGERS)
async def test_a_node_of_another_network_is_refused_at_once_and_with_a_reason(
    ours: bytes | None, theirs: bytes | None, why: str
) -> None:
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(ours)) as a,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(theirs)) as b,
    ):
        await refused(a, b, why)
        assert a.connected() == b.connected() == []


@pytest.mark.parametrize(("ours", "theirs", "why"), STRANGERS)
async def test_a_hundred_attempts_from_another_network_leave_nothing_behind(
    ours: bytes | None, theirs: bytes | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    friend_of_b = new_identity()
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(ours)) as a,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(theirs)) as b,
    ):
        await refused(a, b, why)
        before = _held()
        for _ in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                for _ in range(ATTEMPTS_AT_ONCE):
                    # A peer is dialled once at a time, so each is another's id.
                    nursery.start_soon(_attempt, a, new_identity().peer_id, b)
        await until(lambda: _held() <= before)
        assert [one.getMessage() for one in caplog.records if one.levelno >= 20] == []
        async with open_host(friend_of_b, [LOOPBACK], network_keys=keys_of(theirs)) as friend:
            await connect(friend, b)


async def _attempt(a: Host, peer: str, b: Host) -> None:
    with pytest.raises(Unreachable), trio.fail_after(WAIT_S):
        await a.connect(peer, b.addresses()[:1], WAIT_S)


def _held() -> tuple[int, int]:
    """How many descriptors and tasks there are."""
    return len(os.listdir("/dev/fd")), trio.lowlevel.current_statistics().tasks_living


class Pieces(IRawConnection):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """A connection that gives its bytes in pieces of one, and keeps what is written."""

    def __init__(self, data: bytes) -> None:
        self._left = data
        self.written = b""

    async def read(self, n: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        piece, self._left = self._left[:1], self._left[1:]
        return piece

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data

    async def close(self) -> None: ...

    def get_remote_address(self) -> tuple[str, int] | None:
        return None

    def get_transport_addresses(self) -> list[Any]:
        return []

    def get_connection_type(self) -> Any:
        return None


def said(data: bytes, key: bytes = KEY) -> bytes:
    """The bytes that another implementation sends: its nonce, and its words encrypted."""
    nonce = secrets.token_bytes(24)
    return nonce + xsalsa20(key, nonce).encrypt(data)


async def test_the_greeting_may_come_in_any_pieces() -> None:
    connection = PrivateConnection(Pieces(said(GREETING + b"more")), [KEY])
    got = b""
    while piece := await connection.read(7):
        got += piece
    assert got == GREETING + b"more"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        said(GREETING, OTHER_KEY),
        said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        said(GREETING)[:-1],
    ],
    ids=["nothing", "less than a nonce", "another key", "no greeting", "half a greeting"],
)
async def test_what_does_not_begin_with_the_greeting_is_of_another_network(data: bytes) -> None:
    with pytest.raises(OtherNetwork, match="another network key"):
        await PrivateConnection(Pieces(data), [KEY]).read(1)


async def test_what_is_sent_begins_with_a_nonce_and_shows_nothing() -> None:
    first, second = Pieces(b""), Pieces(b"")
    for pieces in (first, second):
        connection = PrivateConnection(pieces, [KEY])
        await connection.write(GREETING)
        await connection.write(GREETING)
        nonce, sent = pieces.written[:24], pieces.written[24:]
        assert xsalsa20(KEY, nonce).decrypt(sent) == 2 * GREETING
        assert b"multistream" not in pieces.written
    assert first.written[:24] != second.written[:24]


def test_the_cipher_is_libsodium_s_xsalsa20() -> None:
    for _ in range(20):
        key, nonce, data = secrets.token_bytes(32), secrets.token_bytes(24), secrets.token_bytes(200)
        # A box is its MAC of 16 bytes, and then encrypted from the stream's byte 32 on.
        box = SecretBox(key).encrypt(data, nonce).ciphertext
        assert xsalsa20(key, nonce).encrypt(bytes(32) + data)[32:] == box[16:]


def test_networks_do_not_meet_by_mdns() -> None:
    names = {private_network.mdns_service(operator) for operator in ("12D3KooWada", "12D3KooWbob")}
    assert len(names) == 2
    assert all(len(name.removeprefix("_").partition(".")[0]) <= 15 for name in names)


async def test_kubo_with_the_same_swarm_key_is_connected_with_and_with_another_refused(
    tmp_path: Path,
) -> None:
    async with (
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(KEY)) as ours,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(OTHER_KEY)) as other,
        open_host(new_identity(), [LOOPBACK], network_keys=keys_of(OTHER_KEY, KEY)) as rotated,
    ):
        with running_daemon(tmp_path, swarm_key=KEY):
            asked = [program(), "id"]
            told = await trio.run_process(asked, env=environment(tmp_path), capture_stdout=True)
            found = json.loads(told.stdout)
            peer, address = found["ID"], found["Addresses"][0].partition("/p2p/")[0]
            await ours.connect(peer, [address], WAIT_S)
            assert ours.connected() == [peer]
            asked = [program(), "swarm", "connect", rotated.addresses()[0]]
            await trio.run_process(asked, env=environment(tmp_path), capture_stdout=True)
            assert rotated.connected() == [peer]
            with pytest.raises(Unreachable, match="another network key"), trio.fail_after(AT_ONCE_S):
                await other.connect(peer, [address], WAIT_S)
