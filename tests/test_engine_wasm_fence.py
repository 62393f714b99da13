"""The WASM engine's limits and fences: what a hostile program, a bomb of a module, a crash can do."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import wasmtime

from p2pnode.core.wire.spec import Resources, Timeouts
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.core.wire.states import Fault
from p2pnode.engines.wasm import compiled as wasm_compiled
from p2pnode.engines.wasm import engine as wasm
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import ProgramEnd

from .engine_support import Calls, id_prefix, make_workload, read, run
from .wasm_support import EXIT, JOBS, SLEEP, SLEEP_AN_HOUR, SPIN, WRITE, run_wat, templates_of, workers_of
from .wasm_support import engine as engine


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
    ends: list[ProgramEnd] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def spin() -> None:
                ends.append((await run_wat(engine, tmp_path, SPIN, calls=calls))[0])

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
from p2pnode.core.wire.spec import WasmTask as Task
from p2pnode.engines.wasm.engine import WasmEngine
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


# Run in a process of its own, fenced as a worker is: prints what it still could do.
PROBES = """
import os, socket, sys, threading
from p2pnode.engines.wasm.worker import fence
given, read_only, other = sys.argv[1:]
fence.enclose(os.getppid()); fence.confine([(given, True), (read_only, False)], os.getppid())
def attempt(name, action):
    try:
        action()
        print(name)
    except OSError:
        pass
def fork():
    if os.fork() == 0:
        os._exit(0)
attempt("write-given", lambda: open(given + "/new", "w").close())
attempt("list-read-only", lambda: os.listdir(read_only))
attempt("write-read-only", lambda: open(read_only + "/new", "w").close())
attempt("list-other", lambda: os.listdir(other))
attempt("passwd", lambda: open("/etc/passwd").close())
attempt("socket", lambda: socket.socket().close())
attempt("unix-socket", lambda: socket.socket(socket.AF_UNIX).close())
attempt("fork", fork)
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("root", lambda: os.setuid(0) if os.getuid() else print("uid-0"))
thread = threading.Thread(target=lambda: print("thread"))
thread.start(); thread.join()
"""


async def test_a_fenced_process_has_its_directories_and_threads_and_nothing_else(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("given", "read-only", "other")]
    for directory in directories:
        directory.mkdir()
    command = [sys.executable, "-c", PROBES, *map(str, directories)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["write-given", "list-read-only", "thread"]


async def test_a_running_worker_has_given_up_its_rights(engine: WasmEngine, tmp_path: Path) -> None:
    calls = Calls()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def sleep() -> None:
                await run_wat(engine, tmp_path, SLEEP_AN_HOUR, imports=SLEEP, calls=calls)

            nursery.start_soon(sleep)
            await calls.started_event.wait()
            (worker,) = workers_of(os.getpid())
            lines = (await trio.Path(f"/proc/{worker}/status").read_text()).splitlines()
            limits = (await trio.Path(f"/proc/{worker}/limits").read_text()).splitlines()
            nursery.cancel_scope.cancel()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert "0" not in status["Uid"] + status["Gid"] + status["Groups"]
    # At most CAP_DAC_OVERRIDE, for the directories that Landlock leaves it.
    assert int(status["CapEff"][0], 16) in (0, 2)
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    (open_files,) = (line.split() for line in limits if line.startswith("Max open files"))
    assert open_files[3:5] == ["1024", "1024"]


def groups_left(directory: Path) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/p2pnode-wasm/{id_prefix(directory)}*"))


@contextmanager
def no_control_group(*_: object) -> Iterator[None]:
    yield None


@pytest.mark.parametrize("by", ["control group, where there is one", "stopping and continuing"])
async def test_a_program_gets_its_share_of_a_core_and_no_more(
    engine: WasmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by.startswith("stopping"):
        monkeypatch.setattr("p2pnode.engines.wasm.ready.control_group", no_control_group)
    calls = Calls()
    resources = Resources(cpu_millis=200, memory_bytes=64_000_000)
    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:

            async def spin() -> None:
                await run_wat(engine, tmp_path, SPIN, calls=calls, resources=resources)

            nursery.start_soon(spin)
            await calls.started_event.wait()
            (worker,) = workers_of(os.getpid())
            clock = (~worker << 3) | 2
            began, used = time.monotonic(), time.clock_gettime(clock)
            await trio.sleep(2)
            share = (time.clock_gettime(clock) - used) / (time.monotonic() - began)
            nursery.cancel_scope.cancel()
    assert 0.1 < share < 0.27
    assert groups_left(tmp_path) == []


async def test_a_program_that_used_its_time_up_is_ended_though_the_node_looks_away(
    engine: WasmEngine, tmp_path: Path
) -> None:
    module = tmp_path / "spin.wasm"
    module.write_bytes(wasmtime.wat2wasm(f'(module (func (export "_start") {SPIN}))'))
    workload = make_workload(tmp_path, WasmTask(entry_module="/m"), inputs={"/m": module})
    resources = msgspec.structs.replace(workload.task.resources, cpu_millis=1000)
    task = msgspec.structs.replace(workload.task, timeouts=Timeouts(execution_s=1), resources=resources)
    workload = dataclasses.replace(workload, task=task)
    with trio.fail_after(30):
        ended = await run(engine, workload)
    assert ended.fault is Fault.JOB
    assert "more processor time" in ended.reason


def module_of(functions: int) -> bytes:
    """A module that takes about a second to compile for each 4,000 functions."""
    body = "(local.set 0 (i64.mul (local.get 0) (i64.add (local.get 0) (i64.const 77))))" * 60
    function = f"(func (param i64) (result i64) {body} local.get 0)"
    return bytes(wasmtime.wat2wasm(f'(module {function * functions} (func (export "_start")))'))


async def run_module(
    engine: WasmEngine, tmp_path: Path, content: bytes, calls: Calls | None = None
) -> ProgramEnd:
    module = tmp_path / "module.wasm"
    module.write_bytes(content)
    workload = make_workload(tmp_path, WasmTask(entry_module="/m"), inputs={"/m": module})
    return await run(engine, workload, calls)


async def test_a_module_that_is_too_much_for_the_compiler_is_refused(
    engine: WasmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = module_of(3_000)
    with monkeypatch.context() as patch:
        patch.setattr(wasm_compiled, "COMPILE_S_MAX", 0.2)
        ended = await run_module(engine, tmp_path, content)
        assert (ended.fault, ended.reason) == (Fault.JOB, "m did not compile within 0.2 s")
    with monkeypatch.context() as patch:
        patch.setattr(wasm_compiled, "COMPILE_MEMORY_BYTES_MAX", 40 * 1024**2)
        ended = await run_module(engine, tmp_path, content)
        assert ended.fault is Fault.JOB
        assert "took more than 41943040 bytes of memory" in ended.reason
    assert workers_of(os.getpid()) == []
    assert os.listdir(tmp_path / "cache") == []


async def test_a_module_is_compiled_once_for_all_that_wait_for_it(engine: WasmEngine, tmp_path: Path) -> None:
    content = module_of(1_000)
    all_calls = [Calls() for _ in range(5)]
    async with trio.open_nursery() as nursery:
        for number, calls in enumerate(all_calls):
            (tmp_path / str(number)).mkdir()
            nursery.start_soon(run_module, engine, tmp_path / str(number), content, calls)
    said = [calls.progress for calls in all_calls]
    assert said.count(["compiling the module"]) == 1
    assert said.count(["waiting until the module is compiled for another execution"]) == 4
    assert [calls.started for calls in all_calls] == [1] * 5


async def test_compiled_code_that_is_damaged_is_made_anew(engine: WasmEngine, tmp_path: Path) -> None:
    first, calls = Calls(), Calls()
    content = module_of(1)
    await run_module(engine, tmp_path, content, first)
    (compiled,) = (tmp_path / "cache").iterdir()
    assert compiled.stat().st_mode & 0o077 == 0 or (tmp_path / "cache").stat().st_mode & 0o077 == 0
    compiled.write_bytes(b"\x7fELF" + bytes(1000))
    ended = await run_module(engine, tmp_path, content, calls)
    assert (ended.exit_code, calls.progress, calls.started) == (0, ["compiling the module"], 1)


def test_a_cache_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory that is another user's")
    theirs = tmp_path / "cache"
    theirs.mkdir()
    os.chown(theirs, 65_534, 65_534)
    with pytest.raises(OSError, match="has to be a directory of the user"):
        WasmEngine(theirs)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="has to be a directory of the user"):
        WasmEngine(tmp_path / "link")


async def test_when_the_template_dies_its_program_fails_and_the_next_one_runs(
    engine: WasmEngine, tmp_path: Path
) -> None:
    calls = Calls()
    ends: list[ProgramEnd] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def spin() -> None:
                ends.append((await run_wat(engine, tmp_path, SPIN, calls=calls))[0])

            nursery.start_soon(spin)
            await calls.started_event.wait()
            os.kill(templates_of(os.getpid())[0], signal.SIGKILL)
        assert ends[0].fault is Fault.PEER
        assert "lost with the process that starts workers" in ends[0].reason
        ended, _, _ = await run_wat(engine, tmp_path, "(call $exit (i32.const 3))", imports=EXIT)
    assert ended.exit_code == 3


@pytest.mark.parametrize(
    ("memories", "exit_code"),
    [('(memory (export "memory") 1)', 0), ("(memory 1)" * 30 + '(memory (export "memory") 1)', 1)],
)
async def test_a_program_gets_the_memory_of_its_limit_but_not_several_times_over(
    engine: WasmEngine, tmp_path: Path, memories: str, exit_code: int
) -> None:
    """Each memory grows by 14,000 pages, 917 MB; a program whose memory does not grow exits with 1."""
    grow = " ".join(
        f"(if (i32.eq (memory.grow {number} (i32.const 14000)) (i32.const -1))"
        " (then (call $exit (i32.const 1))))"
        for number in range(memories.count("(memory "))
    )
    ended, _, _ = await run_wat(
        engine, tmp_path, grow, imports=EXIT, memory=memories, resources=Resources(memory_bytes=1_000_000_000)
    )
    assert ended.exit_code == exit_code, ended


async def test_a_bomb_of_tables_ends_as_the_jobs_fault(engine: WasmEngine, tmp_path: Path) -> None:
    ended, _, _ = await run_wat(engine, tmp_path, "", memory="(table 1000000 funcref)" * 60)
    assert ended.fault is Fault.JOB, ended


async def test_endless_recursion_is_a_trap(engine: WasmEngine, tmp_path: Path) -> None:
    deeper = "(func $deeper (call $deeper))"
    ended, _, _ = await run_wat(engine, tmp_path, "(call $deeper)", memory=deeper)
    assert ended.fault is Fault.JOB
    assert "the program trapped: stack overflow" in ended.reason


async def test_a_module_whose_setup_never_ends_is_ended(
    engine: WasmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "SETUP_S_MAX", 0.5)
    endless = f"(func $setup {SPIN}) (start $setup)"
    calls = Calls()
    with trio.fail_after(20):
        ended, _, _ = await run_wat(engine, tmp_path, "", memory=endless, calls=calls)
    assert (ended.fault, calls.started) == (Fault.JOB, 0)
    assert ended.reason == "the module was not set up within 0.5 s"
