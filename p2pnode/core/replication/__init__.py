"""Copies of jobs: what a deputy holds and when it takes over; what an owner tells its deputies.

May know `records`, `wire` and `values`.
Known to `job`, and to `node`, which puts all together.
"""
