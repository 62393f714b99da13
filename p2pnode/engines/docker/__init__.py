"""The Docker engine: containers, their images, fences, GPUs and ports, by a Docker-compatible API.

May know `engines.workload`, `engines.cgroups`, `engines.http` and the core. Known to `node`.
"""
