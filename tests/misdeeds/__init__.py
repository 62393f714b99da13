"""Hostile peers for real nodes: what they send and do, and a network that is measured under their attack."""
