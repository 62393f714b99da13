"""The metrics of a node, as Prometheus scrapes them; devnet/monitoring/README.md has their table.

Label values are words of ours, never a peer's or a job's: their number is known beforehand.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from p2pnode import __version__
from p2pnode.api import exposition
from p2pnode.api.exposition import Metric, MetricType, Sample, by_label, counter, gauge
from p2pnode.core.wire.states import JobState
from p2pnode.core.worker.state import WorkerState
from p2pnode.node import journal
from p2pnode.node.node import Node
from p2pnode.system import descriptors, memory
from p2pnode.system.histogram import Histogram

_LIVE = (JobState.PENDING, JobState.QUEUED, JobState.RUNNING)
# The seconds between the beginning of this process and that of this module are few.
_BEGAN = time.time()


class Metrics:
    """Reads the figures where they are; nothing is gathered between two scrapes."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def all(self) -> list[Metric]:
        """Every metric, in the order of the table."""
        return [*self._jobs(), *self._network(), *self._stores(), *self._process()]

    def _jobs(self) -> Iterator[Metric]:
        core, counts = self._node.driver.core, self._node.driver.counts
        states = Counter(job.record.state for job in core.jobs.values())
        yield by_label(
            MetricType.GAUGE,
            "p2pnode_jobs",
            "Jobs that this node looks after and that have not ended.",
            "state",
            {state.value.lower(): states[state] for state in _LIVE},
        )
        yield by_label(
            MetricType.COUNTER,
            "p2pnode_jobs_ended_total",
            "Jobs of this node that have ended; one that is rerun ends again.",
            "outcome",
            {outcome.value: count for outcome, count in counts.jobs_ended.items()},
        )
        yield by_label(
            MetricType.COUNTER,
            "p2pnode_job_end_notices_total",
            "Tries to tell the ends of jobs to on_job_end and job_end_webhooks; dropped: given up.",
            "outcome",
            {outcome.value: count for outcome, count in self._node.teller.counts.items()},
        )
        yield by_label(
            MetricType.GAUGE,
            "p2pnode_executions",
            "Executions that this node knows of as a worker; those that have ended hold nothing.",
            "state",
            _executions(core.worker),
        )
        yield by_label(
            MetricType.COUNTER,
            "p2pnode_executions_ended_total",
            "Executions that have ended here, by whose fault they failed.",
            "fault",
            {fault.value if fault else "none": n for fault, n in counts.executions_ended.items()},
        )
        bids = {"sent": counts.bids_sent, "received": counts.bids_received}
        yield by_label(MetricType.COUNTER, "p2pnode_bids_total", "Bids.", "direction", bids)
        directions = {"sent": counts.refusals_sent, "received": counts.refusals_received}
        refusals = [
            Sample(count, {"direction": direction, "kind": kind.value})
            for direction, kinds in directions.items()
            for kind, count in kinds.items()
        ]
        yield Metric("p2pnode_refusals_total", MetricType.COUNTER, "Refusals of asks and awards.", refusals)

    def _network(self) -> Iterator[Metric]:
        node = self._node
        links, waiting = node.links.figures
        peers = {"known": len(node.driver.core.table.known), "connected": len(node.host.connected())}
        yield by_label(
            MetricType.GAUGE, "p2pnode_peers", "Peers; this node is among those known.", "state", peers
        )
        yield gauge("p2pnode_links", "Links to peers that are up.", links)
        yield gauge("p2pnode_outbox_messages", "Messages that peers have not acknowledged.", waiting)
        yield counter("p2pnode_fetched_bytes_total", "Blocks fetched from peers.", node.bitswap.fetched_bytes)
        yield counter("p2pnode_served_bytes_total", "Blocks sent to peers.", node.bitswap.served_bytes)

    def _stores(self) -> Iterator[Metric]:
        node = self._node
        data_dir = node.config.data_dir
        yield gauge("p2pnode_blocks_bytes", "What the block store holds.", node.blocks.size_bytes)
        yield gauge(
            "p2pnode_blocks_quota_bytes", "What the block store may hold.", node.blocks.quota_bytes or 0
        )
        yield gauge("p2pnode_journal_bytes", "The journal's files.", _journal_bytes(data_dir))
        commits = node.journal.commits
        yield _histogram("p2pnode_journal_commit_seconds", "Commits to the journal.", commits)
        disk = os.statvfs(data_dir)
        yield gauge("p2pnode_disk_bytes", "The disk of the data directory.", disk.f_blocks * disk.f_frsize)
        yield gauge("p2pnode_disk_free_bytes", "What is free of it.", disk.f_bavail * disk.f_frsize)
        problems, aside = node.journal.problems.count()
        values = {"aside": aside, "told": problems - aside}
        about = "What has failed here, set aside or only told: p2pnode node problems."
        yield by_label(MetricType.GAUGE, "p2pnode_problems", about, "state", values)

    def _process(self) -> Iterator[Metric]:
        lag = self._node.driver.counts.lag
        yield _histogram("p2pnode_loop_lag_seconds", "How late the node's one loop is, sampled.", lag)
        versions = {"version": __version__, "python": platform.python_version()}
        about = "The versions, in its labels."
        yield Metric("p2pnode_build_info", MetricType.GAUGE, about, [Sample(1, versions)])
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        yield counter("process_cpu_seconds_total", "Processor time of the node's process.", cpu_s)
        yield gauge("process_resident_memory_bytes", "Memory of the node's process.", memory.resident_bytes())
        yield gauge("process_start_time_seconds", "When it began, in Unix time.", _BEGAN)
        yield gauge("process_open_fds", "File descriptors in use.", descriptors.in_use())
        yield gauge("process_max_fds", "File descriptors that it may use.", descriptors.limit())


def _executions(worker: WorkerState) -> dict[str, float]:
    return {state.value: count for state, count in worker.reservations.by_state().items()}


def _histogram(name: str, about: str, one: Histogram) -> Metric:
    return exposition.histogram(name, about, one.bounds_s, one.counts, one.sum_s)


def _journal_bytes(data_dir: Path) -> int:
    size_bytes = 0
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            size_bytes += (data_dir / f"{journal.FILE_NAME}{suffix}").stat().st_size
    return size_bytes
