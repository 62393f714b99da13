"""How quick things begin, and what a node costs that does nothing.

`p2pnode --help` against Python itself; `devnet up --peers 5` to the first job done; memory and
processor time of idle nodes.
"""

from __future__ import annotations

import subprocess
import sys
import time

from p2pnode.client.finding import find

from .figures import P2PNODE, ROOT, cpu_s, devnet, memory_bytes, node_pid, options, percentile, show
from .jobs import add_to

STARTS = 25
IDLE_S = 20.0
FIRST_JOB_S_MAX = 5.0


def _start_s(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def help_start() -> None:
    helps, passes = [], []
    for _ in range(STARTS):
        passes.append(_start_s([sys.executable, "-c", "pass"]))
        helps.append(_start_s([P2PNODE, "--help"]))
    show("p2pnode --help, median of 25", percentile(helps, 50), "python -c pass", percentile(passes, 50))


def first_job_and_idle() -> None:
    start = time.perf_counter()
    with devnet(5) as directory:
        up = time.perf_counter()
        client = find(directory / "node-1", {})
        add_to(client, ROOT / "devnet/jobs/noop.wasm")
        job = client.submit((ROOT / "devnet/jobs/noop.yaml").read_bytes(), "noop.yaml")
        for _ in client.job_events(job, follow=True):
            pass
        assert client.job(job)["state"] == "Completed"
        done = time.perf_counter()
        show("devnet up --peers 5 to first job done", done - start, "the 5 s allowed", FIRST_JOB_S_MAX)
        show("  of it, until all five are ready", up - start, "the whole", done - start)
        pids = [node_pid(directory, number) for number in range(1, 6)]
        time.sleep(2 * IDLE_S / 10)
        before = [cpu_s(pid) for pid in pids]
        time.sleep(IDLE_S)
        used = [after - first for after, first in zip(map(cpu_s, pids), before, strict=True)]
        print(
            f"idle, a node of five over {IDLE_S:.0f} s: {percentile(used, 50) / IDLE_S:.2%} of a core", end=""
        )
        print(f", {percentile([memory_bytes(pid) for pid in pids], 50) / 1e6:.0f} MB resident")


if __name__ == "__main__":
    options("start", __doc__).parse_args()
    help_start()
    first_job_and_idle()
