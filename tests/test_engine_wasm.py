"""The WASM engine, with real modules in real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import wasmtime

from p2pnode.core.messages import Fault
from p2pnode.core.spec import Network, NetworkType, Resources
from p2pnode.core.spec import WasmEngine as WasmTask
from p2pnode.engines.wasm import WasmEngine
from p2pnode.engines.workload import LOG_SIZE_BYTES_MAX, Ended

from .engine_support import Calls, make_workload, read, run

JOBS = Path(__file__).parent.parent / "devnet" / "jobs"
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
SLEEP = '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
# One subscription to the realtime clock at 64: an hour from now.
SLEEP_AN_HOUR = """
  (i64.store (i32.const 88) (i64.const 3600000000000))
  (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 200)))"""


@pytest.fixture
def engine(tmp_path: Path) -> WasmEngine:
    return WasmEngine(tmp_path / "cache")


async def run_wat(
    engine: WasmEngine,
    tmp_path: Path,
    body: str,
    *,
    imports: str = "",
    memory: str = '(memory (export "memory") 1)',
    resources: Resources | None = None,
    calls: Calls | None = None,
    entrypoint: str = "_start",
) -> tuple[Ended, str, str]:
    """Run a `_start` of that body; returns its end, stdout and stderr."""
    module = tmp_path / "module.wasm"
    module.write_bytes(wasmtime.wat2wasm(f'(module {imports} {memory} (func (export "_start") {body}))'))
    task = WasmTask(entry_module="/module.wasm", entrypoint=entrypoint)
    workload = make_workload(tmp_path, task, inputs={"/module.wasm": module}, resources=resources)
    ended = await run(engine, workload, calls)
    return ended, read(workload.stdout), read(workload.stderr)


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
    assert ended.memory_bytes_max > 1_000_000
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


@pytest.mark.parametrize(
    ("content", "entrypoint", "reason"),
    [
        (b"#!/bin/sh", "_start", "module.wasm is not a WASM module"),
        (b"\0asm\x0d\0\1\0", "_start", "a WASM component (WASI preview 2)"),
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
    assert engine.networks() == {NetworkType.NONE}


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


async def test_cancelling_kills_a_program_that_sleeps_in_a_host_call(
    engine: WasmEngine, tmp_path: Path
) -> None:
    calls = Calls()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def sleep() -> None:
                await run_wat(engine, tmp_path, SLEEP_AN_HOUR, imports=SLEEP, calls=calls)

            nursery.start_soon(sleep)
            await calls.started_event.wait()
            nursery.cancel_scope.cancel()
    assert workers_of(os.getpid()) == []


async def test_a_worker_killed_from_outside_is_the_peers_fault(engine: WasmEngine, tmp_path: Path) -> None:
    calls = Calls()
    ends: list[Ended] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def spin() -> None:
                ends.append((await run_wat(engine, tmp_path, "(loop $l (br $l))", calls=calls))[0])

            nursery.start_soon(spin)
            await calls.started_event.wait()
            os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
    assert ends[0].fault is Fault.PEER
    assert "killed by signal 9" in ends[0].reason


async def test_no_worker_outlives_a_node_that_is_killed(tmp_path: Path) -> None:
    module = tmp_path / "spin.wasm"
    module.write_bytes(wasmtime.wat2wasm('(module (func (export "_start") (loop $l (br $l))))'))
    node = f"""
import trio
from pathlib import Path
from p2pnode.core.spec import WasmEngine as Task
from p2pnode.engines.wasm import WasmEngine
from tests.engine_support import make_workload
path = Path({str(tmp_path)!r})
workload = make_workload(path, Task(entry_module="/m"), inputs={{"/m": path / "spin.wasm"}})
trio.run(WasmEngine(path / "cache").run, workload, lambda: print("started", flush=True), print)
"""
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", node], stdout=subprocess.PIPE, cwd=JOBS.parent.parent
        )
        assert process.stdout
        output = b""
        while b"started" not in output:
            output += await process.stdout.receive_some()
        (worker,) = workers_of(process.pid)
        # Readable when that process ends, child or not.
        worker_end = os.pidfd_open(worker)
        process.kill()
        await trio.lowlevel.wait_readable(worker_end)
        os.close(worker_end)
        await process.wait()
        await process.stdout.aclose()


async def test_inputs_cannot_be_written_and_nothing_else_can_be_seen(
    engine: WasmEngine, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to(secret)
    for source, target in (("/data/link", "/outputs/x"), ("/etc/passwd", "/outputs/x"), ("/m/a.txt", "/m/b")):
        (tmp_path / "a.txt").write_text("a")
        workload = make_workload(
            tmp_path,
            WasmTask(entry_module="/w", parameters=(source, target)),
            inputs={"/w": JOBS / "wordcount.wasm", "/data": data, "/m/a.txt": tmp_path / "a.txt"},
            results={"outputs": "/outputs"},
        )
        ended = await run(engine, workload)
        assert ended.exit_code == 1
        assert "wordcount: cannot" in read(workload.stderr)
        assert os.listdir(workload.results[0].host_path) == []


async def test_the_disk_limit_holds_for_one_file_and_for_all_together(
    engine: WasmEngine, tmp_path: Path
) -> None:
    source = tmp_path / "fill.wat"
    opened = (
        '(import "wasi_snapshot_preview1" "path_open"'
        " (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"
    )
    # Opens one file after the other below the first preopen (descriptor 3) and writes 60 kB into each.
    source.write_text(f"""(module {opened} {WRITE} (memory (export "memory") 2)
      (func (export "_start")
        (i32.store8 (i32.const 100) (i32.const 97))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 60000))
        (loop $more
          (i32.store8 (i32.const 101)
            (i32.add (i32.const 97) (i32.rem_u (i32.load (i32.const 200)) (i32.const 26))))
          (i32.store (i32.const 200) (i32.add (i32.load (i32.const 200)) (i32.const 1)))
          (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 2) (i32.const 1)
                            (i64.const 64) (i64.const 0) (i32.const 1) (i32.const 12)))
          (drop (call $write (i32.load (i32.const 12)) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br $more))))""")
    module = tmp_path / "fill.wasm"
    module.write_bytes(wasmtime.wat2wasm(source.read_text()))
    workload = make_workload(
        tmp_path,
        WasmTask(entry_module="/f"),
        inputs={"/f": module},
        results={"outputs": "/outputs"},
        resources=Resources(memory_bytes=64_000_000, disk_bytes=1_000_000),
    )
    with trio.fail_after(20):
        ended = await run(engine, workload)
    assert ended.fault is Fault.JOB
    assert ended.reason.startswith("out of disk: it wrote")
    sizes = [entry.stat().st_size for entry in os.scandir(workload.results[0].host_path)]
    assert 0 < max(sizes) <= 1_000_000


async def test_the_engine_says_that_it_is_available(engine: WasmEngine) -> None:
    assert await engine.available() is None


def workers_of(parent: int) -> list[int]:
    """The WASM workers that are children of that process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == parent and b"wasm_worker" in command:
                found.append(int(entry.name))
    return found
