"""Networks that do nothing, of 3, 16 and 50 nodes: processor time, memory and connections of each node.

In the first minute of the one of 16 jobs are submitted one after the other, before all know each other.
"""

from __future__ import annotations

import time
from pathlib import Path

from p2pnode.client.finding import find

from .figures import ROOT, cpu_s, devnet, memory_bytes, node_pid, options, percentile, show, show_of
from .jobs import add_to

SIZES = (3, 16, 50)
FIRST_MINUTE_OF = 16
FIRST_MINUTE_S = 60.0
SETTLED_S = 75.0
IDLE_S = 30.0
UP_S_AIMED = 40
IDLE_PERCENT_AIMED = 1
MEMORY_MB_AIMED = 85
CONNECTIONS_AIMED = 16
SPREAD_AIMED = 5


def first_minute(directory: Path) -> None:
    client = find(directory / "node-1", {})
    add_to(client, ROOT / "devnet/jobs/noop.wasm")
    text = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    times = []
    begun = time.perf_counter()
    while (start := time.perf_counter()) < begun + FIRST_MINUTE_S:
        job = client.submit(text, "noop.yaml")
        for _ in client.job_events(job, follow=True):
            pass
        times.append(time.perf_counter() - start)
    p50, p99 = percentile(times, 50), percentile(times, 99)
    show(f"first minute of {FIRST_MINUTE_OF} nodes, noop job, p99", p99, "their p50", p50, SPREAD_AIMED)


def main() -> None:
    parser = options("idle", __doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=SIZES)
    for nodes in parser.parse_args().nodes:
        start = time.perf_counter()
        with devnet(nodes) as directory:
            show_of(f"{nodes} nodes up", time.perf_counter() - start, "s", UP_S_AIMED)
            if nodes == FIRST_MINUTE_OF:
                first_minute(directory)
            time.sleep(SETTLED_S)
            pids = [node_pid(directory, number) for number in range(1, nodes + 1)]
            before = sum(map(cpu_s, pids))
            time.sleep(IDLE_S)
            percent = (sum(map(cpu_s, pids)) - before) / IDLE_S / nodes * 100
            memory = percentile([memory_bytes(pid) / 1e6 for pid in pids], 50)
            found = [find(directory / f"node-{number}", {}) for number in range(1, nodes + 1)]
            connections = max(
                sum(one["connected"] and not one["self"] for one in client.nodes()) for client in found
            )
            show_of(f"{nodes} nodes idle: of a core, each", percent, "%", IDLE_PERCENT_AIMED)
            show_of(f"{nodes} nodes idle: memory of each", memory, "MB", MEMORY_MB_AIMED)
            show_of(f"{nodes} nodes idle: most connections of one", connections, "", CONNECTIONS_AIMED)


if __name__ == "__main__":
    main()
