"""The jobs of other nodes, as `job list --network` shows them (`protocols/jobs.md`).

Whoever opens a stream gets lines about the jobs that the node owns, newest first. Each node
speaks of its own jobs only, so that of the copies of one job the owner's is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import trio

from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire import protocols
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import JOB_NAME_LENGTH_MAX, JOB_REASON_LENGTH_MAX, JOBS_PER_PAGE_MAX
from p2pnode.core.wire.inquiries import JobLine, JobsPage
from p2pnode.network.host import Host
from p2pnode.network.streams import NetworkError, Stream

from .frames import read_frame_untrusted, write_frame
from .rates import rate_per_peer

PROTOCOL = protocols.JOBS
# 50 lines with the longest names are some 40 KiB.
PAGE_SIZE_BYTES_MAX = 128 * 1024
# As many as `job list` shows of the node's own.
JOBS_MAX = 1_000
OPEN_TIMEOUT_S = 5.0
PAGE_TIMEOUT_S = 5.0
# A person waits for the answer, and sees who has not given any.
NETWORK_TIMEOUT_S = 10.0
# People ask again and again, programs may ask less often than that.
ASKED_RATE_PER_S = 1.0
ASKED_BURST = 10.0
PEERS_AT_ONCE_MAX = 32


def line_of(record: JobRecord) -> JobLine:
    """Return the facts that are told of a job."""
    spec = record.spec
    return JobLine(
        id=record.id,
        name=spec.name[:JOB_NAME_LENGTH_MAX],
        namespace=spec.namespace[:JOB_NAME_LENGTH_MAX],
        type=spec.type,
        state=record.state,
        reason=record.reason[:JOB_REASON_LENGTH_MAX],
        count=spec.count,
        created_ms=round(record.created * 1000),
    )


def serve_jobs(host: Host, jobs: Callable[[], Iterable[JobRecord]]) -> None:
    """Has the host answer those who ask for this node's own jobs."""
    may_ask = rate_per_peer(host, ASKED_RATE_PER_S, ASKED_BURST)

    async def serve(stream: Stream) -> None:
        if not may_ask(stream.peer):
            raise BadMessage(f"{stream.peer} asks for the jobs too often")
        lines = [line_of(record) for record in jobs()][:JOBS_MAX]
        for start in range(0, max(len(lines), 1), JOBS_PER_PAGE_MAX):
            page = JobsPage(
                jobs=tuple(lines[start : start + JOBS_PER_PAGE_MAX]),
                more=start + JOBS_PER_PAGE_MAX < len(lines),
            )
            await write_frame(stream, page, PAGE_TIMEOUT_S)
        await stream.close()

    host.handle(PROTOCOL, serve, time_limit_s=NETWORK_TIMEOUT_S, streams_per_peer_max=1)


async def ask_all(
    host: Host, peers: Mapping[str, Sequence[str]], timeout_s: float = NETWORK_TIMEOUT_S
) -> dict[str, list[JobLine] | None]:
    """Return what each peer says of its jobs, by peer; None for one that has not answered in time.

    `peers` are the peers' addresses.
    """
    found: dict[str, list[JobLine] | None] = dict.fromkeys(peers)
    limiter = trio.CapacityLimiter(PEERS_AT_ONCE_MAX)

    async def ask(peer: str, addresses: Sequence[str]) -> None:
        async with limiter:
            try:
                await host.connect(peer, addresses, OPEN_TIMEOUT_S)
                found[peer] = await _jobs_of(host, peer)
            except (NetworkError, BadMessage):
                found[peer] = None

    with trio.move_on_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for peer, addresses in peers.items():
                nursery.start_soon(ask, peer, addresses)
    return found


async def _jobs_of(host: Host, peer: str) -> list[JobLine]:
    lines: list[JobLine] = []
    async with await host.open_stream(peer, [PROTOCOL], OPEN_TIMEOUT_S) as stream:
        while True:
            page = await read_frame_untrusted(stream, JobsPage, PAGE_SIZE_BYTES_MAX, PAGE_TIMEOUT_S)
            if page is None:
                raise BadMessage("the stream ended before the last page")
            lines += page.jobs
            if not page.more:
                return lines
            if len(lines) > JOBS_MAX or not page.jobs:
                raise BadMessage(f"more than {JOBS_MAX} jobs, or an empty page among them")
