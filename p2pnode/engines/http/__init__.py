"""Network Type HTTP: the gate of a container, with its proxy and its names, and whom these let through.

May know the core. Known to `engines.docker`.
"""
