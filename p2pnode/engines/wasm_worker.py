"""The process in which one WASM program runs: `python -m p2pnode.engines.wasm_worker REPORT_FD`.

Its parent (`engines.wasm`) writes one JSON request on stdin and keeps stdin open; when that
ends, the parent is dead and this process kills itself. (PR_SET_PDEATHSIG will not do: it
fires when the *thread* that forked ends, and trio forks in a thread.) File descriptors 1 and 2
are the program's output. Events go to REPORT_FD as JSON lines: compiling, started, ended.

One process per program, because a host call cannot be interrupted, hostile code can crash the
runtime, and SIGKILL always works. Only the standard library and wasmtime are imported: the
start of this process is most of what a small job costs.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import wasmtime

# Below every node thread, so that a busy program never makes the node late.
NICENESS = 10
# Compiled code is 3 to 15 times its module; the oldest goes first.
CACHE_SIZE_BYTES_MAX = 2 * 1024**3
# A module's tables: a C program needs one of some hundred elements, a large runtime some ten thousand.
TABLE_ELEMENTS_MAX = 1_000_000
TABLES_MAX = 64
EXPORTS_SHOWN_MAX = 8
PAGE_SIZE_BYTES = 65_536


class Refused(Exception):
    """The module cannot run; the message is for the job's author."""


class Exited(Exception):
    """The program called proc_exit. wasmtime itself refuses codes from 126 on."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> NoReturn:
    report_fd = int(sys.argv[1])
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def report(event: dict[str, Any]) -> None:
        os.write(report_fd, json.dumps(event).encode() + b"\n")

    exit_code, reason = run(request, report)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    report(
        {
            "event": "ended",
            "exit_code": exit_code,
            "reason": reason[:1000],
            "cpu_ms": int((usage.ru_utime + usage.ru_stime) * 1000),
            "memory_bytes_max": _memory_bytes_max(usage.ru_maxrss),
        }
    )
    # Not sys.exit: the runtime's own threads must not meet an interpreter that is going down.
    os._exit(0)


def run(request: dict[str, Any], report: Any) -> tuple[int | None, str]:
    """Compile or load, link, run. Returns the exit code (None: it did not exit) and the reason."""
    config = wasmtime.Config()
    config.wasm_threads = False
    engine = wasmtime.Engine(config)
    try:
        module = _load(engine, Path(request["module"][0]), Path(request["module"][1]), report)
        imports = [
            (name, _load(engine, Path(path), Path(cached), report))
            for name, path, cached in request["imports"]
        ]
        store = wasmtime.Store(engine)
        count = 1 + len(imports)
        store.set_limits(
            memory_size=request["memory_bytes"],
            table_elements=TABLE_ELEMENTS_MAX,
            instances=count,
            tables=TABLES_MAX,
            memories=count,
        )
        instance, entry = _link(engine, store, module, imports, request)
    except Refused as refused:
        return None, str(refused)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"], request["file_bytes"]))
    report({"event": "started"})
    exit_code, reason = _call(store, entry)
    if exit_code != 0:
        reason += _memory_note(store, instance, request["memory_bytes"])
    # Flushes what the runtime still holds of the program's output.
    store.close()
    return exit_code, reason


def _load(engine: wasmtime.Engine, path: Path, cached: Path, report: Any) -> wasmtime.Module:
    """The compiled module, from `cached` if this very content was compiled before."""
    if cached.exists():
        try:
            module = wasmtime.Module.deserialize_file(engine, str(cached))
            os.utime(cached)
            return module
        except (wasmtime.WasmtimeError, OSError):
            # Written on another CPU, or damaged: compile again.
            cached.unlink(missing_ok=True)
    report({"event": "compiling"})
    content = path.read_bytes()
    if not content.startswith(b"\0asm"):
        raise Refused(f"{path.name} is not a WASM module: it does not begin with \\0asm")
    try:
        module = wasmtime.Module(engine, content)
    except wasmtime.WasmtimeError as error:
        text = str(error)
        if "WebAssembly component" in text:
            raise Refused(
                f"{path.name} is a WASM component (WASI preview 2); this peer runs WASI preview 1 modules"
            ) from None
        raise Refused(f"{path.name} does not compile: {_cause(text)}") from None
    _store_compiled(cached, module.serialize())
    return module


def _store_compiled(cached: Path, code: bytearray) -> None:
    """Put compiled code into the cache, dropping the longest unused; a full disk costs only the cache."""
    partial = cached.with_suffix(f".{os.getpid()}")
    try:
        partial.write_bytes(code)
        partial.rename(cached)
        files = sorted((entry.stat().st_mtime, entry) for entry in cached.parent.glob("*.cwasm"))
        total = sum(entry.stat().st_size for _, entry in files)
        for _, entry in files:
            if total <= CACHE_SIZE_BYTES_MAX or entry == cached:
                break
            total -= entry.stat().st_size
            entry.unlink(missing_ok=True)
    except OSError:
        partial.unlink(missing_ok=True)


def _link(
    engine: wasmtime.Engine,
    store: wasmtime.Store,
    module: wasmtime.Module,
    imports: list[tuple[str, wasmtime.Module]],
    request: dict[str, Any],
) -> tuple[wasmtime.Instance, wasmtime.Func]:
    """Give the module its imports and find the function to call; raises `Refused`."""
    wasi = wasmtime.WasiConfig()
    wasi.argv = request["argv"]
    wasi.env = list(request["environment"].items())
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for host_path, target, writable in request["preopens"]:
        wasi.preopen_dir(host_path, target, writable)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    linker.allow_shadowing = True
    exit_type = wasmtime.FuncType([wasmtime.ValType.i32()], [])
    linker.define_func("wasi_snapshot_preview1", "proc_exit", exit_type, _proc_exit)
    try:
        for name, library in imports:
            library_instance = linker.instantiate(store, library)
            _initialize(store, library_instance)
            linker.define_instance(store, name, library_instance)
        instance = linker.instantiate(store, module)
        entry = instance.exports(store).get(request["entrypoint"])
        if not isinstance(entry, wasmtime.Func):
            names = [export.name for export in module.exports if isinstance(export.type, wasmtime.FuncType)]
            shown = ", ".join(names[:EXPORTS_SHOWN_MAX]) or "none"
            raise Refused(f"the module has no function {request['entrypoint']!r}; its functions are: {shown}")
        if entry.type(store).params:
            raise Refused(
                f"the function {request['entrypoint']!r} takes parameters, so it cannot be an entrypoint"
            )
        if request["entrypoint"] != "_start":
            _initialize(store, instance)
    except Exited as exited:
        raise Refused(f"the module exited with {exited.code} while it was being set up") from None
    except wasmtime.Trap as trap:
        raise Refused(f"the module trapped while it was being set up: {_trap_text(trap)}") from None
    except wasmtime.WasmtimeError as error:
        raise Refused(_link_reason(_cause(str(error)), request["memory_bytes"])) from None
    return instance, entry


def _initialize(store: wasmtime.Store, instance: wasmtime.Instance) -> None:
    """Run a library's (a WASI reactor's) constructors."""
    function = instance.exports(store).get("_initialize")
    if isinstance(function, wasmtime.Func):
        function(store)


def _call(store: wasmtime.Store, entry: wasmtime.Func) -> tuple[int | None, str]:
    try:
        entry(store)
    except Exited as exited:
        return exited.code, "exited" if exited.code == 0 else f"the program exited with {exited.code}"
    except wasmtime.Trap as trap:
        return None, f"the program trapped: {_trap_text(trap)}"
    except wasmtime.WasmtimeError as error:
        return None, f"the program failed: {_cause(str(error))}"
    return 0, "exited"


def _proc_exit(code: int) -> NoReturn:
    raise Exited(code & 0xFF)


def _trap_text(trap: wasmtime.Trap) -> str:
    code = trap.trap_code
    cause = code.name.lower().replace("_", " ") if code else _cause(trap.message)
    function = next((frame.func_name for frame in trap.frames if frame.func_name), "")
    return f"{cause} in {function}" if function else cause


def _cause(text: str) -> str:
    """The last and innermost line of wasmtime's error, which says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("0: ") if lines else "unknown"


def _link_reason(cause: str, memory_bytes: int) -> str:
    if "exceeds memory limits" in cause:
        return f"the module needs more memory than the job's limit of {memory_bytes} bytes: {cause}"
    if "unknown import" in cause:
        return f"nothing provides what the module imports: {cause}"
    return f"the module cannot be linked: {cause}"


def _memory_note(store: wasmtime.Store, instance: wasmtime.Instance, memory_bytes: int) -> str:
    """Tells out of memory apart: a grow beyond the limit shows in the program only as a failed malloc."""
    memory = instance.exports(store).get("memory")
    if not isinstance(memory, wasmtime.Memory):
        return ""
    used = memory.size(store) * PAGE_SIZE_BYTES
    # An allocator grows by at least a page and often by an eighth: that near the limit, memory was short.
    if used < memory_bytes * 7 // 8:
        return ""
    return f"; probably out of memory: it had {used} of the {memory_bytes} bytes that the job allows"


def _memory_bytes_max(fallback: int) -> int:
    """Peak resident size. Where there is /proc not ru_maxrss, which a forked process inherits."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return fallback


def _die_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
