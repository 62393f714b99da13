"""The cost of a WASM job beyond its bare module, and what a hundred at once cost a node.

The bare module is run in this process, by the same wasmtime with the same settings, from code
compiled before: its yardstick is instantiating and calling it, nothing else.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio
import wasmtime
import yaml

from p2pnode.client.calls import Client
from p2pnode.client.finding import find
from p2pnode.core.wire.spec import Resources, Task
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.wasm.worker.compiling import the_engine
from p2pnode.engines.workload import Mount, Workload

from .figures import ROOT, cpu_s, devnet, memory_bytes, node_pid, options, percentile, show
from .jobs import add_to

STARTS = 40
COMPUTATIONS = 7
AT_ONCE = 100
# How long each of the hundred runs: until all have begun, and then over the time of measurement.
PROGRAM_S = 40
MEASURE_S = 10.0
SUBMIT_S_MAX = 120.0
# A pseudo-random walk (xorshift) through 8 MB: arithmetic, branches and memory, for about a second.
COMPUTE = """
(module (memory (export "memory") 128)
  (func (export "_start") (local $x i64) (local $n i32) (local $at i32)
    (local.set $x (i64.const 88172645463325252))
    (loop $more
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (local.set $at (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0x7ffff8)))
      (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (local.get $x)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (i32.const 200000000))))))
"""
# Says a line ten times a second.
LINES = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "still at it\\n")
  (func (export "_start") (local $n i32)
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 12))
    (loop $more
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i64.store (i32.const 88) (i64.const 100000000))
      (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 200)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (i32.const LINES))))))
""".replace("LINES", str(PROGRAM_S * 10))


def bare(module: Path) -> Callable[[], float]:
    """A function that runs the module in this process and gives the seconds that it took."""
    engine = the_engine()
    code = wasmtime.Module.from_file(engine, str(module)).serialize()

    def once() -> float:
        start = time.perf_counter()
        store = wasmtime.Store(engine)
        store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(store, wasmtime.Module.deserialize(engine, code))
        entry = instance.exports(store)["_start"]
        assert isinstance(entry, wasmtime.Func)
        entry(store)
        return time.perf_counter() - start

    return once


async def compare(module: Path, runs: int) -> tuple[float, float]:
    """Medians in seconds: as a job of the engine, and bare. One after the other, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        engine, alone = WasmEngine(Path(scratch) / "cache"), bare(module)
        jobs, bares = [], []
        for number in range(runs + 1):
            place = Path(scratch) / str(number)
            place.mkdir()
            workload = Workload(
                execution_id=f"e-{number}",
                task=Task(engine=WasmTask(entry_module="/m"), resources=Resources(cpu_millis=1000)),
                job_id="j",
                replica=0,
                replica_count=1,
                directory=place,
                inputs=(Mount(host_path=module, target="/m"),),
                stdout=place / "stdout",
                stderr=place / "stderr",
            )
            start = time.perf_counter()
            ended = await engine.run(workload, lambda: None, lambda text: None)
            jobs.append(time.perf_counter() - start)
            assert ended.exit_code == 0, ended
            bares.append(alone())
        await engine.aclose()
    # The first compiles the module.
    return percentile(jobs[1:], 50), percentile(bares[1:], 50)


def job_file(client: Client, module: Path) -> bytes:
    """The text of a job of that module, which the node is given."""
    cid = add_to(client, module)
    spec = yaml.safe_load((ROOT / "devnet/jobs/noop.yaml").read_text())
    task = spec["Tasks"][0]
    task["Resources"] = {"CPU": "10m", "Memory": "16mb"}
    task["InputSources"][0]["Source"]["Params"]["CID"] = cid
    return yaml.safe_dump(spec).encode()


def hundred_at_once(module: Path) -> None:
    with devnet(1) as directory:
        client, pid = find(directory / "node-1", {}), node_pid(directory, 1)
        job = job_file(client, module)
        idle_memory, idle_cpu = memory_bytes(pid), cpu_s(pid)
        start = time.perf_counter()
        jobs = [client.submit(job, "lines.yaml") for _ in range(AT_ONCE)]
        while sum(client.job(one)["state"] == "Running" for one in jobs) < AT_ONCE:
            assert time.perf_counter() - start < SUBMIT_S_MAX, "they do not all run"
            time.sleep(0.5)
        begun_s, begun_cpu = time.perf_counter() - start, cpu_s(pid) - idle_cpu
        before = cpu_s(pid)
        time.sleep(MEASURE_S)
        share = (cpu_s(pid) - before) / MEASURE_S
        memory, workers = memory_bytes(pid), _descendants(pid)
        shared = sum(_proportional_bytes(one) for one in workers)
        for one in jobs:
            for _ in client.job_events(one, follow=True):
                pass
            assert client.job(one)["state"] == "Completed"
        total_cpu = cpu_s(pid) - idle_cpu
    print(f"{AT_ONCE} WASM jobs at once on one node, each says 10 lines a second for {PROGRAM_S} s")
    print(f"  all run after {begun_s:.1f} s; the node used {begun_cpu:.1f} s of processor time for that")
    print(f"  while they run: {share:.1%} of a core for the node process")
    print(f"  its memory: {memory / 1e6:.0f} MB, {memory / idle_memory:.2f} x that of the idle node")
    print(f"  memory of {len(workers)} other processes together: {shared / 1e6:.0f} MB")
    print(
        f"  from submit to Completed: {total_cpu / AT_ONCE * 1000:.0f} ms of the node's processor time a job"
    )


def _descendants(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    return [one for child in children for one in (child, *_descendants(child))]


def _proportional_bytes(pid: int) -> int:
    """Resident memory, of which shared pages count in parts: the sum over processes is what they take."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    options("wasm", __doc__).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compute, lines = Path(scratch) / "compute.wasm", Path(scratch) / "lines.wasm"
        compute.write_bytes(wasmtime.wat2wasm(COMPUTE))
        lines.write_bytes(wasmtime.wat2wasm(LINES))
        job, alone = trio.run(compare, ROOT / "devnet/jobs/noop.wasm", STARTS)
        show("start: a module that does nothing, as a job", job, "the bare module", alone)
        print(f"  that is {(job - alone) * 1000:.1f} ms more (aim: at most 60)")
        job, alone = trio.run(compare, compute, COMPUTATIONS)
        show("a module that computes, as a job", job, "the bare module (aim: at most 1.12)", alone)
        hundred_at_once(lines)


if __name__ == "__main__":
    main()
