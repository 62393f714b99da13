"""Which peer suits which work: adverts, constraints, matching, ranking, locality.

May know `records`, `wire` and `values`.
Known to `job`, `worker` and `jobfile`; to the shell, to show and to check.
"""
