"""Many noop WASM jobs in flight on three nodes: jobs in a second, and what each costs the nodes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from p2pnode.client.finding import find

from .figures import ROOT, cpu_s, devnet, memory_bytes, node_pid, options, show_of
from .jobs import add_to

NODES = 3
IN_FLIGHT = 16
JOBS = 300
JOBS_PER_S_AIMED = 60
CPU_MS_AIMED = 15
MEMORY_MB_AIMED = 85


def main() -> None:
    parser = options("flight", __doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    jobs = parser.parse_args().jobs
    text = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    with devnet(NODES) as directory:
        client = find(directory / "node-1", {})
        add_to(client, ROOT / "devnet/jobs/noop.wasm")
        pids = [node_pid(directory, number) for number in range(1, NODES + 1)]

        def one() -> str:
            own = find(directory / "node-1", {})
            id = own.submit(text, "noop.yaml")
            for _ in own.job_events(id, follow=True):
                pass
            return str(own.job(id)["state"])

        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            # Each node compiles the module once.
            list(threads.map(lambda _: one(), range(2 * IN_FLIGHT)))
            used_s, before = [cpu_s(pid) for pid in pids], [memory_bytes(pid) for pid in pids]
            start = time.perf_counter()
            states = list(threads.map(lambda _: one(), range(jobs)))
            took_s = time.perf_counter() - start
        assert set(states) == {"Completed"}, states
        used = sum(map(cpu_s, pids)) - sum(used_s)
        what = f"noop WASM, {IN_FLIGHT} in flight on {NODES} nodes"
        show_of(f"{what}: {jobs} jobs", jobs / took_s, "jobs/s", JOBS_PER_S_AIMED, at_least=True)
        show_of(f"{what}: all nodes' time for a job", used * 1000 / jobs, "ms", CPU_MS_AIMED)
        memory = [memory_bytes(pid) for pid in pids]
        show_of(f"{what}: memory of a node after", max(memory) / 1e6, "MB", MEMORY_MB_AIMED)
        grown = [after - first for after, first in zip(memory, before, strict=True)]
        print(f"  of it by these jobs: {', '.join(f'{one / 1e6:+.1f} MB' for one in grown)}")


if __name__ == "__main__":
    main()
