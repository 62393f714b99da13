"""Ends with 0 if wasmtime works here: `python -m p2pnode.engines.wasm.worker.probe`."""

import wasmtime

wasmtime.Engine()
