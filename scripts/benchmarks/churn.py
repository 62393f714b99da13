"""Twenty-five nodes as processes: five are killed and started again at a time, while jobs are submitted.

The first five nodes are never killed: their memory and descriptors tell what stays behind. Connections come
and go, `HIGH` of them on a node.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from p2pnode.client.errors import NodeUnreachable, Refused
from p2pnode.client.finding import find
from p2pnode.core.link.neighbours import HIGH

from .figures import P2PNODE, ROOT, devnet, memory_bytes, node_pid, options, show_of
from .jobs import add_to

NODES = 25
KEPT = 5
AT_A_TIME = 5
MINUTES = 10.0
DEAD_S = 5.0
# A machine of two cores starts five nodes in about as long.
UP_S = 10.0
JOB_GAP_S = 2.0
# Memory is compared with that of a node which has done all that it will do.
WARM_S = 120.0
# After the last restart: each wait of a job is shorter.
ALL_ENDED_S_MAX = 180.0
END_S_MAX = 60.0
LOOK_S = 1.0
MEMORY_AIMED = 1.1


class Killer(threading.Thread):
    """Kills five of the nodes that may be killed, starts them again, and so on until it is told to stop."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.stopped = threading.Event()
        self.kills = 0
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._chance = random.Random(1)

    def run(self) -> None:
        while not self.stopped.is_set():
            numbers = self._chance.sample(range(KEPT + 1, NODES + 1), AT_A_TIME)
            for number in numbers:
                self._kill(number)
            time.sleep(DEAD_S)
            for number in numbers:
                self._start(number)
            self.stopped.wait(UP_S)

    def _kill(self, number: int) -> None:
        self.kills += 1
        if number in self.processes:
            self.processes[number].kill()
            self.processes[number].wait()
        else:
            os.kill(node_pid(self.directory, number), signal.SIGKILL)

    def _start(self, number: int) -> None:
        data_dir = self.directory / f"node-{number}"
        with (data_dir / "again.log").open("ab") as log:
            command = [P2PNODE, "serve", "--data-dir", str(data_dir)]
            self.processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def hung(self) -> int:
        """End the nodes that were started again; how many did not end when told."""
        for process in self.processes.values():
            process.terminate()
        count = 0
        for process in self.processes.values():
            try:
                process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                count += 1
        return count


@contextmanager
def killing(directory: Path) -> Iterator[Killer]:
    killer = Killer(directory)
    killer.start()
    try:
        yield killer
    finally:
        killer.stopped.set()
        killer.join()


def submit_for(directory: Path, until: float) -> list[tuple[str, int]]:
    """Submit a job now and then, at nodes that are there; each job with its requester's number."""
    text = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    chance = random.Random(2)
    jobs: list[tuple[str, int]] = []
    while time.monotonic() < until:
        number = chance.randrange(1, NODES + 1)
        try:
            jobs.append((find(directory / f"node-{number}", {}).submit(text, "noop.yaml"), number))
        except (NodeUnreachable, Refused) as exc:
            # Killed just now, or starting: its user would wait, too.
            print(f"  node {number} takes no job now: {exc}", flush=True)
        time.sleep(JOB_GAP_S)
    return jobs


def states(directory: Path, jobs: Sequence[tuple[str, int]]) -> Counter[str]:
    """The state of each job, as its requester has it when all have ended, or after a long wait."""
    deadline = time.monotonic() + ALL_ENDED_S_MAX
    found: dict[str, str] = {}
    while len(found) < len(jobs) and time.monotonic() < deadline:
        for id, number in jobs:
            if id not in found:
                try:
                    state = find(directory / f"node-{number}", {}).job(id)["state"]
                except (NodeUnreachable, Refused):
                    continue
                if state in ("Completed", "Failed", "Stopped"):
                    found[id] = state
        time.sleep(LOOK_S)
    return Counter(found.get(id, "not ended") for id, _ in jobs)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def main() -> None:
    parser = options("churn", __doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    minutes = parser.parse_args().minutes
    with devnet(NODES) as directory:
        for number in range(1, NODES + 1):
            add_to(find(directory / f"node-{number}", {}), ROOT / "devnet/jobs/noop.wasm")
        kept = [node_pid(directory, number) for number in range(1, KEPT + 1)]
        begun = time.monotonic()
        with killing(directory) as killer:
            jobs = submit_for(directory, begun + min(WARM_S, minutes * 30))
            memory = sum(map(memory_bytes, kept))
            opened = sum(map(descriptors, kept))
            jobs += submit_for(directory, begun + minutes * 60)
        ends = states(directory, jobs)
        memory_after, opened_after = sum(map(memory_bytes, kept)), sum(map(descriptors, kept))
        executions = sum(
            len(find(directory / f"node-{number}", {}).hosted()) for number in range(1, NODES + 1)
        )
        hung = killer.hung()
    what = f"{NODES} nodes, {killer.kills} kills"
    show_of(f"{what}: jobs of {len(jobs)} Completed", ends["Completed"], "", len(jobs), at_least=True)
    show_of(
        f"{what}: memory of those never killed",
        memory_after / 1e6 / KEPT,
        "MB",
        memory / 1e6 / KEPT * MEMORY_AIMED,
    )
    show_of(f"{what}: their descriptors", opened_after / KEPT, "", opened / KEPT + HIGH)
    print(f"  {dict(ends)}; executions left: {executions}; not ended when told: {hung}")


if __name__ == "__main__":
    main()
