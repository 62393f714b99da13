"""Records of jobs, executions and reservations, their steps, and the events that change them.

May know `wire` and `values`.
Known to the rooms that decide: `placement`, `replication`, `worker`, `job`.
"""
