"""The API: HTTP on loopback or with TLS, its page, its shapes, what it needs of a node, and its client.

May know the core (it reads job files), not the node: `services` says what it needs of one. Known by
`serving`, by `service`, which implements it, and by the command line, whose client it is.
"""
