"""The executions of a job that its results are of."""

from __future__ import annotations

from p2pnode.api.shapes import ExecutionJson, JobJson


def final_executions(job: JobJson) -> list[ExecutionJson]:
    """The execution that stands for each replica in the job's last run, in their order: the last awarded."""
    last = {one["replica"]: one for one in job["executions"] if one["run"] == job["run"]}
    return [last[replica] for replica in sorted(last)]
