"""A peer-to-peer compute network node."""

# Written out, since asking the installed package's metadata costs 50 ms at every start.
__version__ = "0.1.0"
