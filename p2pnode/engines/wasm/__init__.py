"""The WASM engine: modules, the processes that run them (`worker`), and their share of the machine.

May know `engines.workload`, `engines.cgroups` and the core. Known to `node`.
"""
