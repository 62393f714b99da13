"""The command line, a file for each group of commands: a client of the API.

May know `client`, the core's job files and, of `system`, the names of the labels that every node has, and
`serving` in `serve` alone; no trio, no libp2p. Known by nothing else.
"""
