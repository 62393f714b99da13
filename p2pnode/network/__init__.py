"""The peer-to-peer network: hosts, links, gossip and discovery; the only package that imports libp2p.

May know `faults` and the core. Known by `ipfs`, which serves blocks on the host, and by `node` and `service`.
"""

from multiaddr.resolvers import DNSResolver

# libp2p makes resolvers of its own where it is imported and started, and they raise on a machine without
# /etc/resolv.conf. It is only ever given numbers: names are resolved in `names`.
DNSResolver.__init__ = lambda self: None
