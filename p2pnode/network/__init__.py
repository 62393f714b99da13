"""The peer-to-peer network: the only package that imports libp2p."""

from multiaddr.resolvers import DNSResolver

# libp2p makes resolvers of its own where it is imported and started, and they raise on a machine without
# /etc/resolv.conf. It is only ever given numbers: names are resolved in `names`.
DNSResolver.__init__ = lambda self: None
