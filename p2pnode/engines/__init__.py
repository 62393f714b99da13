"""The engines: each runs one execution per call, fenced in, and says how it ended (`workload.Engine`).

May know `system` and the core; `docker` also `http`, whose gate it puts around containers. Known by `node`.
"""
