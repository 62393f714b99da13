"""Workers for programs: each in its control group, and one of them made before it is asked for.

To fork a worker and to move it into a group takes the system some 20 ms, most of it waiting; a spare has
that behind it, and has put up what of its fence no program decides (`worker.fence`). It runs one program,
as every worker does; its share of a core is set then. While programs come there is one spare, not more.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from .processes import Template, WorkerProcess
from .share import CORE_MILLIS, control_group, enter, hold

# A spare holds some megabytes: kept for a row of jobs, not for one an hour.
UNUSED_S_MAX = 60.0
# Less memory than this to be had, and the system will soon end processes: a spare is none that it needs.
AVAILABLE_BYTES_MIN = 512 * 1024**2
LOOK_AT_MEMORY_S = 5.0
# A spare's group has a quota from the start, as setting the machine's first one makes the kernel wait.
SPARE_CPU_MILLIS = CORE_MILLIS - 1


@dataclass(slots=True)
class _Spare:
    worker: WorkerProcess
    # None if the system makes none.
    group: Path | None
    taken: trio.Event
    # Ends the worker, then removes the group.
    end: AsyncExitStack


class Workers:
    """The workers of one engine. Any number of tasks may call `worker` at once."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._spare: _Spare | None = None
        # A program has run, so another may come.
        self._wanted = trio.Event()

    @asynccontextmanager
    async def worker(self, name: str, cpu_millis: int) -> AsyncIterator[tuple[WorkerProcess, bool]]:
        """A worker that waits for its request, and whether the kernel holds it to that share of a core.

        A group made for it has that name. Both are gone when the block is left. Raises OSError if there
        can be no worker.
        """
        async with AsyncExitStack() as end:
            spare = self._spare
            if spare is not None and spare.worker.waits():
                self._spare = None
                spare.taken.set()
                await end.enter_async_context(spare.end.pop_all())
                worker = spare.worker
                held = spare.group is not None and hold(spare.group, cpu_millis)
            else:
                worker, group = await self._made(end, name, cpu_millis)
                held = group is not None
            yield worker, held
        self._wanted.set()

    async def keep_ready(self) -> None:
        """Keep a spare while programs come. Runs until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            # The next program's worker meets the same, and then somebody is told.
            with suppress(OSError):
                if not memory_is_short():
                    await self._keep_one()

    async def _keep_one(self) -> None:
        """Make a spare, and end it if nobody takes it in time."""
        async with AsyncExitStack() as end:
            worker, group = await self._made(end, f"spare-{secrets.token_hex(8)}", SPARE_CPU_MILLIS)
            spare = self._spare = _Spare(worker, group, trio.Event(), end)
            try:
                with trio.move_on_after(UNUSED_S_MAX):
                    while not (spare.taken.is_set() or memory_is_short()):
                        with trio.move_on_after(LOOK_AT_MEMORY_S):
                            await spare.taken.wait()
            finally:
                if self._spare is spare:
                    self._spare = None

    async def _made(
        self, end: AsyncExitStack, name: str, cpu_millis: int
    ) -> tuple[WorkerProcess, Path | None]:
        """A new worker, and the group that it is in; `end` ends both."""
        group = end.enter_context(control_group(name, cpu_millis))
        worker = await end.enter_async_context(self._template.worker())
        # The kernel takes some ten milliseconds for it, in which the node has other work.
        if group is not None and not await trio.to_thread.run_sync(enter, group, worker.pid):
            group = None
        return worker, group


def memory_is_short() -> bool:
    """Whether programs could soon be ended for want of memory; False where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024 < AVAILABLE_BYTES_MIN
    return False
