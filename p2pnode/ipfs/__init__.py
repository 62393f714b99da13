"""IPFS: content addresses, UnixFS, a block store on disk, CAR streams and bitswap."""
