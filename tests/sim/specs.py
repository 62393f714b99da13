"""The jobs and the peers' offers of the simulation, drawn from a seed, and how a user changes a job."""

from __future__ import annotations

import random

from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Capacity
from p2pnode.core.wire.spec import (
    Constraint,
    InputSource,
    JobSpec,
    JobType,
    NetworkType,
    Operator,
    Resources,
    Source,
    Task,
    Timeouts,
    WasmTask,
)

# A module of WebAssembly without anything in it.
MODULE = "data:;base64,AGFzbQEAAAA="
KINDS = [JobType.BATCH] * 5 + [JobType.OPS, JobType.SERVICE, JobType.SERVICE, JobType.DAEMON]


def sim_spec(rng: random.Random, total_s: int | None = None, kind: JobType | None = None) -> JobSpec:
    """A job; a batch job unless another kind is asked for."""
    constraints = [Constraint(key="os", operator=Operator.EQUALS, values=("linux",))]
    if kind in (JobType.OPS, JobType.DAEMON):
        constraints.append(Constraint(key="zone", operator=Operator.EQUALS, values=(rng.choice("abc"),)))
    # Drawn beside the others, which stay what they were for a seed.
    beside = random.Random()
    beside.setstate(rng.getstate())
    return JobSpec(
        type=kind or JobType.BATCH,
        count=rng.choice([1, 1, 2, 3]),
        # A job survives two deaths in a row, so it has two at least.
        deputies=beside.choice([2, 2, 2, 3]),
        priority=rng.choice([0, 0, 100]),
        constraints=tuple(constraints),
        task=Task(
            engine=WasmTask(entry_module="/m"),
            resources=Resources(cpu_millis=rng.choice([250, 500, 1000]), memory_bytes=100_000_000),
            timeouts=Timeouts(execution_s=rng.choice([4, 30]), total_s=total_s, queue_s=rng.choice([5, 60])),
        ),
    )


def valid(spec: JobSpec, rng: random.Random) -> JobSpec:
    """The job with a module to run: whole nodes check what they are asked to run."""
    module = InputSource(target="/m", source=Source(type="inline", params={"URL": MODULE}))
    name = f"job-{rng.getrandbits(32)}"
    count = 1 if spec.type in (JobType.OPS, JobType.DAEMON) else spec.count
    return codec.replace(spec, task=codec.replace(spec.task, inputs=(module,)), count=count, name=name)


def changed(spec: JobSpec) -> JobSpec:
    """Another version of the job: with one more environment variable."""
    environment = {**spec.task.environment, f"V{len(spec.task.environment)}": "1"}
    return codec.replace(spec, task=codec.replace(spec.task, environment=environment))


def sim_offer(rng: random.Random) -> Capacity:
    total = Resources(
        cpu_millis=rng.choice([1000, 2000, 4000]), memory_bytes=2_000_000_000, disk_bytes=10_000_000_000
    )
    return Capacity(
        engines=("wasm",) if rng.random() < 0.9 else ("docker",),
        publishers=("ipfs",),
        sources=("ipfs",),
        networks=(NetworkType.NONE,),
        labels={"os": "linux", "zone": rng.choice("abc")},
        total=total,
        free=total,
    )
