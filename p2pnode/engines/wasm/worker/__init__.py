"""The process in which one WASM program is compiled or run; only `engines.wasm.processes` starts it."""

# The user and group `nobody`, which a worker of a root node becomes.
WORKER_ID = 65_534
