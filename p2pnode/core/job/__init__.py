"""The requester's side: a job from submission to end, who is asked, awarded, tried again, made a deputy.

May know `placement`, `replication`, `records`, `wire` and `values`; not the compute peer's side.
Known to `node`; `plan` also to the API.
"""
