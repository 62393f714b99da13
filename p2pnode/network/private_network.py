"""Connections of a private network: all bytes below Noise encrypted by a key that its nodes share.

As libp2p's specification of private networks has it: a nonce of 24 bytes, then XSalsa20. py-libp2p's own
takes nonces of 8 bytes, which no other implementation does, and reads on for as long as a stranger pleases.
Here whoever has another key, or none, is told by the first bytes, and left at once. While a new key takes
the place of another both count: whoever dials chooses, and who is dialled finds out by the first bytes.
(https://github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md)
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from Crypto.Cipher import Salsa20
from libp2p.abc import IMuxedConn, INetConn, IRawConnection
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.transport.exceptions import SecurityUpgradeFailure
from multiaddr import Multiaddr

NONCE_SIZE_BYTES = 24
# The first that either side says: multistream-select's header, with its length before it.
GREETING = b"\x13/multistream/1.0.0\n"
_OTHER_KEY = (
    "no answer in our network: another network key?"
    " Who was away when it was rotated asks the operator for a new token"
)
_NO_KEY = "a node of the open network answers there"
# A label of mDNS has 15 bytes at most, "p2p-" among them.
_SERVICE_HASH_LENGTH = 10
_MDNS_DOMAIN = b"p2pnode/mdns/1\0"


class OtherNetwork(SecurityUpgradeFailure):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """The other side of a connection is not in this node's private network."""


# The keys of a network that count now, the newest first.
NetworkKeys = Callable[[], Sequence[bytes]]
_dialled_with: ContextVar[bytes | None] = ContextVar("dialled_with", default=None)


@contextmanager
def dialled_with(key: bytes) -> Iterator[None]:
    """Connections that are made within use this key, and not the newest."""
    token = _dialled_with.set(key)
    try:
        yield
    finally:
        _dialled_with.reset(token)


def protect(swarm: Swarm, keys: NetworkKeys) -> None:
    """Have all connections of a swarm be in the private network of these keys, from both sides."""
    inbound, outbound = swarm.upgrade_inbound_raw_conn, swarm.upgrade_outbound_raw_conn

    async def upgrade_inbound(raw: IRawConnection, multiaddr: Multiaddr) -> IMuxedConn:
        return await inbound(PrivateConnection(raw, keys(), dialled=True), multiaddr)

    async def upgrade_outbound(raw: IRawConnection, peer: ID, scope: Any = None) -> INetConn:
        return await outbound(PrivateConnection(raw, [_dialled_with.get() or keys()[0]]), peer, scope)

    swarm.upgrade_inbound_raw_conn, swarm.upgrade_outbound_raw_conn = upgrade_inbound, upgrade_outbound


def mdns_service(operator: str) -> str:
    """The name by which nodes of an operator's network find each other on a LAN, and no others."""
    hashed = base64.b32encode(hashlib.sha256(_MDNS_DOMAIN + operator.encode()).digest()).decode().lower()
    return f"_p2p-{hashed[:_SERVICE_HASH_LENGTH]}._udp.local."


class PrivateConnection(RawConnection):  # type: ignore[misc]  # libp2p is not followed by mypy.
    """A connection whose bytes are encrypted by a network's key.

    Where the other side has `dialled` it has chosen one of the keys: nothing but a nonce goes out before
    that is known.
    """

    def __init__(self, raw: IRawConnection, keys: Sequence[bytes], *, dialled: bool = False) -> None:
        at = raw.get_transport_addresses()
        super().__init__(raw, getattr(raw, "is_initiator", False), addresses=at)
        self._keys = tuple(keys)
        self._dialled = dialled
        self._encrypt: Any = None
        self._decrypt: Any = None
        # Decrypted bytes that nobody has asked for as yet.
        self._received = b""

    async def write(self, data: bytes) -> None:
        nonce = b""
        if self._encrypt is None:
            nonce = secrets.token_bytes(NONCE_SIZE_BYTES)
            if self._dialled:
                # A nonce tells a stranger that this is no node of its network.
                await self.stream.write(nonce)
                if self._decrypt is None:
                    await self._greet()
            self._encrypt = xsalsa20(self._keys[0], nonce)
            nonce = b"" if self._dialled else nonce
        await self.stream.write(nonce + self._encrypt.encrypt(data))

    async def read(self, n: int | None = None) -> bytes:
        if self._decrypt is None:
            await self._greet()
        if self._received:
            size_bytes = len(self._received) if n is None else n
            data, self._received = self._received[:size_bytes], self._received[size_bytes:]
            return data
        return bytes(self._decrypt.decrypt(await self.stream.read(n)))

    async def _greet(self) -> None:
        """Read the nonce and the greeting of the other side; raises `OtherNetwork` for all else."""
        nonce = await self._exactly(NONCE_SIZE_BYTES, refused=GREETING)
        encrypted = await self._exactly(len(GREETING))
        for key in self._keys:
            decrypt = xsalsa20(key, nonce)
            if decrypt.decrypt(encrypted) == GREETING:
                self._keys, self._decrypt, self._received = (key,), decrypt, GREETING
                return
        raise OtherNetwork(_OTHER_KEY)

    async def _exactly(self, size_bytes: int, refused: bytes = b"") -> bytes:
        found = b""
        while len(found) < size_bytes:
            try:
                more = await self.stream.read(size_bytes - len(found))
            except (IOException, RawConnError, OSError) as exc:
                raise OtherNetwork(_OTHER_KEY) from exc
            if not more:
                raise OtherNetwork(_OTHER_KEY)
            found += more
            if refused and found.startswith(refused):
                raise OtherNetwork(_NO_KEY)
        return found


def xsalsa20(key: bytes, nonce: bytes) -> Any:
    """The stream of XSalsa20: Salsa20 by a key made of the first 16 bytes of the nonce."""
    return Salsa20.new(key=_hsalsa20(key, nonce[:16]), nonce=nonce[16:])


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    """Make a key of a key and 16 bytes, once for each direction of a connection.

    (D. J. Bernstein, "Extending the Salsa20 nonce"; no library that is here has it.)
    """
    sigma, k, n = (struct.unpack(f"<{len(one) // 4}I", one) for one in (b"expand 32-byte k", key, nonce))
    x = [sigma[0], *k[:4], sigma[1], *n, sigma[2], *k[4:], sigma[3]]
    for _ in range(10):
        for a, b, c, d in _COLUMNS + _ROWS:
            for to, one, other, bits in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
                total = (x[one] + x[other]) & 0xFFFFFFFF
                x[to] ^= ((total << bits) | (total >> (32 - bits))) & 0xFFFFFFFF
    return struct.pack("<8I", *(x[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


_COLUMNS = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
_ROWS = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))
