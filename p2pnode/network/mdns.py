"""Finding nodes on the same LAN by multicast DNS, as libp2p's specification has it.

(https://github.com/libp2p/specs/blob/master/discovery/mdns.md, with the service name of
ours or of the private network, so that no other libp2p peer is found.) py-libp2p's own blocks the
whole node for seconds while it registers, and only ever fills the peerstore. Here
zeroconf works in its own threads; what it finds comes to trio by a token.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire.addresses import BadAddress

from .scopes import shielded

log = logging.getLogger(__name__)

SERVICE = "_p2p-p2pnode._udp.local."
# A resource record's string ends there, and its key takes some.
ADDRESS_SIZE_BYTES_MAX = 240
ADDRESSES_MAX = 8
LOOKUP_MS = 3_000
# Closing says goodbye to the LAN, which may take a second.
CLOSE_S_MAX = 3.0

# Called as found(peer, addresses), in trio's thread.
Found = Callable[[str, list[str]], None]


def encode_txt(addresses: Sequence[str]) -> bytes:
    """The TXT record: for each address (with `/p2p/ID`) one string, its length before it."""
    strings = [
        f"dnsaddr={address}".encode()
        for address in addressing.interleaved(addresses)
        if len(address) <= ADDRESS_SIZE_BYTES_MAX
    ]
    return b"".join(bytes([len(string)]) + string for string in strings[:ADDRESSES_MAX])


def decode_txt_untrusted(data: bytes) -> dict[str, list[str]]:
    """The addresses in a TXT record, by peer. What is no address is left out; nothing is raised."""
    peers: dict[str, list[str]] = {}
    rest = data
    while rest and sum(map(len, peers.values())) < ADDRESSES_MAX:
        size_bytes = rest[0]
        key, _, text = rest[1 : 1 + size_bytes].decode("ascii", "replace").partition("=")
        rest = rest[1 + size_bytes :]
        if key != "dnsaddr":
            continue
        try:
            for peer, addresses in addressing.by_peer([text]).items():
                peers.setdefault(peer, []).extend(addresses)
        except BadAddress:
            continue
    return peers


async def announce_and_find(own: str, addresses: Sequence[str], found: Found, service: str = SERVICE) -> None:
    """Announces this node and looks for others of the same service until cancelled.

    Loopback addresses are announced only by a node that has no others, and then on
    loopback only. Where there is no multicast, this logs so and waits.
    """
    wide = [address for address in addresses if addressing.scope_of(addressing.parse(address).host)]
    interfaces = InterfaceChoice.All if wide else ["127.0.0.1"]
    version = _version_of(wide)
    try:
        zeroconf = await trio.to_thread.run_sync(lambda: Zeroconf(interfaces=interfaces, ip_version=version))
    except OSError as exc:
        log.info("no mDNS on this machine: %s", exc)
        await trio.sleep_forever()
    try:
        token = trio.lowlevel.current_trio_token()
        listener = _Listener(token, own, found)
        await trio.to_thread.run_sync(lambda: _start(zeroconf, service, wide or list(addresses), listener))
        await trio.sleep_forever()
    except (OSError, ZeroconfError) as exc:
        log.info("no mDNS on this machine: %r", exc)
        await trio.sleep_forever()
    finally:
        with shielded(CLOSE_S_MAX):
            await trio.to_thread.run_sync(zeroconf.close, abandon_on_cancel=True)


def _version_of(addresses: Sequence[str]) -> IPVersion:
    """The kinds of multicast that reach whoever can dial these addresses."""
    families = {addressing.parse(one).family for one in addresses}
    if families == {"ip4", "ip6"}:
        return IPVersion.All
    return IPVersion.V6Only if families == {"ip6"} else IPVersion.V4Only


def _start(zeroconf: Zeroconf, service: str, addresses: Sequence[str], listener: _Listener) -> None:
    ServiceBrowser(zeroconf, service, listener=listener)
    # The specification wants a name that does not tell who it is.
    name = secrets.token_hex(20)
    first = addressing.parse(addresses[0])
    info = ServiceInfo(
        service,
        f"{name}.{service}",
        # Nobody asks for these, but zeroconf takes a service without them for half known.
        parsed_addresses=[first.host],
        port=first.port,
        properties=encode_txt(addresses),
        server=f"{name}.local.",
    )
    # The name is random: there is nobody to ask whether it is taken.
    zeroconf.register_service(info, cooperating_responders=True)


class _Listener(ServiceListener):  # type: ignore[misc]  # zeroconf is not followed by mypy.
    """Called in zeroconf's thread."""

    def __init__(self, token: trio.lowlevel.TrioToken, own: str, found: Found) -> None:
        self._token = token
        self._own = own
        self._found = found

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name, timeout=LOOKUP_MS)
        if info is None or not info.text:
            return
        for peer, addresses in decode_txt_untrusted(info.text).items():
            if peer != self._own:
                self._tell(peer, addresses)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """A connection that ends tells more."""

    def _tell(self, peer: str, addresses: list[str]) -> None:
        try:
            self._token.run_sync_soon(self._found, peer, addresses)
        except trio.RunFinishedError:
            return
