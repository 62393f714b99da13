"""The API: HTTP on loopback or with TLS, its page, its shapes, and what it needs of a node.

May know the core (it reads job files), not the node: `services` says what it needs of one. Known by
`serving`, by `service`, which implements it, and by the client and `notices`, which use its shapes.
"""
