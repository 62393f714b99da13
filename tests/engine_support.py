"""Workloads for the engine tests: a task, its directories, and what was called back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2pnode.core.wire.spec import (
    DockerTask,
    Network,
    Resources,
    Task,
    WasmTask,
)
from p2pnode.engines.workload import Engine, Mount, ProgramEnd, Workload

_numbers = itertools.count(1)


@dataclass
class Calls:
    """The calls that an engine made while it ran."""

    started: int = 0
    started_event: trio.Event = field(default_factory=trio.Event)
    progress: list[str] = field(default_factory=list)

    def on_started(self) -> None:
        self.started += 1
        self.started_event.set()


def id_prefix(directory: Path) -> str:
    """How the ids of this directory's executions begin: others may run on the machine at the same time."""
    return f"e-{abs(hash(directory)) % 16**8:08x}"


def make_workload(
    directory: Path,
    engine: DockerTask | WasmTask,
    *,
    inputs: dict[str, Path] | None = None,
    results: dict[str, str] | None = None,
    resources: Resources | None = None,
    network: Network | None = None,
    environment: dict[str, str] | None = None,
    execution_id: str = "",
) -> Workload:
    """A workload below `directory`; `inputs` is target -> host path, `results` name -> target."""
    execution_id = execution_id or f"{id_prefix(directory)}{next(_numbers):024x}"
    own = directory / execution_id
    own.mkdir(exist_ok=True)
    mounts = []
    for name, target in (results or {}).items():
        host = own / "results" / name
        host.mkdir(parents=True, exist_ok=True)
        host.chmod(0o777)
        mounts.append(Mount(host_path=host, target=target, read_only=False))
    return Workload(
        execution_id=execution_id,
        task=Task(
            engine=engine,
            environment=environment or {},
            resources=resources or Resources(memory_bytes=64_000_000),
            network=network or Network(),
        ),
        job_id="j-" + "0" * 32,
        replica=1,
        replica_count=2,
        directory=own,
        inputs=tuple(Mount(host_path=path, target=target) for target, path in (inputs or {}).items()),
        results=tuple(mounts),
        stdout=own / "stdout",
        stderr=own / "stderr",
    )


async def run(engine: Engine, workload: Workload, calls: Calls | None = None) -> ProgramEnd:
    calls = calls or Calls()
    return await engine.run(workload, calls.on_started, calls.progress.append)


def read(path: Path) -> Any:
    return path.read_text(errors="replace")
