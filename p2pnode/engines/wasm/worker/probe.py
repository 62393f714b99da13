"""Ends with 0 if a module runs here: `python -m p2pnode.engines.wasm.worker.probe`."""

import wasmtime

MODULE = '(module (func (export "answer") (result i32) i32.const 42))'

engine = wasmtime.Engine()
store = wasmtime.Store(engine)
answer = wasmtime.Instance(store, wasmtime.Module(engine, MODULE), []).exports(store)["answer"]
if not isinstance(answer, wasmtime.Func) or answer(store) != 42:
    raise SystemExit("a module gave a wrong answer")
