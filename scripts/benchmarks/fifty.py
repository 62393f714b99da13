"""Fifty nodes as processes of this machine: 1,000 jobs while five nodes are killed and started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from p2pnode.client.calls import Client
from p2pnode.client.finding import find

from .figures import P2PNODE, ROOT, devnet, node_pid, options, percentile, show_of
from .jobs import add_to

NODES = 50
JOBS = 1_000
IN_FLIGHT = 16
# The nodes that jobs are given to; the others may be killed.
REQUESTERS = 10
KILLED = 5
KILL_GAP_S = 6.0
DEAD_S = 8.0
# A node that was asked to end gives its programs 10 s, on a machine that fifty nodes share.
END_S_MAX = 60.0
UP_S_AIMED = 40


def kill_some(directory: Path, restarted: list[subprocess.Popen[bytes]]) -> None:
    """Kill one node after the other, and start each again some seconds later."""
    for number in random.Random(1).sample(range(REQUESTERS + 1, NODES + 1), KILLED):
        time.sleep(KILL_GAP_S)
        os.kill(node_pid(directory, number), signal.SIGKILL)
        time.sleep(DEAD_S)
        log = (directory / f"node-{number}" / "again.log").open("wb")
        command = [P2PNODE, "serve", "--data-dir", str(directory / f"node-{number}")]
        restarted.append(subprocess.Popen(command, stdout=log, stderr=log))


def done(client: Client, text: bytes) -> tuple[str, str, float]:
    """The end of one job, the peer that it ran on, and how long it took."""
    start = time.perf_counter()
    id = client.submit(text, "noop.yaml")
    for _ in client.job_events(id, follow=True):
        pass
    job = client.job(id)
    ran = [one["peer"] for one in job["executions"] if one["state"] == "Completed"]
    return job["state"], ran[0] if ran else "", time.perf_counter() - start


def main() -> None:
    parser = options("fifty", __doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    jobs = parser.parse_args().jobs
    text = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    start = time.perf_counter()
    restarted: list[subprocess.Popen[bytes]] = []
    hung = 0
    with devnet(NODES) as directory:
        show_of(f"{NODES} nodes up", time.perf_counter() - start, "s", UP_S_AIMED)
        requesters = [directory / f"node-{number}" for number in range(1, REQUESTERS + 1)]
        for one in requesters:
            add_to(find(one, {}), ROOT / "devnet/jobs/noop.wasm")
        killer = threading.Thread(target=kill_some, args=(directory, restarted))
        try:
            start = time.perf_counter()
            killer.start()
            with ThreadPoolExecutor(IN_FLIGHT) as threads:
                ends = list(
                    threads.map(lambda n: done(find(requesters[n % REQUESTERS], {}), text), range(jobs))
                )
            took_s = time.perf_counter() - start
            killer.join()
        finally:
            for process in restarted:
                process.terminate()
                try:
                    process.wait(END_S_MAX)
                except subprocess.TimeoutExpired:
                    process.kill()
                    hung += 1
    states, peers = Counter(one[0] for one in ends), Counter(one[1] for one in ends)
    what = f"{NODES} nodes, {KILLED} killed and started again"
    show_of(f"{what}: jobs of {jobs} Completed", states["Completed"], "", jobs, at_least=True)
    show_of(f"{what}: of these ended when told", KILLED - hung, "", KILLED, at_least=True)
    times = [one[2] for one in ends]
    print(
        f"  {jobs / took_s:.1f} jobs/s, p50 {percentile(times, 50):.2f} s, p99 {percentile(times, 99):.2f} s,"
    )
    print(f"  on {len(peers)} of {NODES} nodes, at most {peers.most_common(1)[0][1]} on one; {dict(states)}")


if __name__ == "__main__":
    main()
