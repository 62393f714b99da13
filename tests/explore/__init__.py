"""Exhaustive exploration of the real core in small scope: every order of what may happen, up to a bound.

`nodes` has nodes as values, `world` what may happen to a few of them, `search` visits all that can be
reached, `invariants` says what must hold, `enemy` what a dishonest deputy may say.
"""
