"""A program that is a core module: WASI preview 1, and the libraries that it imports from.

`load`, then `link` and `call` on what it gives. A library is linked under its file's name
without the suffix; a WASI reactor's `_initialize` is called first.
"""

from __future__ import annotations

from typing import Any, NoReturn

import wasmtime

from .compiling import (
    Exited,
    ModuleRefused,
    cause,
    exit_reason,
    failure,
    load_compiled,
    new_store,
    the_engine,
)

EXPORTS_SHOWN_MAX = 8
PAGE_SIZE_BYTES = 65_536


def load(request: dict[str, Any]) -> ModuleProgram:
    """Map the compiled modules and open the directories; runs nothing of theirs. Raises `Stale`."""
    engine = the_engine()
    module = load_compiled(wasmtime.Module, engine, request["module"])
    libraries = [(name, load_compiled(wasmtime.Module, engine, path)) for name, path in request["imports"]]
    return ModuleProgram(request, engine, module, libraries, new_store(engine, request))


class ModuleProgram:
    def __init__(
        self,
        request: dict[str, Any],
        engine: wasmtime.Engine,
        module: wasmtime.Module,
        libraries: list[tuple[str, wasmtime.Module]],
        store: wasmtime.Store,
    ) -> None:
        self._module = module
        self._libraries = libraries
        self._store = store
        self._linker = wasmtime.Linker(engine)
        self._entrypoint: str = request["entrypoint"]
        self._memory_bytes: int = request["memory_bytes"]
        # Before it came to its entrypoint.
        self._ended: tuple[int | None, str] | None = None

    def link(self) -> None:
        """Give the module its imports and find the function to call; raises `ModuleRefused`.

        Start functions and constructors run here, and the program may come to its end in one of them.
        """
        linker, store = self._linker, self._store
        linker.define_wasi()
        linker.allow_shadowing = True
        exit_type = wasmtime.FuncType([wasmtime.ValType.i32()], [])
        # wasmtime's own refuses codes from 126 on.
        linker.define_func("wasi_snapshot_preview1", "proc_exit", exit_type, _proc_exit)
        try:
            for name, library in self._libraries:
                library_instance = linker.instantiate(store, library)
                _initialize(store, library_instance)
                linker.define_instance(store, name, library_instance)
            self._instance = linker.instantiate(store, self._module)
            self._entry = self._find()
            if self._entrypoint != "_start":
                _initialize(store, self._instance)
        except Exited as exited:
            self._ended = exited.code, exit_reason(exited.code)
        except wasmtime.Trap as trap:
            self._ended = None, f"{failure(trap)}, while it was being set up"
        except wasmtime.WasmtimeError as error:
            raise ModuleRefused(link_reason(cause(error), self._memory_bytes)) from None

    def call(self) -> tuple[int | None, str]:
        """Run to the end: the exit code (None: it did not exit), and the reason."""
        exit_code, reason = self._ended or self._call()
        if exit_code != 0 and not self._ended:
            reason += self._memory_note()
        # Flushes what the runtime still holds of the program's output.
        self._store.close()
        return exit_code, reason

    def _find(self) -> wasmtime.Func:
        entry = self._instance.exports(self._store).get(self._entrypoint)
        if not isinstance(entry, wasmtime.Func):
            names = [
                export.name for export in self._module.exports if isinstance(export.type, wasmtime.FuncType)
            ]
            shown = ", ".join(names[:EXPORTS_SHOWN_MAX]) or "none"
            raise ModuleRefused(
                f"the module has no function {self._entrypoint!r}; its functions are: {shown}"
            )
        if entry.type(self._store).params:
            raise ModuleRefused(
                f"the function {self._entrypoint!r} takes parameters, so it cannot be an entrypoint"
            )
        return entry

    def _call(self) -> tuple[int | None, str]:
        try:
            self._entry(self._store)
        except Exited as exited:
            return exited.code, exit_reason(exited.code)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            return None, failure(error)
        return 0, exit_reason(0)

    def _memory_note(self) -> str:
        """Tells out of memory apart: a grow beyond the limit shows in the program only as a failed malloc."""
        memory = self._instance.exports(self._store).get("memory")
        if not isinstance(memory, wasmtime.Memory):
            return ""
        used = memory.size(self._store) * PAGE_SIZE_BYTES
        return memory_note(used, self._memory_bytes)


def memory_note(used: int, allowed: int) -> str:
    """To be added to why a program failed: that it had nearly all the memory that it may have, in bytes."""
    # An allocator grows by at least a page and often by an eighth: that near the limit, memory was short.
    if used < allowed * 7 // 8:
        return ""
    return f"; probably out of memory: it had {used} of the {allowed} bytes that the job allows"


def link_reason(text: str, memory_bytes: int) -> str:
    """Say why a module or component could not be linked, from wasmtime's reason."""
    if "exceeds memory limits" in text:
        return f"the module needs more memory than the job's limit of {memory_bytes} bytes: {text}"
    if "unknown import" in text:
        return f"nothing provides what the module imports: {text}"
    return f"the module cannot be linked: {text}"


def _initialize(store: wasmtime.Store, instance: wasmtime.Instance) -> None:
    """Run a library's (a WASI reactor's) constructors."""
    function = instance.exports(store).get("_initialize")
    if isinstance(function, wasmtime.Func):
        function(store)


def _proc_exit(code: int) -> NoReturn:
    raise Exited(code & 0xFF)
