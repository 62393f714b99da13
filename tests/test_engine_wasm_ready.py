"""The WASM worker that is ready before a program comes: fenced, used once, bounded, ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from p2pnode.core.wire.spec import Resources
from p2pnode.engines.wasm import ready
from p2pnode.engines.wasm.engine import WasmEngine

from .engine_support import Calls
from .network_support import until
from .wasm_support import JOBS, SLEEP, SLEEP_AN_HOUR, run_wat, workers_of
from .wasm_support import engine as engine

SHARE = Resources(cpu_millis=200, memory_bytes=64_000_000)


@pytest.fixture
async def kept(engine: WasmEngine) -> AsyncIterator[WasmEngine]:
    """An engine that keeps a worker ready."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.keep_ready)
        yield engine
        nursery.cancel_scope.cancel()


def status_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def groups_of(pid: int) -> list[Path]:
    """The control groups of ours that a process is in."""
    groups = [line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    roots = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
    found = (root / group.lstrip("/") for group in groups if "p2pnode-wasm" in group for root in roots)
    return [group for group in found if group.exists()]


async def ended(pid: int) -> None:
    """Wait until a process is gone, child or not."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with trio.fail_after(10):
        await trio.lowlevel.wait_readable(end)
    os.close(end)


async def spare_after_a_run(engine: WasmEngine, tmp_path: Path) -> int:
    """The process that waits once a program has run."""
    await run_wat(engine, tmp_path, "", resources=SHARE)
    await until(lambda: engine._workers._spare)
    (spare,) = workers_of(os.getpid())
    await until(lambda: status_of(spare)["Seccomp"] == ["2"])
    return spare


async def test_no_worker_waits_before_the_first_program(kept: WasmEngine) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert workers_of(os.getpid()) == []


async def test_a_program_gets_the_spare_with_its_own_share_and_the_next_one_another(
    kept: WasmEngine, tmp_path: Path
) -> None:
    spare = await spare_after_a_run(kept, tmp_path)
    groups, calls = groups_of(spare), Calls()
    async with trio.open_nursery() as nursery:

        async def sleep() -> None:
            await run_wat(kept, tmp_path, SLEEP_AN_HOUR, imports=SLEEP, calls=calls, resources=SHARE)

        nursery.start_soon(sleep)
        await calls.started_event.wait()
        assert workers_of(os.getpid()) == [spare]
        assert "0" not in status_of(spare)["Uid"]
        for group in groups:
            quotas = [file for name in ("cpu.max", "cpu.cfs_quota_us") if (file := group / name).exists()]
            assert [file.read_text().split()[0] for file in quotas] == ["20000"]
        nursery.cancel_scope.cancel()
    await ended(spare)
    assert not any(group.exists() for group in groups)
    assert await spare_after_a_run(kept, tmp_path) != spare


async def test_many_programs_at_once_leave_one_spare(kept: WasmEngine, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(run_wat, kept, tmp_path, "")
    await spare_after_a_run(kept, tmp_path)
    assert len(workers_of(os.getpid())) == 1


async def test_a_spare_is_fenced_before_it_is_asked_for_anything(kept: WasmEngine, tmp_path: Path) -> None:
    status = status_of(await spare_after_a_run(kept, tmp_path))
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])


async def test_a_spare_that_was_killed_is_not_used(kept: WasmEngine, tmp_path: Path) -> None:
    spare = await spare_after_a_run(kept, tmp_path)
    os.kill(spare, signal.SIGKILL)
    await until(lambda: workers_of(os.getpid()) == [])
    assert (await run_wat(kept, tmp_path, ""))[0].exit_code == 0


async def test_a_spare_that_nobody_needs_is_given_up(
    kept: WasmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "UNUSED_S_MAX", 1.0)
    spare = await spare_after_a_run(kept, tmp_path)
    groups = groups_of(spare)
    await ended(spare)
    await until(lambda: not any(group.exists() for group in groups))
    assert (await run_wat(kept, tmp_path, ""))[0].exit_code == 0


async def test_a_spare_is_given_up_when_memory_is_short(
    kept: WasmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "LOOK_AT_MEMORY_S", 0.1)
    spare = await spare_after_a_run(kept, tmp_path)
    monkeypatch.setattr(ready, "AVAILABLE_BYTES_MIN", 2**62)
    await ended(spare)
    assert (await run_wat(kept, tmp_path, ""))[0].exit_code == 0
    await trio.testing.wait_all_tasks_blocked()
    assert workers_of(os.getpid()) == []


async def test_a_spare_ends_with_the_task_that_keeps_it(engine: WasmEngine, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.keep_ready)
        groups = groups_of(await spare_after_a_run(engine, tmp_path))
        nursery.cancel_scope.cancel()
    assert workers_of(os.getpid()) == []
    assert not any(group.exists() for group in groups)


NODE = """
import trio
from pathlib import Path
from p2pnode.engines.wasm.engine import WasmEngine
from tests.test_engine_wasm_ready import spare_after_a_run
async def main(path):
    engine = WasmEngine(path / "cache")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.keep_ready)
        print(await spare_after_a_run(engine, path), flush=True)
        await trio.sleep_forever()
"""


@pytest.mark.parametrize(
    "victim", [lambda node, spare: node, lambda node, spare: int(status_of(spare)["PPid"][0])],
    ids=["node", "template"],
)  # fmt: skip
async def test_a_spare_does_not_outlive_a_node_or_a_template_that_is_killed(
    tmp_path: Path, victim: Callable[[int, int], int]
) -> None:
    node = f"{NODE}\ntrio.run(main, Path({str(tmp_path)!r}))"
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", node], stdout=subprocess.PIPE, cwd=JOBS.parent.parent
        )
        assert process.stdout
        spare = int(await process.stdout.receive_some())
        os.kill(victim(process.pid, spare), signal.SIGKILL)
        await ended(spare)
        process.kill()
        await process.wait()
        await process.stdout.aclose()
