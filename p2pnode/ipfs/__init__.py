"""IPFS: content addresses, UnixFS, a block store on disk, CAR streams, bitswap, and a Kubo daemon beside.

May know the network's streams (bitswap runs on them), `system` and the core. Known by `data`, `node`,
`service`, and by the command line, which verifies what it fetches.
"""
