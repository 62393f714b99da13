"""The peer-to-peer network: hosts, links, gossip and discovery; the only package that imports libp2p.

May know `faults`, `system` and the core. Known by `ipfs`, which serves blocks on the host, and by `node` and
`service`.
"""

from .unused import leave_out

leave_out()
