"""Programs that are told to stop, in both engines: their signal, their grace, and what they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import wasmtime

from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import Engine, ProgramEnd, Workload

from .docker_engine import BUSYBOX, SOCKET, containers, require_docker
from .engine_support import Calls, make_workload, read, run
from .wasm_support import SLEEP, SLEEP_AN_HOUR, WRITE
from .wasm_support import engine as wasm

NODE = "test-engine-stop"
__all__ = ["wasm"]


@pytest.fixture
async def docker() -> AsyncIterator[DockerEngine]:
    require_docker()
    engine = DockerEngine(NODE, SOCKET)
    yield engine
    left = containers(f"label={LABEL_NODE}={NODE}")
    await engine.reap(())
    assert left == []


def shell(directory: Path, script: str) -> Workload:
    task = DockerTask(image=BUSYBOX, entrypoint=("sh", "-c"), parameters=(script,))
    return make_workload(directory, task, results={"out": "/out"})


async def run_and_stop(
    engine: Engine, workload: Workload, written: str, grace_s: float
) -> tuple[ProgramEnd, float]:
    """Stop the program once that is in its stdout; how it ended, and how long that took."""
    ended: list[ProgramEnd] = []

    async def run_it() -> None:
        ended.append(await run(engine, workload, calls))

    calls = Calls()
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_it)
            await calls.started_event.wait()
            while written not in read(workload.stdout):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.05)
            asked = trio.current_time()
            workload.stopping.ask(grace_s)
        return ended[0], trio.current_time() - asked


SAVE = "echo saved > /out/saved; echo bye"
STEPS = "echo part > /out/part; echo begun; while :; do sleep 0.1; done"
WAYS: dict[str, tuple[str, int, str, Callable[[float], bool]]] = {
    "heeds it": (
        f"trap '{SAVE}; exit 3' TERM; {STEPS}",
        3,
        "bye",
        lambda s: s < 5,
    ),
    "exits well": (f"trap 'exit 0' TERM; {STEPS}", 0, "", lambda s: s < 5),
    "does not know it": (STEPS, 143, "", lambda s: s < 5),
    "ignores it": (f"trap '' TERM; {STEPS}", 137, "", lambda s: s >= 2),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_container_gets_its_signal_and_its_grace_and_leaves_what_it_wrote(
    docker: DockerEngine, tmp_path: Path, way: str
) -> None:
    script, exit_code, last, took_well = WAYS[way]
    workload = shell(tmp_path, script)
    ended, took_s = await run_and_stop(docker, workload, "begun", 2)
    assert ended.exit_code == exit_code, ended
    assert took_well(took_s), took_s
    assert read(workload.stdout) == "begun\n" + (f"{last}\n" if last else "")
    assert read(workload.results[0].host_path / "part") == "part\n"
    assert (workload.results[0].host_path / "saved").exists() == bool(last)


async def test_a_wasm_program_is_killed_at_once_and_leaves_what_it_wrote(
    wasm: WasmEngine, tmp_path: Path
) -> None:
    begun = f"""
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))){SLEEP_AN_HOUR}"""
    memory = '(memory (export "memory") 1) (data (i32.const 16) "begun\\n")'
    module = tmp_path / "module.wasm"
    module.write_bytes(
        wasmtime.wat2wasm(f'(module {WRITE} {SLEEP} {memory} (func (export "_start") {begun}))')
    )
    workload = make_workload(tmp_path, WasmTask(entry_module="/m.wasm"), inputs={"/m.wasm": module})
    ended, took_s = await run_and_stop(wasm, workload, "begun", 30)
    assert ended.exit_code is None and took_s < 5
    assert read(workload.stdout) == "begun\n"


@pytest.mark.parametrize("name", ["docker", "wasm"])
async def test_what_is_told_to_stop_before_it_begins_does_not_begin(
    name: str, tmp_path: Path, docker: DockerEngine, wasm: WasmEngine
) -> None:
    workload = shell(tmp_path, "echo begun")
    workload.stdout.write_text("of an earlier run")
    workload.stopping.ask(10)
    calls = Calls()
    engine: Engine = docker if name == "docker" else wasm
    ended = await run(engine, workload, calls)
    assert (ended.exit_code, calls.started) == (None, 0)
    assert read(workload.stdout) == "of an earlier run"
