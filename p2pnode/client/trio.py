"""The client for programs on trio: all that `NodeClient`, `SubmittedJob` and `JobResult` do, awaited.

    from p2pnode.client.trio import connect

    async with connect() as mine:
        job = await mine.submit("job.yaml")
        async for line in job.logs(follow=True):
            print(line)
        result = await job.result()

Each call is the blocking one in a thread, so its arguments, answers and errors are described there. One
that is cancelled has its socket shut, and its thread ends before the task goes on; only the look-up of a
host's name is waited for.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import copy_context
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import trio
from trio.lowlevel import Abort, RaiseCancelT

from p2pnode.api.shapes import ExecutionJson, JobJson

from . import connecting
from .errors import ClientError
from .exec import EnteredProgram
from .interrupts import Interrupt
from .jobs import SubmittedJob
from .node_client import NodeClient
from .results import JobResult
from .views import JobView, ResultView

__all__ = ["Following", "TrioJob", "TrioNode", "TrioProgram", "TrioResult", "connect"]

B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Waiter(Generic[B]):
    """Stands for a blocking object `B`, whose methods it awaits."""

    def __init__(self, blocking: B) -> None:
        self._blocking = blocking


class Following(Generic[T]):
    """Items that come one by one: for `async for`, once.

    Whoever leaves it early, by `break`, `aclose` or `async with`, closes its connection.
    """

    def __init__(
        self, items: Callable[[], Generator[T, None, None]], interrupt: Interrupt | None = None
    ) -> None:
        # Begun by the first step, within the interrupt.
        self._begin = items
        self._items: Generator[T, None, None] | None = None
        self._interrupt = interrupt or Interrupt()

    def __aiter__(self) -> Following[T]:
        return self

    async def __anext__(self) -> T:
        found = await _in_thread(self._step, self._interrupt)
        if not found:
            raise StopAsyncIteration
        return found[0]

    async def aclose(self) -> None:
        """End it: no item comes any more."""
        self._interrupt.set()
        if self._items is not None:
            # While another task waits for an item, its thread closes the items: their socket is shut.
            with suppress(ValueError):
                self._items.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Following[T]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with trio.CancelScope(shield=True):
            await self.aclose()

    def _step(self) -> tuple[T, ...]:
        """The next item; nothing after the last."""
        if self._items is None:
            self._items = self._begin()
        for item in self._items:
            return (item,)
        return ()


def _awaited(
    method: Callable[Concatenate[B, P], R],
) -> Callable[Concatenate[Waiter[B], P], Coroutine[Any, Any, R]]:
    """A method of the blocking object, awaited."""
    return _awaited_as(method, lambda answer: answer)


def _awaited_as(
    method: Callable[Concatenate[B, P], R], wrap: Callable[[R], S]
) -> Callable[Concatenate[Waiter[B], P], Coroutine[Any, Any, S]]:
    """A method of the blocking object, awaited, with what its answer becomes here."""

    @functools.wraps(method)
    async def call(self: Waiter[B], /, *args: P.args, **kwargs: P.kwargs) -> S:
        return wrap(await _in_thread(lambda: method(self._blocking, *args, **kwargs), Interrupt()))

    return call


def _followed(
    method: Callable[Concatenate[B, P], Generator[T, None, None]],
) -> Callable[Concatenate[Waiter[B], P], Following[T]]:
    """A method of the blocking object that gives items, each awaited."""

    @functools.wraps(method)
    def call(self: Waiter[B], /, *args: P.args, **kwargs: P.kwargs) -> Following[T]:
        return Following(lambda: method(self._blocking, *args, **kwargs))

    return call


def _stdout(result: JobResult) -> str:
    """As `JobResult.stdout`."""
    return result.stdout


def _stderr(result: JobResult) -> str:
    """As `JobResult.stderr`."""
    return result.stderr


def _files(result: JobResult) -> list[str]:
    """As `JobResult.files`."""
    return result.files


class TrioResult(Waiter[JobResult], ResultView):
    """A `JobResult`; what it reads is awaited: `await result.stdout()`."""

    @property
    def execution(self) -> ExecutionJson:
        return self._blocking.execution

    stdout = _awaited(_stdout)
    stderr = _awaited(_stderr)
    files = _awaited(_files)
    read = _awaited(JobResult.read)
    save = _awaited(JobResult.save)


class TrioProgram(Waiter[EnteredProgram]):
    """An `EnteredProgram`; `output` is for `async for`, and what gives it input is awaited."""

    def __init__(self, blocking: EnteredProgram, interrupt: Interrupt) -> None:
        super().__init__(blocking)
        self._interrupt = interrupt

    @property
    def execution(self) -> str:
        return self._blocking.execution

    @property
    def exit_code(self) -> int | None:
        return self._blocking.exit_code

    @property
    def reason(self) -> str:
        return self._blocking.reason

    def output(self) -> Following[tuple[str, bytes]]:
        """As `EnteredProgram.output`; whoever leaves it early ends the program."""
        return Following(self._blocking.output, self._interrupt)

    send = _awaited(EnteredProgram.send)
    end_input = _awaited(EnteredProgram.end_input)
    resize = _awaited(EnteredProgram.resize)


class TrioJob(Waiter[SubmittedJob], JobView):
    """A `SubmittedJob`; what asks the node is awaited, and `logs` and `history` are for `async for`."""

    @property
    def record(self) -> JobJson:
        return self._blocking.record

    logs = _followed(SubmittedJob.logs)
    history = _followed(SubmittedJob.history)
    result = _awaited_as(SubmittedJob.result, TrioResult)
    results = _awaited_as(SubmittedJob.results, lambda found: [TrioResult(one) for one in found])

    @asynccontextmanager
    async def exec(
        self, command: Sequence[str], *, execution: str | None = None, stdin: bool = False
    ) -> AsyncIterator[TrioProgram]:
        """As `SubmittedJob.exec`, for `async with`, whose end is the program's."""
        interrupt = Interrupt()
        begin = functools.partial(self._blocking.exec, command, execution=execution, stdin=stdin)
        program = await _in_thread(begin, interrupt)
        try:
            yield TrioProgram(program, interrupt)
        finally:
            program.close()

    refresh = _awaited_as(SubmittedJob.refresh, lambda job: TrioJob(job))
    wait = _awaited_as(SubmittedJob.wait, lambda job: TrioJob(job))
    stop = _awaited_as(SubmittedJob.stop, lambda job: TrioJob(job))
    rerun = _awaited_as(SubmittedJob.rerun, lambda job: TrioJob(job))


class TrioNode(Waiter[NodeClient]):
    """A `NodeClient`; what asks the node is awaited."""

    @property
    def peer(self) -> str:
        """Its peer id."""
        return self._blocking.peer

    @property
    def name(self) -> str:
        return self._blocking.name

    @property
    def url(self) -> str:
        """The address of its API."""
        return self._blocking.url

    submit = _awaited_as(NodeClient.submit, TrioJob)
    job = _awaited_as(NodeClient.job, TrioJob)
    jobs = _awaited_as(NodeClient.jobs, lambda found: [TrioJob(one) for one in found])
    plan = _awaited(NodeClient.plan)
    nodes = _awaited(NodeClient.nodes)
    add = _awaited(NodeClient.add)

    def __repr__(self) -> str:
        return repr(self._blocking)


def _connecting(
    method: Callable[P, NodeClient],
) -> Callable[P, AbstractAsyncContextManager[TrioNode]]:
    @functools.wraps(method)
    @asynccontextmanager
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[TrioNode]:
        node = await _in_thread(lambda: method(*args, **kwargs), Interrupt())
        try:
            yield TrioNode(node)
        finally:
            node.close()

    return call


# `connecting.connect` with its arguments and errors, for `async with`.
connect = _connecting(connecting.connect)


async def _in_thread(work: Callable[[], T], interrupt: Interrupt) -> T:
    """Do what blocks in a thread; cancelled, set its interrupt and wait for its end, which is at hand."""
    await trio.lowlevel.checkpoint_if_cancelled()
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
    context = copy_context()

    def abort(_: RaiseCancelT) -> Abort:
        interrupt.set()
        # The thread wakes the task.
        return Abort.FAILED

    # No limit of threads: who follows a job for hours would keep others from asking.
    trio.lowlevel.start_thread_soon(
        lambda: context.run(interrupt.within, work),
        lambda ended: token.run_sync_soon(trio.lowlevel.reschedule, task, ended),  # type: ignore[arg-type]
    )
    try:
        return cast(T, await trio.lowlevel.wait_task_rescheduled(abort))
    except ClientError:
        # The consequence of being cancelled is no error of the node.
        if interrupt.is_set:
            await trio.lowlevel.checkpoint_if_cancelled()
        raise
