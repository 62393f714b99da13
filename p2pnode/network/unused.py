"""Stand-ins for what libp2p imports at its start and a node never calls: a tenth of its memory.

libp2p has no extras: its host brings QUIC, TLS with certificates of its own, relays, a DHT, mDNS and UPnP,
and these two clients of HTTP and one of DNS. Of an idle node that was 11 MB of 109, and an eighth of its
start. Our host is given TCP, Noise and Yamux (`libp2p_host`), so only these names have to be there, as what
raises when it is called. Putting them among the imported modules is the smallest evil: the next is a copy
of libp2p's host. libp2p is pinned, and one that asks for another name here fails at once.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

# All that libp2p and multiaddr import of each, outside of these parts themselves.
UNUSED = {
    "libp2p.discovery.bootstrap.bootstrap": ("BootstrapDiscovery",),
    "libp2p.discovery.mdns.mdns": ("MDNSDiscovery", "create_mdns_discovery"),
    "libp2p.discovery.upnp.upnp": ("UpnpManager",),
    "libp2p.relay.circuit_v2.nat": ("is_private_ip",),
    "libp2p.security.tls": (),
    "libp2p.security.tls.autotls.acme": ("ACMEClient", "compute_b36_peer_id"),
    "libp2p.security.tls.autotls.broker": ("BrokerClient",),
    "libp2p.security.tls.transport": ("PROTOCOL_ID", "TLSTransport"),
    "libp2p.transport.quic.config": ("QUICTransportConfig",),
    "libp2p.transport.quic.exceptions": ("QUICStreamClosedError", "QUICStreamResetError"),
    "libp2p.transport.quic.stream": ("QUICStream",),
    "libp2p.transport.quic.transport": ("QUICTransport",),
    "libp2p.transport.quic.utils": ("is_quic_multiaddr",),
    "multiaddr.resolvers.dns": ("DNSADDR_TXT_PREFIX", "DNSResolver"),
}


class Unused(Exception):
    """A class, function or error of a part that is not there: it is never raised, and may be named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"{type(self).__name__} of libp2p is called: see {__name__}")


class _Resolver:
    """libp2p makes one at its start, and is only ever given numbers: names are resolved in `names`."""


def leave_out() -> None:
    """Before libp2p is imported; what is imported already stays."""
    for module, names in UNUSED.items():
        stand_in = ModuleType(module)
        for name in names:
            setattr(stand_in, name, _Resolver if name == "DNSResolver" else type(name, (Unused,), {}))
        sys.modules.setdefault(module, stand_in)
