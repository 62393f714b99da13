"""The negotiation of protocols with who says anything at all."""

from __future__ import annotations

import pytest
import trio

from p2pnode.core.wire import addresses as addressing
from p2pnode.network.host import Unreachable, open_host
from p2pnode.network.libp2p_host import NEGOTIATE_S_MAX

from .network_support import LOOPBACK, WAIT_S, new_identity


# Far more than there is memory, and what fits it.
@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\xff\xff\x0f", b"\xff\xff\xff\x0f"])
async def test_a_length_that_a_stranger_makes_up_is_no_reason_to_read_on(length: bytes) -> None:
    async with open_host(new_identity(), [LOOPBACK]) as a, trio.open_nursery() as nursery:

        async def answer(stream: trio.SocketStream) -> None:
            await stream.send_all(length)
            await trio.sleep_forever()

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        address = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}"
        with pytest.raises(Unreachable, match="what answers there is no node"), trio.fail_after(WAIT_S):
            await a.connect(new_identity().peer_id, [address], WAIT_S)

        port = int(addressing.parse(a.addresses()[0]).port)
        async with await trio.open_tcp_stream("127.0.0.1", port) as visitor:
            await visitor.send_all(length)
            # Its greeting, then the end, long before a handshake's time is over.
            with trio.fail_after(NEGOTIATE_S_MAX / 2):
                while await visitor.receive_some(4096):
                    pass
        nursery.cancel_scope.cancel()
