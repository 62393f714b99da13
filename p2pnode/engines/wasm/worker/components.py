"""A program that is a component: WASI preview 2, without sockets and without HTTP.

It begins at the `run` of `wasi:cli/run`, or at an exported function that takes nothing, by its
own name or as `interface#function`. wasmtime's WASI denies all addresses unless told
otherwise, and HTTP is not linked, so a component that imports it is refused.

The libraries of a job are core modules here, each a module import of its file's name:
components are composed before they are sent (`wac plug`), which also checks their types.
"""

from __future__ import annotations

import resource
from typing import Any, NoReturn

import wasmtime
from wasmtime import component

from .compiling import (
    TRAP,
    Exited,
    ModuleRefused,
    cause,
    exit_reason,
    failure,
    load_compiled,
    new_store,
    the_engine,
)
from .modules import EXPORTS_SHOWN_MAX, link_reason, memory_note

RUN = "wasi:cli/run@0.2.0"
EXIT = "wasi:cli/exit@0.2."


def load(request: dict[str, Any]) -> ComponentProgram:
    """Map the compiled code and open the directories; runs nothing of it. Raises `Stale`."""
    engine = the_engine()
    program = load_compiled(component.Component, engine, request["module"])
    libraries = [(name, load_compiled(wasmtime.Module, engine, path)) for name, path in request["imports"]]
    return ComponentProgram(request, engine, program, libraries, new_store(engine, request))


class ComponentProgram:
    def __init__(
        self,
        request: dict[str, Any],
        engine: wasmtime.Engine,
        program: component.Component,
        libraries: list[tuple[str, wasmtime.Module]],
        store: wasmtime.Store,
    ) -> None:
        self._engine = engine
        self._program = program
        self._libraries = libraries
        self._store = store
        self._entrypoint: str = request["entrypoint"]
        self._memory_bytes: int = request["memory_bytes"]
        # Before it came to its entrypoint.
        self._ended: tuple[int | None, str] | None = None

    def link(self) -> None:
        """Give the component its imports and find the function to call; raises `ModuleRefused`.

        The start functions of its modules run here, and the program may come to its end in one of them.
        """
        index = self._find()
        linker = component.Linker(self._engine)
        linker.add_wasip2()
        linker.allow_shadowing = True
        try:
            with linker.root() as root:
                for name, library in self._libraries:
                    root.add_module(name, library)
                for name in self._program.type.imports(self._engine):
                    if name.startswith(EXIT):
                        # wasmtime's own knows of success and failure only.
                        with root.add_instance(name) as exits:
                            exits.add_func("exit", self._exit)
                            exits.add_func("exit-with-code", self._exit_with_code)
            instance = linker.instantiate(self._store, self._program)
        except wasmtime.WasmtimeError as error:
            if self._ended:
                return
            if cause(error).startswith(TRAP):
                self._ended = None, f"{failure(error)}, while it was being set up"
                return
            raise ModuleRefused(_link_reason(error, self._memory_bytes)) from None
        entry = instance.get_func(self._store, index)
        assert entry is not None
        if entry.type(self._store).params:
            raise ModuleRefused(
                f"the function {self._entrypoint!r} takes parameters, so it cannot be an entrypoint"
            )
        self._entry = entry

    def call(self) -> tuple[int | None, str]:
        """Run to the end: the exit code (None: it did not exit), and the reason."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        exit_code, reason = self._ended or self._call()
        if exit_code != 0:
            # A component does not show its memories; what the process touched of them is near enough.
            touched_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            reason += memory_note(touched_kib * 1024, self._memory_bytes)
        # Flushes what the runtime still holds of the program's output.
        self._store.close()
        return exit_code, reason

    def _call(self) -> tuple[int | None, str]:
        try:
            result = self._entry(self._store)
        except Exited as exited:
            return exited.code, exit_reason(exited.code)
        except wasmtime.WasmtimeError as error:
            return None, failure(error)
        # An entrypoint that returns `result` says with it how it ended.
        failed = isinstance(result, component.Variant) and result.tag == "err"
        return int(failed), exit_reason(int(failed))

    def _exit(self, context: Any, status: component.Variant) -> NoReturn:
        self._exit_with_code(context, 0 if status.tag == "ok" else 1)

    def _exit_with_code(self, context: Any, code: int) -> NoReturn:
        # wasmtime loses what is raised while it sets up a component.
        self._ended = code, exit_reason(code)
        raise Exited(code)

    def _find(self) -> component.ExportIndex:
        interface, _, function = self._entrypoint.rpartition("#")
        if self._entrypoint == "_start":
            interface, function = RUN, "run"
        within = self._program.get_export_index(interface) if interface else None
        if within is not None or not interface:
            index = self._program.get_export_index(function, within)
            if index is not None:
                return index
        names = list(self._program.type.exports(self._engine))
        shown = ", ".join(names[:EXPORTS_SHOWN_MAX]) or "nothing"
        wanted = "wasi:cli/run" if self._entrypoint == "_start" else repr(self._entrypoint)
        raise ModuleRefused(f"the component does not export {wanted}; it exports: {shown}")


def _link_reason(error: wasmtime.WasmtimeError, memory_bytes: int) -> str:
    text = cause(error)
    # The first line names the import, the last what is wrong with it.
    first = str(error).partition("\n")[0].strip()
    if "matching implementation was not found" in first:
        return f"nothing provides what the component imports: {first}"
    return link_reason(text, memory_bytes)
