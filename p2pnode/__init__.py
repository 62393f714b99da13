"""A peer-to-peer compute network node."""

from importlib.metadata import version

__version__ = version("p2pnode")
