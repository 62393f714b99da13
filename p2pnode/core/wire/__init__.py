"""Messages between nodes, and a job's spec: records, canonical CBOR, names of protocols.

May know `values`.
Known to every room but `values` and `link`, which takes its codec.
"""
