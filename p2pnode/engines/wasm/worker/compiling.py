"""Modules and components to machine code and back; what both kinds of program have in common.

Only this package imports wasmtime.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import wasmtime
from wasmtime.component import Component

from . import output

# A module's tables: a C program needs one of some hundred elements, a large runtime some ten thousand.
TABLE_ELEMENTS_MAX = 1_000_000
TABLES_MAX = 64
# A component made by the usual tools has three to ten core instances, of which one or two have a memory.
INSTANCES_MAX = 200
# How wasmtime's text of one begins.
TRAP = "wasm trap: "
MEMORIES_MAX = 32


class ModuleRefused(Exception):
    """The module cannot be compiled or run; the message is for the job's author."""


class Stale(Exception):
    """A compiled file does not fit this processor or is damaged; the message is its path."""


class Exited(Exception):
    """The program asked to exit. wasmtime's own functions refuse or lose most exit codes."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@cache
def the_engine() -> wasmtime.Engine:
    """The process's engine with the settings that all compiled code here is made with."""
    config = wasmtime.Config()
    config.wasm_threads = False
    return wasmtime.Engine(config)


def compile_module(content: bytes, *, component: bool, name: str) -> bytearray:
    """Machine code for this processor, as `load_compiled` takes it; raises `ModuleRefused`."""
    kind = Component if component else wasmtime.Module
    try:
        return kind(the_engine(), content).serialize()
    except wasmtime.WasmtimeError as error:
        raise ModuleRefused(f"{name} does not compile: {cause(error)}") from None


def load_compiled(kind: Any, engine: wasmtime.Engine, path: str) -> Any:
    """A `wasmtime.Module` or `wasmtime.component.Component` (`kind`) of compiled code; raises `Stale`."""
    try:
        return kind.deserialize_file(engine, path)
    except wasmtime.WasmtimeError:
        raise Stale(path) from None


def new_store(engine: wasmtime.Engine, request: dict[str, Any]) -> wasmtime.Store:
    """A store with the request's limits, arguments, environment and directories."""
    store = wasmtime.Store(engine)
    store.set_limits(
        memory_size=request["memory_bytes"],
        table_elements=TABLE_ELEMENTS_MAX,
        instances=INSTANCES_MAX,
        tables=TABLES_MAX,
        memories=MEMORIES_MAX,
    )
    wasi = wasmtime.WasiConfig()
    wasi.argv = request["argv"]
    wasi.env = list(request["environment"].items())
    # Descriptor 2 is for what the runtime itself has to say.
    wasi.inherit_stdout()
    wasi.stderr_custom = output.to_pipe(1, bytes.fromhex(request["mark"]))
    for host_path, target, writable in request["preopens"]:
        wasi.preopen_dir(host_path, target, writable)
    store.set_wasi(wasi)
    return store


def cause(error: object) -> str:
    """The last and innermost line of wasmtime's error, which says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("0: ") if lines else "unknown"


def exit_reason(code: int) -> str:
    return "exited" if code == 0 else f"the program exited with {code}"


def failure(error: wasmtime.WasmtimeError | wasmtime.Trap) -> str:
    """Say why a program did not come to its end: a trap, or a host function that failed."""
    text = cause(error.message if isinstance(error, wasmtime.Trap) else error)
    if isinstance(error, wasmtime.Trap):
        code = error.trap_code
        text = code.name.lower().replace("_", " ") if code else text
        function = next((frame.func_name for frame in error.frames if frame.func_name), "")
        return f"the program trapped: {text} in {function}" if function else f"the program trapped: {text}"
    if text.startswith(TRAP):
        return f"the program trapped: {text.removeprefix(TRAP)}"
    return f"the program failed: {text}"
