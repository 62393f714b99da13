"""Streams on which a peer asks and a node answers at once: tables of adverts, jobs, logs; no links.

May know the host and its streams, and the messages of the core. Known by the node and its services.
"""
