"""A container as a job, against `docker run` of the same; and ten at once on one node.

A job is timed from its award to its result, published and receipted, by the history of the node
that owns it; the two are run in turn, so that both meet the same machine. Both have the same limits.
Needs a Docker engine and scripts/images.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import yaml

from p2pnode.client.calls import Client
from p2pnode.client.finding import find

from .figures import ROOT, cpu_s, devnet, memory_bytes, node_pid, options, percentile, show

RUNS = 20
# The first of each warm the caches of files and of connections.
WARM_UP = 2
AT_ONCE = 10
IMAGE = "p2pnode/busybox:1"
QUICK = "echo out; echo err >&2"
# Fifty lines in a second.
SLOW = "for i in $(seq 50); do echo $i; sleep 0.02; done"
LIMITS = ("--cpus", "0.2", "--memory", "64m")


def _job_file(script: str) -> bytes:
    engine = {"Type": "docker", "Params": {"Image": IMAGE, "Parameters": ["sh", "-c", script]}}
    task = {"Name": "main", "Engine": engine, "Resources": {"CPU": "200m", "Memory": "64MiB"}}
    return yaml.safe_dump({"Type": "batch", "Count": 1, "Tasks": [task]}).encode()


def _docker_run_s(script: str) -> float:
    command = ["docker", "run", "--rm", "--network", "none", *LIMITS, IMAGE, "sh", "-c", script]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _job_s(client: Client, script: str) -> float:
    """From the award to the end, by the times in the job's history."""
    job = client.submit(_job_file(script), "bench.yaml")
    times = {event["topic"]: event["at"] for event in client.job_events(job, follow=True)}
    assert client.job(job)["state"] == "Completed", client.job(job)
    return times["End"] - times["Award"]


def _all_at_once_s(call: Callable[[], float]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(lambda _: call(), range(AT_ONCE)):
            pass
    return time.perf_counter() - start


def main() -> None:
    options("docker", __doc__).parse_args()
    subprocess.run([ROOT / "scripts/images"], check=True)
    with devnet(1) as directory:
        client = find(directory / "node-1", {})
        alone, jobs = [], []
        for _ in range(RUNS + WARM_UP):
            alone.append(_docker_run_s(QUICK))
            jobs.append(_job_s(client, QUICK))
        run = percentile(alone[WARM_UP:], 50)
        show("docker job, award to result published, p50", percentile(jobs[WARM_UP:], 50), "docker run", run)
        show("(docker run, p50)", run, "itself", run)
        pid = node_pid(directory, 1)
        before_s, before_bytes = cpu_s(pid), memory_bytes(pid)
        together = _all_at_once_s(lambda: _job_s(client, SLOW))
        used_s, used_bytes = cpu_s(pid) - before_s, memory_bytes(pid)
        bare = _all_at_once_s(lambda: _docker_run_s(SLOW))
        show(f"{AT_ONCE} docker jobs at once, submit to the last end", together, "docker run", bare)
        print(f"  the node itself: {used_s:.2f} s of a core ({used_s / together:.0%} of one)", end="")
        print(f", {used_bytes / 1e6:.0f} MB resident, {(used_bytes - before_bytes) / 1e6:+.0f} MB by them")


if __name__ == "__main__":
    main()
