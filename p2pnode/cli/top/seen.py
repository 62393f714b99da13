"""Asking a node for all that `top` shows of it, and how much of it there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from p2pnode.api.execution_shapes import HostedJson
from p2pnode.api.shapes import IdentityJson, JobJson, NodeJson, ProblemJson
from p2pnode.client.calls import Client
from p2pnode.core.records.lifecycle import JOB_ENDED
from p2pnode.core.wire.states import ExecutionState, JobState

# The newest are asked for: each is some 2 kB, each second.
LIVE_JOBS_MAX = 200
# Enough to see what became of what was live just now.
ENDED_JOBS_MAX = 50
_LIVE_STATES = [state for state in JobState if state not in JOB_ENDED]
_ENDED_STATES = [state for state in JobState if state in JOB_ENDED]


@dataclass(frozen=True, slots=True)
class Seen:
    """A node's answers of one moment."""

    identity: IdentityJson
    nodes: list[NodeJson]
    # Both the newest first.
    live: list[JobJson]
    ended: list[JobJson]
    hosted: list[HostedJson]
    problems: list[ProblemJson]

    @property
    def connected_peers(self) -> int:
        return sum(one["connected"] for one in self.nodes if not one["self"])

    @property
    def known_peers(self) -> int:
        return sum(not one["self"] for one in self.nodes)

    @property
    def running_executions(self) -> int:
        return sum(map(running, self.live))

    def live_counts(self) -> list[tuple[str, str]]:
        """Each state of live jobs with their number; with a + where there may be more."""
        counts, more = count_states(self.live), "+" * (len(self.live) >= LIVE_JOBS_MAX)
        return [(state, f"{counts[state]}{more}") for state in _LIVE_STATES]

    def ended_counts(self) -> list[tuple[str, str]]:
        """The same of those that ended lately, where there are any."""
        counts = count_states(self.ended)
        return [(state, str(counts[state])) for state in _ENDED_STATES if counts[state]]


def look(client: Client) -> Seen:
    """Ask; raises `ClientError`."""
    return Seen(
        identity=client.identity(),
        nodes=client.nodes(),
        live=client.jobs(state=_LIVE_STATES, limit=LIVE_JOBS_MAX),
        ended=client.jobs(state=_ENDED_STATES, limit=ENDED_JOBS_MAX),
        hosted=client.hosted(),
        problems=client.problems(),
    )


def running(job: JobJson) -> int:
    """How many of a job's executions run."""
    return sum(one["state"] == ExecutionState.RUNNING for one in job["executions"])


def count_states(jobs: Iterable[JobJson]) -> Counter[str]:
    return Counter(one["state"] for one in jobs)
