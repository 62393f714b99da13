"""WASM components (WASI preview 2) in the WASM engine.

`wasm/wordcount-component.wasm` is `devnet/jobs/wordcount.wasm` made into a component by
`npx @bytecodealliance/jco@1.35 new wordcount.wasm --wasi-command -o wordcount-component.wasm`,
which adds the Bytecode Alliance's adapter from preview 1 (Apache-2.0 with LLVM exception).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import wasmtime

from p2pnode.core.wire.spec import Resources
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import ProgramEnd

from .engine_support import Calls, make_workload, read, run
from .wasm_support import JOBS
from .wasm_support import engine as engine

WORDCOUNT = Path(__file__).parent / "wasm" / "wordcount-component.wasm"


def command(
    core: str, *, interface: str = "wasi:cli/run@0.2.0", function: str = "run", before: str = ""
) -> str:
    """A component that exports one function, the core module's `f`, in an interface or (if "") by itself."""
    instance = f'(instance $i (export "{function}" (func $f))) (export "{interface}" (instance $i))'
    export = instance if interface else f'(export "{function}" (func $f))'
    return f"""(component {before}
      (core instance $c (instantiate $m {core}))
      (func $f (result (result)) (canon lift (core func $c "f"))) {export})"""


def module(body: str) -> str:
    return f'(core module $m (func (export "f") (result i32) {body}))'


def importing(what: str) -> str:
    return command("", before=f"(import {what}) {module('i32.const 0')}")


async def run_component(
    engine: WasmEngine,
    tmp_path: Path,
    text: str,
    *,
    entrypoint: str = "_start",
    imports: dict[str, str] | None = None,
    resources: Resources | None = None,
) -> ProgramEnd:
    inputs = {}
    for name, content in {"main": text, **(imports or {})}.items():
        inputs[f"/m/{name}.wasm"] = tmp_path / f"{name}.wasm"
        inputs[f"/m/{name}.wasm"].write_bytes(wasmtime.wat2wasm(content))
    task = WasmTask(
        entry_module="/m/main.wasm",
        entrypoint=entrypoint,
        import_modules=tuple(f"/m/{name}.wasm" for name in imports or {}),
    )
    return await run(engine, make_workload(tmp_path, task, inputs=inputs, resources=resources))


async def test_wordcount_as_a_component_reads_its_input_and_writes_its_result(
    engine: WasmEngine, tmp_path: Path
) -> None:
    for said in (["compiling the module"], []):
        workload = make_workload(
            tmp_path,
            WasmTask(entry_module="/module.wasm"),
            inputs={"/module.wasm": WORDCOUNT, "/data": JOBS / "wordcount-data"},
            results={"outputs": "/outputs"},
        )
        calls = Calls()
        ended = await run(engine, workload, calls)
        assert ended.exit_code == 0, (ended, read(workload.stderr))
        assert (calls.started, calls.progress) == (1, said)
        assert "3 files" in read(workload.stdout)
        assert read(workload.results[0].host_path / "counts.csv").splitlines()[1] == "the,35"


async def test_a_component_gets_its_parameters_and_cannot_write_its_inputs(
    engine: WasmEngine, tmp_path: Path
) -> None:
    workload = make_workload(
        tmp_path,
        WasmTask(entry_module="/module.wasm", parameters=("/data", "/data/new.csv")),
        inputs={"/module.wasm": WORDCOUNT, "/data": JOBS / "wordcount-data"},
    )
    ended = await run(engine, workload)
    assert (ended.exit_code, ended.fault) == (1, Fault.JOB)
    assert "/data/new.csv" in read(workload.stderr)
    assert "new.csv" not in os.listdir(JOBS / "wordcount-data")


@pytest.mark.parametrize(("result", "exit_code"), [(0, 0), (1, 1)])
async def test_a_components_result_is_its_exit_code(
    engine: WasmEngine, tmp_path: Path, result: int, exit_code: int
) -> None:
    ended = await run_component(engine, tmp_path, command("", before=module(f"i32.const {result}")))
    assert ended.exit_code == exit_code
    assert ended.fault == (Fault.JOB if exit_code else None)


@pytest.mark.parametrize(
    ("function", "type", "argument", "exit_code"),
    [("exit", "(result)", 0, 0), ("exit", "(result)", 1, 1), ("exit-with-code", "u8", 200, 200)],
)
async def test_any_exit_code_of_a_component_comes_through(
    engine: WasmEngine, tmp_path: Path, function: str, type: str, argument: int, exit_code: int
) -> None:
    name = "status-code" if type == "u8" else "status"
    before = f"""
      (import "wasi:cli/exit@0.2.3" (instance $exit (export "{function}" (func (param "{name}" {type})))))
      (core func $e (canon lower (func $exit "{function}")))
      (core module $m (import "e" "e" (func $e (param i32)))
        (func (export "f") (result i32) (call $e (i32.const {argument})) unreachable))
      (core instance $given (export "e" (func $e)))"""
    ended = await run_component(engine, tmp_path, command('(with "e" (instance $given))', before=before))
    assert (ended.exit_code, ended.fault) == (exit_code, Fault.JOB if exit_code else None)


@pytest.mark.parametrize(
    ("body", "exit_code", "reason"),
    [
        pytest.param("(call $e (i32.const 0))", 0, "exited", id="it exits well"),
        pytest.param("(call $e (i32.const 1))", 1, "the program exited with 1", id="it exits with a code"),
        pytest.param("unreachable", None, "the program trapped: wasm `unreachable`", id="it traps"),
    ],
)
async def test_a_component_that_ends_in_a_start_function_ended_as_in_its_run(
    engine: WasmEngine, tmp_path: Path, body: str, exit_code: int | None, reason: str
) -> None:
    before = f"""
      (import "wasi:cli/exit@0.2.3" (instance $exit (export "exit" (func (param "status" (result))))))
      (core func $e (canon lower (func $exit "exit")))
      (core module $m (import "e" "e" (func $e (param i32)))
        (func $s {body}) (start $s) (func (export "f") (result i32) i32.const 0))
      (core instance $given (export "e" (func $e)))"""
    ended = await run_component(engine, tmp_path, command('(with "e" (instance $given))', before=before))
    assert (ended.exit_code, ended.fault) == (exit_code, None if exit_code == 0 else Fault.JOB), ended
    assert ended.reason.startswith(reason)


async def test_a_component_can_begin_at_another_function(engine: WasmEngine, tmp_path: Path) -> None:
    plain = command("", interface="", function="other", before=module("i32.const 0"))
    assert (await run_component(engine, tmp_path, plain, entrypoint="other")).exit_code == 0
    within = command("", interface="a:b/c@1.0.0", function="other", before=module("i32.const 1"))
    assert (await run_component(engine, tmp_path, within, entrypoint="a:b/c@1.0.0#other")).exit_code == 1


async def test_a_component_imports_a_core_module_under_its_files_name(
    engine: WasmEngine, tmp_path: Path
) -> None:
    before = '(import "answer" (core module $m (export "f" (func (result i32)))))'
    answer = '(module (func (export "f") (result i32) (i32.const 1)))'
    ended = await run_component(engine, tmp_path, command("", before=before), imports={"answer": answer})
    assert (ended.exit_code, ended.reason) == (1, "the program exited with 1")


@pytest.mark.parametrize(
    ("text", "entrypoint", "reason"),
    [
        (command("", before=module("unreachable")), "_start", "the program trapped: wasm `unreachable`"),
        ("(component)", "_start", "the component does not export wasi:cli/run; it exports: nothing"),
        (
            command("", before=module("i32.const 0")),
            "main",
            "does not export 'main'; it exports: wasi:cli/run",
        ),
        (importing('"f" (func)'), "_start", "component imports function `f`, but a matching"),
        (
            importing('"wasi:http/types@0.2.0" (instance (export "f" (func)))'),
            "_start",
            "nothing provides what the component imports: component imports instance `wasi:http/types@0.2.0`",
        ),
        (
            "(component (core module $m (memory 2000)) (core instance (instantiate $m)) "
            '(core module $n (func (export "f"))) (core instance $c (instantiate $n)) '
            '(func (export "f") (canon lift (core func $c "f"))))',
            "f",
            "needs more memory than the job's limit of 64000000 bytes",
        ),
    ],
)
async def test_a_component_that_fails_has_a_clear_reason(
    engine: WasmEngine, tmp_path: Path, text: str, entrypoint: str, reason: str
) -> None:
    ended = await run_component(engine, tmp_path, text, entrypoint=entrypoint)
    assert (ended.exit_code, ended.fault) == (None, Fault.JOB)
    assert reason in ended.reason


async def test_a_component_as_a_library_is_refused_with_what_to_do(
    engine: WasmEngine, tmp_path: Path
) -> None:
    main = command("", before=module("i32.const 0"))
    ended = await run_component(engine, tmp_path, main, imports={"library": "(component)"})
    assert ended.fault is Fault.JOB
    assert "compose the components first" in ended.reason


async def test_a_component_that_ran_out_of_memory_is_told_apart(engine: WasmEngine, tmp_path: Path) -> None:
    grow_and_touch = """(local $page i32)
      (loop $more
        (local.set $page (memory.grow (i32.const 1)))
        (if (i32.ne (local.get $page) (i32.const -1)) (then
          (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
          (br $more))))
      unreachable"""
    core = f'(core module $m (memory 1) (func (export "f") (result i32) {grow_and_touch}))'
    ended = await run_component(
        engine, tmp_path, command("", before=core), resources=Resources(memory_bytes=40_000_000)
    )
    assert ended.fault is Fault.JOB
    assert "probably out of memory" in ended.reason
