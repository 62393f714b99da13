"""A real host on loopback, and what peers and handlers may do to it without ending it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from typing import NoReturn

import pytest
import trio

from p2pnode.network import libp2p_host
from p2pnode.network.dependency_logs import limit_dependency_logs
from p2pnode.network.host import CannotListen, Connected, Disconnected, Host, Unreachable, open_host
from p2pnode.network.noise import VISITS_BURST
from p2pnode.network.streams import NetworkError, Stream, StreamBroken

from .network_support import LOOPBACK, WAIT_S, new_identity, until

ECHO = "/test/echo/1"


async def echo(stream: Stream) -> None:
    while data := await stream.read_some(65_536, WAIT_S):
        await stream.write(data, WAIT_S)


async def connect(a: Host, b: Host) -> None:
    await a.connect(b.peer_id, b.addresses(), WAIT_S)


async def echoes(a: Host, b: Host, data: bytes = b"hello") -> bool:
    """Whether b, which serves ECHO, does so for a."""
    async with await a.open_stream(b.peer_id, [ECHO], WAIT_S) as stream:
        await stream.write(data, WAIT_S)
        return await stream.read_exactly(len(data), WAIT_S) == data


async def test_bytes_go_there_and_back() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        await connect(a, b)
        assert await echoes(a, b)
        # Far more than libp2p's own read_exactly manages.
        assert await echoes(a, b, os.urandom(12_000_000))


async def test_an_address_that_is_dead_does_not_hinder_the_next() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        await a.connect(b.peer_id, ["/ip4/127.0.0.1/tcp/1", "junk", *b.addresses()], WAIT_S)
        assert a.connected() == [b.peer_id]
        assert a.remote_host(b.peer_id) == "127.0.0.1"


async def test_a_failed_dial_names_what_was_tried_and_the_next_one_works() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a:
        identity = new_identity()
        with pytest.raises(Unreachable, match=r"/ip4/127\.0\.0\.1/tcp/1:"):
            await a.connect(identity.peer_id, ["/ip4/127.0.0.1/tcp/1"], WAIT_S)
        with pytest.raises(Unreachable, match="no address of it is known"):
            await a.connect(identity.peer_id, [], WAIT_S)
        async with open_host(identity, [LOOPBACK]) as b:
            await connect(a, b)


@pytest.mark.parametrize(("age_s", "left"), [(60.0, 1), (0.0, 2)])
async def test_a_connection_that_its_peer_has_given_up_goes_before_the_next_and_no_crossing_one(
    age_s: float, left: int
) -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        here, there = a.inner.get_network(), b.inner.get_network()
        await connect(a, b)
        await until(b.connected)
        old = there.get_connections()[0]
        old._created_at -= age_s
        # As a move does it: its goodbye does not arrive.
        here.remove_conn(here.get_connections()[0])
        await connect(a, b)
        await until(lambda: any(one is not old for one in there.get_connections()))
        assert len(there.get_connections()) == left


async def test_a_peer_with_another_identity_is_not_taken_for_the_one_asked_for() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        with pytest.raises(Unreachable):
            await a.connect(new_identity().peer_id, [b.addresses()[0].split("/p2p")[0]], WAIT_S)
        with pytest.raises(Unreachable, match="this node itself"):
            await a.connect(a.peer_id, a.addresses(), WAIT_S)


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("/ip4/127.0.0.1/udp/1/quic-v1", "is not like"),
        ("/dns/localhost/tcp/0", "an IP address is needed"),
        ("/ip4/192.0.2.77/tcp/0", "Cannot assign"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_named(listen: str, reason: str) -> None:
    with pytest.raises(CannotListen, match=reason):
        async with open_host(new_identity(), [listen]):
            pass


async def test_a_taken_port_is_an_error_although_libp2p_would_share_it() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a:
        taken = a.addresses()[0].split("/p2p")[0]
        with pytest.raises(CannotListen, match="Address already in use"):
            async with open_host(new_identity(), [taken]):
                pass


async def test_a_closed_host_frees_its_port() -> None:
    identity = new_identity()
    async with open_host(new_identity(), [LOOPBACK]) as b:
        async with open_host(identity, [LOOPBACK]) as a:
            address = a.addresses()[0].split("/p2p")[0]
            await connect(b, a)
        async with open_host(identity, [address]) as a:
            await until(lambda: not b.connected())
            await connect(b, a)


async def test_what_fails_inside_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_host(new_identity(), [LOOPBACK]):
            raise ZeroDivisionError


async def test_a_handler_that_raises_costs_its_stream_only() -> None:
    async def fail(stream: Stream) -> NoReturn:
        await stream.read_exactly(1, WAIT_S)
        raise RuntimeError("on purpose")

    async def fail_in_a_nursery(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, stream)
            nursery.start_soon(trio.sleep_forever)

    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        for handler in (fail, fail_in_a_nursery):
            b.handle("/test/fail/1", handler)
            b.handle(ECHO, echo)
            await connect(a, b)
            stream = await a.open_stream(b.peer_id, ["/test/fail/1"], WAIT_S)
            await stream.write(b"x", WAIT_S)
            with pytest.raises(StreamBroken):
                await stream.read_exactly(1, WAIT_S)
            assert await echoes(a, b)


async def test_a_handler_has_its_time_and_no_more() -> None:
    async def sleep(stream: Stream) -> None:
        await trio.sleep_forever()

    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle("/test/sleep/1", sleep, time_limit_s=0.2)
        await connect(a, b)
        stream = await a.open_stream(b.peer_id, ["/test/sleep/1"], WAIT_S)
        with pytest.raises(StreamBroken):
            await stream.read_exactly(1, WAIT_S)


async def test_a_peer_gets_so_many_streams_of_a_protocol_and_no_more() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo, streams_per_peer_max=2)
        await connect(a, b)
        kept = [await a.open_stream(b.peer_id, [ECHO], WAIT_S) for _ in range(2)]
        for stream in kept:
            await stream.write(b"x", WAIT_S)
            await stream.read_exactly(1, WAIT_S)
        with pytest.raises(NetworkError):
            await echoes(a, b)
        for stream in kept:
            await stream.close()
        await until(lambda: not b._inbound)
        assert await echoes(a, b)


async def test_a_silent_peer_costs_no_more_than_the_time_given() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        await connect(a, b)
        # More than the 256 streams that a connection has room for.
        for _ in range(260):
            stream = await a.open_stream(b.peer_id, [ECHO], WAIT_S)
            with pytest.raises(StreamBroken, match="nothing came"):
                await stream.read_exactly(1, 0)
        assert await echoes(a, b)


async def test_a_protocol_that_the_peer_does_not_speak_is_named() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        await connect(a, b)
        with pytest.raises(Unreachable, match="/test/none/1"):
            await a.open_stream(b.peer_id, ["/test/none/1"], WAIT_S)
        await a.disconnect(b.peer_id)
        with pytest.raises(Unreachable, match="is not connected"):
            await a.open_stream(b.peer_id, [ECHO], WAIT_S)


async def test_cancelled_writers_do_not_hurt_the_connection() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        await connect(a, b)

        async def write_and_be_cancelled(after_s: float) -> None:
            stream = await a.open_stream(b.peer_id, [ECHO], WAIT_S)
            with trio.move_on_after(after_s):
                await stream.write(bytes(4_000_000), WAIT_S)
            await stream.reset()

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(write_and_be_cancelled, number / 500)
        assert a.connected() == [b.peer_id]
        assert await echoes(a, b)


async def test_garbage_instead_of_a_handshake_is_survived() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        port = int(b.addresses()[0].split("/")[4])
        for data in (
            os.urandom(300),
            b"",
            b"\x13/multistream/1.0.0\n",
            b"\x13/multistream/1.0.0\n\x07/noise\n" + bytes(70),
        ):
            connection = await trio.open_tcp_stream("127.0.0.1", port)
            await connection.send_all(data)
            await connection.aclose()
        await connect(a, b)
        assert await echoes(a, b)


async def test_garbage_on_libp2ps_own_protocols_is_survived() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(ECHO, echo)
        await connect(a, b)
        for protocol in ("/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"):
            for data in (os.urandom(300), b"", b"\xff" * 20):
                stream = await a.open_stream(b.peer_id, [protocol], WAIT_S)
                await stream.write(data, WAIT_S)
                await stream.close()
        assert await echoes(a, b)


async def test_connections_are_reported_once_each_way() -> None:
    events: list[Connected | Disconnected] = []
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.watch(events.append)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(connect, a, b)
        await until(lambda: events)
        await a.disconnect(b.peer_id)
        await until(lambda: len(events) > 1)
        assert events == [Connected(a.peer_id, "127.0.0.1", inbound=True), Disconnected(a.peer_id)]


async def test_addresses_are_real_and_on_loopback_are_told() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        await connect(a, b)
        (address,) = a.tellable_addresses()
        assert address.endswith(f"/p2p/{a.peer_id}")
        assert int(address.split("/")[4]) > 0


async def test_a_wildcard_is_told_as_the_interfaces_that_it_stands_for() -> None:
    async with open_host(new_identity(), ["/ip4/0.0.0.0/tcp/0"]) as a:
        assert a.addresses()
        assert not any("0.0.0.0" in address for address in a.addresses())


_NOISY = """
import secrets, sys, trio
from p2pnode.identity import Identity
from p2pnode.network.host import open_host
from p2pnode.network.streams import NetworkError

async def main():
    async with open_host(Identity(secrets.token_bytes(32)), ["/ip4/127.0.0.1/tcp/0"]) as a:
        async with open_host(Identity(secrets.token_bytes(32)), ["/ip4/127.0.0.1/tcp/0"]) as b:
            async def fail(stream):
                raise RuntimeError
            b.handle("/test/fail/1", fail)
            await a.connect(b.peer_id, b.addresses(), 10)
            for protocol in ("/test/none/1", "/test/fail/1"):
                try:
                    await a.open_stream(b.peer_id, [protocol], 10)
                except NetworkError:
                    pass
        try:
            await a.connect(b.peer_id, ["/ip4/127.0.0.1/tcp/1"], 10)
        except NetworkError:
            pass

trio.run(main)
"""


def test_nothing_is_written_to_stderr_and_the_end_is_clean() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOISY], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_libraries_logs_can_be_had(caplog: pytest.LogCaptureFixture) -> None:
    try:
        limit_dependency_logs()
        logging.getLogger("libp2p.network.auto_connector").warning("hidden")
        limit_dependency_logs(logging.WARNING)
        logging.getLogger("libp2p.network.auto_connector").warning("shown")
        logging.getLogger("libp2p.network.auto_connector").info("too fine")
        assert [record.message for record in caplog.records] == ["shown"]
    finally:
        limit_dependency_logs()


async def test_idle_connections_to_the_port_do_not_keep_peers_out_for_ever() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        port = int(b.addresses()[0].split("/")[4])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        try:
            await connect(a, b)
        finally:
            for connection in idle:
                connection.close()


async def test_a_wildcard_is_reached_by_loopback_too() -> None:
    async with open_host(new_identity(), ["/ip4/0.0.0.0/tcp/0"]) as host:
        assert any(address.startswith("/ip4/127.0.0.1/") for address in host.addresses())


async def test_a_host_lets_in_more_peers_over_time_than_it_holds_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libp2p_host, "CONNECTIONS_MAX", 2)
    async with open_host(new_identity(), [LOOPBACK]) as b:
        for _ in range(4):
            async with open_host(new_identity(), [LOOPBACK]) as a:
                await connect(a, b)
            await until(lambda: not b.connected())


async def connect_and_echo(a: Host, b: Host) -> bool:
    await connect(a, b)
    return await echoes(a, b)


async def test_a_peer_that_connects_again_and_again_is_turned_away_and_others_are_not() -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        a.handle(ECHO, echo)
        for _ in range(int(VISITS_BURST)):
            await connect(b, a)
            assert await echoes(b, a)
            await b.disconnect(a.peer_id)
        with pytest.raises(NetworkError):
            await connect_and_echo(b, a)
        async with open_host(new_identity(), [LOOPBACK]) as c:
            assert await connect_and_echo(c, a)
