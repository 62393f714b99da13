"""The output of a job's executions, wherever they run: live from their peers, then from their results.

All executions are followed side by side, each as it is awarded. What was seen live is counted,
so the result gives only the rest: every byte once, in the order of its stream. The two streams come in the
order that they were written in, as far as the peer that ran it tells.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import trio

from p2pnode.api.shapes import Code, LogChunk, ServiceError
from p2pnode.core.records.ending import KEEP_TIMEOUT_S, stop_grace_s
from p2pnode.core.records.lifecycle import (
    LIVE,
    OPEN,
    Execution,
    ExecutionState,
    JobRecord,
)
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.inquiries import LogsRequest
from p2pnode.core.wire.log_order import LogReading
from p2pnode.ipfs import reading
from p2pnode.ipfs.blocks import BlockUnavailable
from p2pnode.network.host import Host
from p2pnode.network.protocols import logs
from p2pnode.network.protocols.logs import Name
from p2pnode.network.scopes import unwrapped
from p2pnode.network.streams import NetworkError
from p2pnode.node import log_orders
from p2pnode.node.changes import Changes
from p2pnode.node.clock import Clock
from p2pnode.node.executor import Executor
from p2pnode.node.fetching import Fetching
from p2pnode.node.log_orders import LogOrders

from .lookup import Lookup

CONNECT_TIMEOUT_S = 10.0
# Between two looks at an execution that is being prepared, published, or out of reach for a moment: its peer
# tells the job's owner of that, who need not be this node.
RETRY_S = 0.3
# Chunks of 64 KiB that wait for a slow reader; a full channel holds back the peers.
CHUNKS_WAITING_MAX = 2
READ_SIZE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where output is found: with the program here or at its peer, and in results."""

    clock: Clock
    changes: Changes
    executor: Executor
    fetching: Fetching
    host: Host
    log_orders: LogOrders


class Logs:
    """Implements `api.services.LogService`."""

    def __init__(self, lookup: Lookup, sources: Sources) -> None:
        self._lookup = lookup
        self._sources = sources

    def logs(
        self, job_id: str, execution: str | None, stream: str, follow: bool
    ) -> AsyncGenerator[LogChunk, None]:
        """Lines that the executions of a job write, each asked of the peer that runs it (`_JobLogs`)."""
        return _JobLogs(self._sources, self._lookup, job_id, stream, follow).chunks(execution)


class _JobLogs:
    """Follows one job."""

    def __init__(self, sources: Sources, lookup: Lookup, job: str, stream: str, follow: bool) -> None:
        self._sources = sources
        self._lookup = lookup
        self._job = job
        self._names = ("stdout", "stderr") if stream == "both" else (stream,)
        self._follow = follow

    def _record(self) -> JobRecord:
        """The job as it is now."""
        return self._lookup.record(self._job)

    async def chunks(self, execution: str | None) -> AsyncGenerator[LogChunk, None]:
        """Every chunk; `execution` is the beginning of one's id, or None for all.

        Raises `ServiceError`: NOT_FOUND without such an execution, UNAVAILABLE where a peer does not answer,
        FORBIDDEN where users of this node have no say on a job that goes on.
        """
        if not (record := self._record()).ended:
            self._lookup.check_controls(record, "do not see its output while it runs")
        if execution is not None and not self._awarded(execution):
            raise ServiceError(Code.NOT_FOUND, f"{self._record().id} has no execution {execution}")
        sending, receiving = trio.open_memory_channel[LogChunk](CHUNKS_WAITING_MAX)
        # Safe across the yields: the API iterates and closes this generator in one task.
        with unwrapped():
            async with trio.open_nursery() as nursery, receiving:
                nursery.start_soon(self._all, execution, sending)
                async for chunk in receiving:
                    yield chunk
                nursery.cancel_scope.cancel()

    def _awarded(self, prefix: str) -> list[str]:
        executions = self._record().executions.values()
        return [one.id for one in executions if one.state not in OPEN and one.id.startswith(prefix)]

    async def _all(self, execution: str | None, sending: trio.MemorySendChannel[LogChunk]) -> None:
        begun: set[str] = set()
        async with sending, trio.open_nursery() as nursery:
            while True:
                record = self._record()
                changed = self._sources.changes.of(record.id)
                for id in self._awarded(execution or ""):
                    if id not in begun:
                        begun.add(id)
                        nursery.start_soon(self._one, id, sending.clone())
                if record.ended or not self._follow:
                    return
                # A job of many executions is large, and its followers are many.
                del record
                await changed.wait()

    async def _one(self, id: str, sending: trio.MemorySendChannel[LogChunk]) -> None:
        offsets = {"stdout": 0, "stderr": 0}
        async with sending:
            while self._goes_on(one := self._record().executions[id]):
                try:
                    await self._pass_on(one, offsets, sending)
                except (NetworkError, BadMessage) as exc:
                    if not self._follow:
                        reason = f"no logs from the peer of {id}: {exc}"
                        raise ServiceError(Code.UNAVAILABLE, reason) from exc
                if not self._follow:
                    return
                await trio.sleep(RETRY_S)
            if one.result_cid is None:
                return
            async with aclosing(self._kept(one.result_cid, one.peer, offsets)) as pieces:
                async for name, data in pieces:
                    await sending.send({"execution": id, "stream": name, "data": data})

    def _goes_on(self, one: Execution) -> bool:
        """Does it run, or may what it leaves still come?"""
        if one.state is not ExecutionState.CANCELLED:
            return one.state in LIVE
        left_s = stop_grace_s(self._record().spec) + KEEP_TIMEOUT_S
        return one.awaits_receipt and self._sources.clock.now() < one.modified + left_s

    async def _pass_on(
        self, one: Execution, offsets: dict[str, int], sending: trio.MemorySendChannel[LogChunk]
    ) -> None:
        async with aclosing(self._live(one, offsets)) as pieces:
            async for name, data in pieces:
                offsets[name] += len(data)
                if data and name in self._names:
                    await sending.send({"execution": one.id, "stream": name, "data": data})

    async def _live(self, one: Execution, offsets: dict[str, int]) -> AsyncGenerator[tuple[str, bytes], None]:
        sources = self._sources
        if one.peer == sources.host.peer_id:
            files = partial(sources.executor.log_files, one.id)
            tail = logs.tail(files, offsets["stdout"], offsets["stderr"], self._follow)
            async with aclosing(tail):
                async for pair in tail:
                    yield pair
            return
        request = LogsRequest(
            execution=one.id,
            stdout_offset=offsets["stdout"],
            stderr_offset=offsets["stderr"],
            follow=self._follow,
        )
        await sources.fetching.join(one.peer, CONNECT_TIMEOUT_S)
        async with aclosing(logs.read(sources.host, one.peer, request)) as pieces:
            async for piece in pieces:
                yield piece.stream, piece.data

    async def _kept(
        self, result: str, peer: str, offsets: dict[str, int]
    ) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield what a result holds of the streams, from the offsets on."""
        try:
            await self._sources.fetching.fetch(result, [peer])
            runs = await self._order(result, peer) if len(self._names) == 2 else ()
            streams = {
                name: _Stream(self._file(result, name), offsets[name])
                for name in logs.NAMES
                if name in self._names
            }
            for name, data in _interleaved(streams, LogReading(runs, *offsets.values())):
                yield name, data
        except (BlockUnavailable, BadMessage, reading.NoSuchPath) as exc:
            raise ServiceError(Code.NOT_FOUND, f"the output is not to be had: {exc}") from exc

    def _file(self, result: str, name: str) -> Iterator[bytes]:
        get_block = self._sources.fetching.block
        return reading.read_file(reading.resolve(result, [name], get_block), get_block)

    async def _order(self, result: str, peer: str) -> Sequence[int]:
        """In which order a result's output was written, if its peer says so."""
        sources = self._sources
        if peer == sources.host.peer_id:
            return sources.log_orders.of(result)
        try:
            await sources.fetching.join(peer, CONNECT_TIMEOUT_S)
            return await log_orders.ask(sources.host, peer, result)
        except (NetworkError, BadMessage):
            return ()


class _Stream:
    """A stream's bytes from an offset on, taken as they are wanted."""

    def __init__(self, pieces: Iterator[bytes], offset: int) -> None:
        self._pieces = pieces
        self._skipped = offset
        # Looked into, not cut anew: a peer may tell of thousands of runs of a byte each.
        self._held = memoryview(b"")

    def take(self, length: int) -> bytes:
        """So many bytes at most; none at its end."""
        while not self._held:
            data = next(self._pieces, None)
            if data is None:
                return b""
            self._held, self._skipped = memoryview(data)[self._skipped :], max(0, self._skipped - len(data))
        taken, self._held = self._held[:length], self._held[length:]
        return bytes(taken)


def _interleaved(streams: Mapping[Name, _Stream], order: LogReading) -> Iterator[tuple[Name, bytes]]:
    """All of the streams; what the order does not tell of, or tells wrongly, stream by stream."""
    while told := order.next():
        number, length = told
        name = logs.NAMES[number]
        data = streams[name].take(length)
        if not data:
            break
        order.took(number, len(data))
        yield name, data
    for name, stream in streams.items():
        while data := stream.take(READ_SIZE_BYTES):
            yield name, data
