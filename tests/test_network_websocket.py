"""WebSocket below libp2p: real hosts over it, what strangers may send, and Kubo's."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
import trio
from libp2p.io.abc import ReadWriteCloser
from trio.testing import MockClock

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import WebLayer
from p2pnode.network.connections import local_address_of
from p2pnode.network.host import CannotListen, Unreachable, open_host
from p2pnode.network.websocket import (
    MESSAGE_SIZE_BYTES_MAX,
    UPGRADE_SIZE_BYTES_MAX,
    Framing,
    NoWebSocket,
    WebSocketStream,
)

from .network_support import LOOPBACK, keys_of, new_identity, until
from .relay_support import ECHO, TIMEOUT_S, echo, echoed

WEB, WEB6 = f"{LOOPBACK}/ws", "/ip6/::1/tcp/0/ws"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def framing_pair() -> tuple[Framing, Framing]:
    """Both sides of an upgraded connection: who has dialled, and who listens."""
    dialled, listened = Framing("a:1"), Framing()
    _, answer = listened.take_untrusted(dialled.begin())
    assert dialled.take_untrusted(answer) == (b"", b"")
    return dialled, listened


def test_both_sides_have_the_bytes_of_the_other_however_they_are_cut() -> None:
    dialled, listened = framing_pair()
    for one, other in ((dialled, listened), (listened, dialled)):
        data = secrets.token_bytes(100_000)
        sent = one.framed(data[:7]) + one.framed(data[7:])
        came = b"".join(
            other.take_untrusted(sent[start : start + 999])[0] for start in range(0, len(sent), 999)
        )
        assert came == data


def test_a_ping_is_answered_and_a_goodbye_ends_what_is_read_and_written() -> None:
    dialled, listened = framing_pair()
    ping = bytes([0x89, 0x80 | 2, 0, 0, 0, 0]) + b"hi"
    assert listened.take_untrusted(ping) == (b"", b"\x8a\x02hi")
    listened.take_untrusted(dialled.goodbye())
    assert listened.is_ended
    with pytest.raises(NoWebSocket):
        listened.framed(b"more")


def _masked(first: int, size_bytes: int, data: bytes) -> bytes:
    return bytes([first, 0x80 | 127]) + size_bytes.to_bytes(8, "big") + bytes(4) + data


@pytest.mark.parametrize(
    ("first", "then", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"HTTP/1.1 400"),
        (REQUEST.replace(b"GET / ", b"GET /other ") + b"\r\n", b"", b"HTTP/1.1 404"),
        (REQUEST.replace(b": 13", b": 8") + b"\r\n", b"", b"HTTP/1.1 426"),
        (REQUEST.replace(b"Host: a", b"Host: \xff\xfe") + b"\r\n", b"", None),
        (b"\x13/multistream/1.0.0\n", b"\n\n", None),
        (REQUEST + b"Padding: " + b"a" * UPGRADE_SIZE_BYTES_MAX, b"", None),
        (REQUEST + b"\r\n", b"\x81\x84\0\0\0\0text", None),
        (REQUEST + b"\r\n", _masked(0x82, 1 << 60, bytes(MESSAGE_SIZE_BYTES_MAX + 1)), None),
        (
            REQUEST + b"\r\n",
            _masked(0x02, MESSAGE_SIZE_BYTES_MAX, bytes(MESSAGE_SIZE_BYTES_MAX)) + b"\x80\x81\0\0\0\0a",
            None,
        ),
    ],
    ids=[
        "plain HTTP",
        "POST",
        "wrong path",
        "old version",
        "bad host",
        "libp2p",
        "long request",
        "text",
        "oversized frame",
        "oversized message",
    ],
)
def test_what_is_no_websocket_of_ours_ends_the_connection(
    first: bytes, then: bytes, answer: bytes | None
) -> None:
    framing = Framing()
    with pytest.raises(NoWebSocket) as refused:
        [framing.take_untrusted(data) for data in (first, then)]
    if answer is not None:
        assert refused.value.answer.startswith(answer)


@pytest.mark.parametrize(
    "frame",
    [b"\xc2\x80\0\0\0\0", b"\x82\x01a", b"\x83\x80\0\0\0\0", b"\x89\xfe\0\x7e\0\0\0\0"],
    ids=["compressed", "not masked", "unknown kind", "long ping"],
)
def test_a_frame_against_the_standard_ends_the_connection(frame: bytes) -> None:
    framing = Framing()
    offered = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    _, answer = framing.take_untrusted(REQUEST + offered)
    # No compression is agreed on.
    assert b"permessage-deflate" not in answer
    assert framing.take_untrusted(frame) == (b"", b"")
    assert framing.is_ended


@pytest.mark.parametrize("response", [b"HTTP/1.1 301 a\r\nLocation: /b\r\n\r\n", b"SSH-2.0-a\r\n\r\n"])
def test_another_server_than_one_of_websocket_is_named_as_the_reason(response: bytes) -> None:
    dialled = Framing("a:1")
    with pytest.raises(NoWebSocket, match="WebSocket"):
        dialled.take_untrusted(response)


# Real hosts


@pytest.mark.parametrize("key", [None, secrets.token_bytes(32)], ids=["open", "private"])
@pytest.mark.parametrize("listen", [WEB, WEB6])
async def test_hosts_speak_by_websocket_alone_and_know_their_addresses(
    listen: str, key: bytes | None
) -> None:
    async with (
        open_host(new_identity(), [listen], network_keys=keys_of(key)) as a,
        open_host(new_identity(), [listen], network_keys=keys_of(key)) as b,
    ):
        b.handle(ECHO, echo)
        assert all(addressing.parse(one).web is WebLayer.PLAIN for one in b.addresses())
        await a.connect(b.peer_id, b.addresses(), TIMEOUT_S)
        data = secrets.token_bytes(3_000_000)
        assert await echoed(a, b.peer_id, data) == data
        at = addressing.parse(b.addresses()[0])
        assert a.dialled_at(b.peer_id) == [at.transport]
        assert a.remote_host(b.peer_id) == b.remote_host(a.peer_id) == at.host
        (connection,) = b.inner.get_network().get_connections()
        assert local_address_of(connection) == (at.host, at.port)
        await a.disconnect(b.peer_id)
        await until(lambda: not b.connected())


async def test_tcp_and_websocket_have_a_free_port_each_and_tcp_is_dialled_first() -> None:
    async with (
        open_host(new_identity(), [WEB, LOOPBACK]) as a,
        open_host(new_identity(), [LOOPBACK]) as b,
    ):
        plain, web = sorted(map(addressing.parse, a.addresses()), key=lambda one: one.web)
        assert (plain.web, web.web) == (WebLayer.NONE, WebLayer.PLAIN)
        assert web.port != plain.port
        await b.connect(a.peer_id, a.addresses(), TIMEOUT_S)
        assert b.dialled_at(a.peer_id) == [plain.transport]


async def test_one_port_is_not_for_both() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as free:
        port = addressing.parse(free.addresses()[0]).port
    both = [f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/tcp/{port}/ws"]
    with pytest.raises(CannotListen, match="another port"):
        async with open_host(new_identity(), both):
            pass


async def test_whoever_speaks_no_websocket_is_told_so_and_keeps_nobody_out() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [WEB]) as b:
        at = addressing.parse(b.addresses()[0])
        # The other of the two kinds at each.
        with pytest.raises(Unreachable):
            await a.connect(b.peer_id, [replace(at, web=WebLayer.NONE).transport], TIMEOUT_S)
        plain = addressing.parse(a.addresses()[0])
        with pytest.raises(Unreachable, match="WebSocket"):
            await b.connect(a.peer_id, [replace(plain, web=WebLayer.PLAIN).transport], TIMEOUT_S)
        stranger = await trio.open_tcp_stream(at.host, at.port)
        async with stranger:
            await stranger.send_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            with trio.fail_after(TIMEOUT_S):
                received = b"".join([part async for part in stranger])
        assert received.startswith(b"HTTP/1.1 400")
        # Another is silent after half of its request.
        async with await trio.open_tcp_stream(at.host, at.port) as silent:
            await silent.send_all(REQUEST)
            await a.connect(b.peer_id, b.addresses(), TIMEOUT_S)
            assert a.connected() == [b.peer_id]


class Silent(ReadWriteCloser):  # type: ignore[misc]
    """A connection of which nothing comes."""

    async def read(self, n: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...

    def get_remote_address(self) -> None: ...


async def test_an_upgrade_that_does_not_come_ends_after_some_seconds(autojump_clock: MockClock) -> None:
    for host in ("", "a:1"):
        with pytest.raises(NoWebSocket, match="within"):
            await WebSocketStream(Silent(), host).read(1)
