"""The compute peer's side: what was asked for, reserved and awarded here, and whose fault an end is.

May know `placement`, `records`, `wire` and `values`; not the requester's side.
Known to `node`; `blame` also to engines.
"""
