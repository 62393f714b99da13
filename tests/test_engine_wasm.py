"""The WASM engine, with real modules in real workers: what programs get, what is said of those that fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import wasmtime

from p2pnode.core.wire.spec import Network, NetworkType, Resources
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import LOG_SIZE_BYTES_MAX

from .engine_support import Calls, make_workload, read, run
from .wasm_support import EXIT, JOBS, WRITE, run_wat, wat_workload
from .wasm_support import engine as engine


async def test_wordcount_reads_its_input_and_writes_its_result(engine: WasmEngine, tmp_path: Path) -> None:
    workload = make_workload(
        tmp_path,
        WasmTask(entry_module="/module/wordcount.wasm"),
        inputs={"/module/wordcount.wasm": JOBS / "wordcount.wasm", "/data": JOBS / "wordcount-data"},
        results={"outputs": "/outputs"},
    )
    calls = Calls()
    ended = await run(engine, workload, calls)
    assert ended.exit_code == 0, (ended, read(workload.stderr))
    assert ended.fault is None
    assert ended.memory_bytes > 1_000_000
    assert calls.started == 1
    assert calls.progress == ["compiling the module"]
    assert "3 files" in read(workload.stdout)
    counts = read(workload.results[0].host_path / "counts.csv").splitlines()
    assert counts[0] == "word,count"
    assert counts[1] == "the,35"


async def test_a_second_run_finds_the_compiled_module_and_starts_over(
    engine: WasmEngine, tmp_path: Path
) -> None:
    workload = make_workload(
        tmp_path,
        WasmTask(entry_module="/module/wordcount.wasm", parameters=("/data",)),
        inputs={"/module": JOBS, "/data": JOBS / "wordcount-data"},
        results={"outputs": "/outputs"},
    )
    first = await run(engine, workload)
    (workload.results[0].host_path / "left over").write_text("from an earlier try")
    calls = Calls()
    second = await run(engine, workload, calls)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert calls.progress == []
    assert sorted(os.listdir(workload.results[0].host_path)) == ["counts.csv"]
    assert read(workload.stdout).count("3 files") == 1


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (7, 7), (126, 126), (134, 134), (255, 255), (-1, 255)]
)
async def test_any_exit_code_comes_through(
    engine: WasmEngine, tmp_path: Path, code: int, expected: int
) -> None:
    ended, _, _ = await run_wat(engine, tmp_path, f"(call $exit (i32.const {code}))", imports=EXIT)
    assert ended.exit_code == expected
    assert ended.fault == (Fault.JOB if expected else None)


async def test_a_trap_is_the_jobs_fault_and_says_what_happened(engine: WasmEngine, tmp_path: Path) -> None:
    ended, _, _ = await run_wat(engine, tmp_path, "unreachable")
    assert (ended.exit_code, ended.fault) == (None, Fault.JOB)
    assert ended.reason == "the program trapped: unreachable"


@pytest.mark.parametrize(
    ("body", "exit_code", "reason"),
    [
        pytest.param("(call $exit (i32.const 0))", 0, "exited", id="it exits well"),
        pytest.param("(call $exit (i32.const 7))", 7, "the program exited with 7", id="it exits with a code"),
        pytest.param("unreachable", None, "the program trapped: unreachable", id="it traps"),
        pytest.param("(call $deep)", None, "the program trapped: stack overflow", id="it goes too deep"),
    ],
)
@pytest.mark.parametrize("where", ["start section", "library's constructors", "library's start section"])
async def test_a_program_that_ends_while_it_is_set_up_ended_as_in_its_start(
    engine: WasmEngine, tmp_path: Path, where: str, body: str, exit_code: int | None, reason: str
) -> None:
    say = """(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 5))
      (i32.store (i32.const 16) (i32.const 0x0a6b6f))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    ending = f"""{EXIT} {WRITE} (memory (export "memory") 1) (func $deep (call $deep))
      (func $f {say} {body})"""
    plain = '(func (export "_start"))'
    texts = {
        "start section": (f"(module {ending} (start $f) {plain})", None),
        "library's constructors": (
            f"(module {plain})",
            f'(module {ending} (export "_initialize" (func $f)))',
        ),
        "library's start section": (f"(module {plain})", f"(module {ending} (start $f))"),
    }
    inputs = {}
    for name, text in zip(("main", "library"), texts[where], strict=True):
        if text is not None:
            inputs[f"/{name}.wasm"] = tmp_path / f"{name}.wasm"
            inputs[f"/{name}.wasm"].write_bytes(wasmtime.wat2wasm(text))
    task = WasmTask(
        entry_module="/main.wasm", import_modules=("/library.wasm",) if "/library.wasm" in inputs else ()
    )
    workload, calls = make_workload(tmp_path, task, inputs=inputs), Calls()
    ended = await run(engine, workload, calls)
    assert ended.exit_code == exit_code, ended
    assert ended.reason.startswith(reason)
    assert ended.fault == (Fault.JOB if exit_code != 0 else None)
    # So that what it wrote is kept.
    assert calls.started == 1
    assert read(workload.stdout).startswith("ok\n")


@pytest.mark.parametrize(
    ("content", "entrypoint", "reason"),
    [
        (b"#!/bin/sh", "_start", "module.wasm is not a WASM module"),
        (b"\0asm\x0d\0\1\0", "_start", "the component does not export wasi:cli/run; it exports: nothing"),
        (b"\0asm\2\0\0\0", "_start", "module.wasm is of a version that no peer runs"),
        (b"\0asm\1\0\0\0\xff", "_start", "module.wasm does not compile"),
        (wasmtime.wat2wasm('(module (import "env" "f" (func)))'), "_start", "unknown import: `env::f`"),
        (
            wasmtime.wat2wasm('(module (func (export "main")))'),
            "_start",
            "the module has no function '_start'; its functions are: main",
        ),
        (wasmtime.wat2wasm('(module (func (export "f") (param i32)))'), "f", "takes parameters"),
    ],
)
async def test_a_module_that_cannot_run_has_a_clear_reason(
    engine: WasmEngine, tmp_path: Path, content: bytes, entrypoint: str, reason: str
) -> None:
    module = tmp_path / "module.wasm"
    module.write_bytes(content)
    task = WasmTask(entry_module="/m/module.wasm", entrypoint=entrypoint)
    calls = Calls()
    ended = await run(engine, make_workload(tmp_path, task, inputs={"/m/module.wasm": module}), calls)
    assert (ended.exit_code, ended.fault, calls.started) == (None, Fault.JOB, 0)
    assert reason in ended.reason


async def test_a_module_that_no_input_holds_is_refused(engine: WasmEngine, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "escape.wasm").symlink_to(JOBS / "noop.wasm")
    for entry in ("/other/noop.wasm", "/in/escape.wasm", "/in/../in/none.wasm"):
        workload = make_workload(tmp_path, WasmTask(entry_module=entry), inputs={"/in": tmp_path / "in"})
        ended = await run(engine, workload)
        assert ended.fault is Fault.JOB
        assert "no input source holds the module" in ended.reason


async def test_a_network_is_refused(engine: WasmEngine, tmp_path: Path) -> None:
    workload = make_workload(
        tmp_path, WasmTask(entry_module="/m"), network=Network(type=NetworkType.HTTP, domains=("a.example",))
    )
    ended = await run(engine, workload)
    assert ended.fault is Fault.JOB
    assert "no network" in ended.reason
    assert await engine.networks() == {NetworkType.NONE}


async def test_a_library_is_linked_under_its_files_name(engine: WasmEngine, tmp_path: Path) -> None:
    library, program = tmp_path / "answer.wasm", tmp_path / "main.wasm"
    library.write_bytes(wasmtime.wat2wasm('(module (func (export "get") (result i32) (i32.const 42)))'))
    program.write_bytes(
        wasmtime.wat2wasm(
            f'(module {EXIT} (import "answer" "get" (func $get (result i32)))'
            ' (func (export "_start") (call $exit (call $get))))'
        )
    )
    task = WasmTask(entry_module="/m/main.wasm", import_modules=("/m/answer.wasm",))
    workload = make_workload(tmp_path, task, inputs={"/m/main.wasm": program, "/m/answer.wasm": library})
    assert (await run(engine, workload)).exit_code == 42


async def test_the_engine_says_that_it_is_available(engine: WasmEngine) -> None:
    assert await engine.available() is None


async def test_output_beyond_the_cap_is_cut_with_a_note_and_the_program_goes_on(
    engine: WasmEngine, tmp_path: Path
) -> None:
    flood = """
      (local $n i32)
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 60000))
      (loop $more
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const 400))))
      (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    ended, stdout, stderr = await run_wat(engine, tmp_path, flood, imports=WRITE)
    assert ended.exit_code == 0
    assert len(stdout) == LOG_SIZE_BYTES_MAX + len(f"\n[p2pnode: output cut at {LOG_SIZE_BYTES_MAX} bytes]\n")
    assert stdout.endswith(f"[p2pnode: output cut at {LOG_SIZE_BYTES_MAX} bytes]\n")
    assert len(stderr) == 60_000


async def test_the_order_of_both_streams_is_known_however_fast_they_are_written(
    engine: WasmEngine, tmp_path: Path
) -> None:
    alternate = """
      (local $n i32)
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 3))
      (loop $more
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const 500))))"""
    workload = wat_workload(tmp_path, alternate, imports=WRITE)
    assert (await run(engine, workload)).exit_code == 0
    assert workload.order.runs == [0, *[3, 6] * 500]
    assert (len(read(workload.stdout)), len(read(workload.stderr))) == (3_000, 1_500)


async def test_out_of_memory_is_told_apart(engine: WasmEngine, tmp_path: Path) -> None:
    grow_until_refused = """
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"""
    ended, _, _ = await run_wat(
        engine, tmp_path, grow_until_refused, resources=Resources(memory_bytes=32_000_000)
    )
    assert ended.fault is Fault.JOB
    assert "probably out of memory" in ended.reason
    ended, _, _ = await run_wat(
        engine, tmp_path, "", memory="(memory 1000)", resources=Resources(memory_bytes=32_000_000)
    )
    assert ended.fault is Fault.JOB
    assert "needs more memory than the job's limit of 32000000 bytes" in ended.reason


async def test_a_program_gets_its_environment_and_nothing_of_the_nodes(
    engine: WasmEngine, tmp_path: Path
) -> None:
    imports = (
        '(import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))'
        '(import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))'
    )
    program = tmp_path / "environment.wasm"
    program.write_bytes(
        wasmtime.wat2wasm(
            f"""(module {imports} {WRITE} (memory (export "memory") 1) (func (export "_start")
              (drop (call $sizes (i32.const 0) (i32.const 20)))
              (drop (call $get (i32.const 1024) (i32.const 8192)))
              (i32.store (i32.const 16) (i32.const 8192))
              (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"""
        )
    )
    task = WasmTask(entry_module="/m", environment={"B": "engine"})
    workload = make_workload(
        tmp_path, task, inputs={"/m": program}, environment={"A": "task", "B": "task too"}
    )
    assert (await run(engine, workload)).exit_code == 0
    variables = dict(one.split("=", 1) for one in read(workload.stdout).split("\0") if one)
    own = {name: value for name, value in variables.items() if not name.startswith(("P2PNODE_", "BACALHAU_"))}
    assert own == {"A": "task", "B": "engine", "PWD": "/"}
    assert variables["P2PNODE_EXECUTION_ID"] == workload.execution_id
