"""WebSocket with what is not ours: a reverse proxy that has TLS, and Kubo."""

from __future__ import annotations

import io
import json
import secrets
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import WebLayer
from p2pnode.ipfs import unixfs
from p2pnode.ipfs.bitswap import open_bitswap
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.network.host import Unreachable, open_host

from .kubo_daemon import running_daemon, told
from .network_support import LOOPBACK, new_identity, until
from .relay_support import TIMEOUT_S
from .test_api_tls import certificate

WEB = f"{LOOPBACK}/ws"


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_tls_is_dialled_with_the_machine_s_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    cert, key = certificate(tmp_path / "tls")
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async with (
        open_host(new_identity(), [LOOPBACK]) as a,
        open_host(new_identity(), [WEB]) as b,
        trio.open_nursery() as nursery,
    ):
        behind = addressing.parse(b.addresses()[0])

        async def proxy(outside: trio.SSLStream[trio.SocketStream]) -> None:
            with suppress(trio.BrokenResourceError):
                async with await trio.open_tcp_stream(behind.host, behind.port) as inside:
                    async with trio.open_nursery() as both:
                        both.start_soon(copied, outside, inside)
                        both.start_soon(copied, inside, outside)

        (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, proxy, [listener])
        port = listener.transport_listener.socket.getsockname()[1]
        if is_trusted:
            await a.connect(b.peer_id, [f"/dns4/localhost/tcp/{port}/wss"], TIMEOUT_S)
            assert a.dialled_at(b.peer_id) == [f"/ip4/127.0.0.1/tcp/{port}/tls/sni/localhost/ws"]
            await a.disconnect(b.peer_id)
            await a.connect(b.peer_id, [f"/ip4/127.0.0.1/tcp/{port}/tls/sni/node.example/ws"], TIMEOUT_S)
            await a.disconnect(b.peer_id)
        with pytest.raises(Unreachable, match="certificate"):
            await a.connect(b.peer_id, [f"/ip4/127.0.0.1/tcp/{port}/tls/sni/other.example/ws"], TIMEOUT_S)
        nursery.cancel_scope.cancel()


async def copied(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in source:
            await sink.send_all(data)
        await sink.aclose()


async def test_blocks_go_both_ways_with_kubo_whichever_side_dials(tmp_path: Path) -> None:
    directory = tmp_path / "kubo"
    directory.mkdir()
    with running_daemon(directory, web=True):
        kubo = json.loads(told(directory, "id"))
        (address,) = [one for one in kubo["Addresses"] if "/127.0.0.1/" in one]
        assert addressing.parse(address).web is WebLayer.PLAIN
        store = BlockStore(tmp_path / "store")
        async with open_host(new_identity(), [WEB]) as host, open_bitswap(host, store) as bitswap:
            for dials in (True, False):
                if dials:
                    await host.connect(kubo["ID"], [address], TIMEOUT_S)
                else:
                    await trio.to_thread.run_sync(told, directory, "swarm", "connect", host.addresses()[0])
                data = secrets.token_bytes(2_000_000)
                ours = unixfs.add_file(io.BytesIO(data), store.put)
                await trio.to_thread.run_sync(lambda: told(directory, "pin", "add", ours))  # noqa: B023
                text = secrets.token_hex(1_000_000)
                added = await trio.to_thread.run_sync(lambda: told(directory, "add", "-Q", given=text))  # noqa: B023
                await bitswap.fetch_dag(added.strip(), [kubo["ID"]])
                await host.disconnect(kubo["ID"])
                await until(lambda: not host.connected())
