"""Data of jobs: inputs from IPFS, S3, URLs and local directories; results published to IPFS and S3.

May know `ipfs`, `network.streams`' errors, `system` and the core. Known by `node` and `notices`.
"""
