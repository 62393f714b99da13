"""Parts that the tests of the WASM engine share: an engine, modules made of text, the workers that run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import wasmtime

from p2pnode.core.wire.spec import Resources
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import ProgramEnd, Workload

from .engine_support import Calls, make_workload, read, run

JOBS = Path(__file__).parent.parent / "devnet" / "jobs"
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
SLEEP = '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
# One subscription to the realtime clock at 64: an hour from now.
SLEEP_AN_HOUR = """
  (i64.store (i32.const 88) (i64.const 3600000000000))
  (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 200)))"""
SPIN = "(loop $more (br $more))"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[WasmEngine]:
    engine = WasmEngine(tmp_path / "cache")
    yield engine
    await engine.aclose()


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
) -> tuple[ProgramEnd, str, str]:
    """Run a `_start` of that body; returns its end, stdout and stderr."""
    workload = wat_workload(
        tmp_path, body, imports=imports, memory=memory, resources=resources, entrypoint=entrypoint
    )
    ended = await run(engine, workload, calls)
    return ended, read(workload.stdout), read(workload.stderr)


def wat_workload(
    tmp_path: Path,
    body: str,
    *,
    imports: str = "",
    memory: str = '(memory (export "memory") 1)',
    resources: Resources | None = None,
    entrypoint: str = "_start",
) -> Workload:
    content = wasmtime.wat2wasm(f'(module {imports} {memory} (func (export "_start") {body}))')
    module = tmp_path / f"module-{abs(hash(bytes(content)))}.wasm"
    module.write_bytes(content)
    task = WasmTask(entry_module="/module.wasm", entrypoint=entrypoint)
    return make_workload(tmp_path, task, inputs={"/module.wasm": module}, resources=resources)


def templates_of(node: int) -> list[int]:
    """The processes of that node that fork its WASM workers."""
    return [pid for pid in _children(node) if b"wasm.worker" in _command(pid)]


def workers_of(node: int) -> list[int]:
    """The WASM workers of that node, which are children of its template."""
    return [worker for template in templates_of(node) for worker in _children(template)]


def _children(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            status = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        if entry.isdigit() and int(status.rpartition(")")[2].split()[1]) == parent:
            found.append(int(entry))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
