"""The command line, a file for each group of commands: a client of the API.

May know `client` and the core's job files, and `serving` in `serve` alone; no trio, no libp2p. Known by
nothing else.
"""
