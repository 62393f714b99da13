"""Three honest nodes against three hostile peers: what jobs take before and under attack, and what it costs.

`python -m tests.misdeeds.run`; `scripts/hostile` is its name for people.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmarks.figures import cpu_s, memory_bytes, percentile
from tests.cut_network import inside, two_switches
from tests.nodes import Node, alive, know_each_other, running_nodes
from tests.programs import JOBS

from .acts import ACTS

USUAL_JOBS = 20
# The first on each peer fetches and compiles the module.
FIRST_JOBS = 6
# One that takes longer was not placed.
JOB_S_MAX = 60.0
LOOK_INTERVAL_S = 0.01
RATIO_MAX = 2.0
GROWTH_MAX = 1.25
END_S_MAX = 15.0
# Ten times as many as were tried.
CROWD_MAX = 10_000
# Ranges of addresses of a crowd, and its identities that are there at a time.
RANGES = 4
AT_ONCE = 40


@dataclass
class Outcome:
    """Measured values; times in seconds, memory of each node in bytes at start, middle and end."""

    usual: list[float] = field(default_factory=list)
    attacked: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    memory: list[list[int]] = field(default_factory=list)
    # Load of each node under attack, in processors.
    load: list[float] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return percentile(self.attacked, 50) / percentile(self.usual, 50)

    @property
    def growth(self) -> float:
        return max(end / start for start, *_, end in zip(*self.memory, strict=True))

    def wrong(self) -> list[str]:
        """Sentences on what must not be so."""
        found = [f"node {name} is dead" for name in self.dead] + self.failed
        if not self.attacked or not self.usual:
            return [*found, "no job was measured"]
        if self.ratio > RATIO_MAX:
            found.append(f"jobs take {self.ratio:.1f} times as long; at most {RATIO_MAX:.1f} is well")
        if self.growth > GROWTH_MAX:
            found.append(f"a node's memory has grown by {self.growth - 1:.0%}; at most 25 % is well")
        return found


class Trial:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.outcome = Outcome()
        nodes[0].add(JOBS / "noop.wasm")
        for _ in range(FIRST_JOBS):
            self._job()

    def _job(self) -> float:
        """Seconds from the request that submits to Completed."""
        client, begun = self.nodes[0].client, time.monotonic()
        job = client.submit_job((JOBS / "noop.yaml").read_bytes(), "noop.yaml", True)["id"]
        while time.monotonic() < begun + JOB_S_MAX:
            found = client.job(job)
            if found["state"] == "Completed":
                return time.monotonic() - begun
            if found["state"] in ("Failed", "Stopped"):
                self.outcome.failed.append(f"job {job} is {found['state']}: {found['reason']}")
                return time.monotonic() - begun
            time.sleep(LOOK_INTERVAL_S)
        self.outcome.failed.append(f"job {job} was not done in {JOB_S_MAX:.0f} s: {found['reason']}")
        return JOB_S_MAX

    def _pids(self) -> list[int]:
        return [node.process.pid for node in self.nodes if node.process and alive(node)]

    def _weigh(self) -> None:
        pids = self._pids()
        if len(pids) == len(self.nodes):
            self.outcome.memory.append([memory_bytes(pid) for pid in pids])

    def run(
        self, seconds: float, program: str, settings: Mapping[str, object], told: Callable[[str], None]
    ) -> Outcome:
        """Have jobs run while `program` attacks all nodes."""
        outcome = self.outcome
        outcome.usual = [self._job() for _ in range(USUAL_JOBS)]
        command = [sys.executable, "-m", f"tests.misdeeds.{program}", json.dumps(settings)]
        self._weigh()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as enemies:
            begun, weighed = time.monotonic(), False
            used = [cpu_s(pid) for pid in self._pids()]
            while time.monotonic() < begun + seconds and all(map(alive, self.nodes)):
                outcome.attacked.append(self._job())
                if not weighed and time.monotonic() > begun + seconds / 2:
                    weighed = True
                    self._weigh()
            self._weigh()
            took = time.monotonic() - begun
            outcome.load = [(cpu_s(pid) - at) / took for pid, at in zip(self._pids(), used, strict=False)]
            outcome.dead = [node.name for node in self.nodes if not alive(node)]
            if enemies.poll() is not None:
                told("the enemies have ended before their time")
            try:
                said, _ = enemies.communicate(timeout=END_S_MAX)
                outcome.done = json.loads((said.splitlines() or ["{}"])[-1])
            except subprocess.TimeoutExpired:
                enemies.kill()
        return outcome


def trial(
    directory: Path, seconds: float, seed: int, only: str | None, told: Callable[[str], None]
) -> Outcome:
    with running_nodes(directory) as nodes:
        three = list(nodes.start_three())
        targets = [(node.peer, node.address.partition("/p2p/")[0]) for node in three]
        settings = {"seed": seed, "only": only, "targets": targets}
        return Trial(three).run(seconds, "attack", settings, told)


def crowded(directory: Path, seconds: float, identities: int, told: Callable[[str], None]) -> Outcome:
    """As `trial`, by hosts with addresses of their own from four ranges, in network namespaces."""
    with two_switches() as switches, running_nodes(directory) as nodes:
        first = switches.node(nodes, "left", "a", "--no-compute", public=True).start()
        others = [switches.node(nodes, "left", name, peers=(first,), public=True).start() for name in "bc"]
        three = [first, *others]
        know_each_other(*three)
        settings = {
            "targets": [(node.peer, node.address) for node in three],
            "identities": identities,
            "ranges": RANGES,
            "invented": identities,
            "at_once": min(identities, AT_ONCE),
        }
        with inside(switches.crowd("right")):
            return Trial(three).run(seconds, "crowd", settings, told)


def _lines(outcome: Outcome, seed: int, only: str | None) -> Iterator[str]:
    yield f"seed {seed}, {only or 'all misdeeds'}"
    for what, times in (("usual", outcome.usual), ("under attack", outcome.attacked)):
        p50, p90 = (percentile(times, percent) for percent in (50, 90))
        yield f"{what:<13} {len(times):4} jobs   p50 {p50 * 1000:7.0f} ms   p90 {p90 * 1000:7.0f} ms"
    yield f"ratio of p50  {outcome.ratio:.2f}"
    for node, sizes in enumerate(zip(*outcome.memory, strict=True), 1):
        shown = " -> ".join(f"{size / 1e6:.0f} MB" for size in sizes)
        yield f"memory of node {node}: {shown}   x {sizes[-1] / sizes[0]:.2f}"
    yield "processors used by each node: " + ", ".join(f"{load:.2f}" for load in outcome.load)
    yield "done: " + ", ".join(f"{name} {count}" for name, count in sorted(outcome.done.items()))


def _crowd_size(text: str) -> int:
    if not 1 <= (size := int(text)) <= CROWD_MAX:
        raise argparse.ArgumentTypeError(f"expected 1 to {CROWD_MAX} strangers, got {size}")
    return size


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--only", choices=sorted(ACTS), help="one misdeed, by all three")
    parser.add_argument(
        "--crowd", type=_crowd_size, metavar="N", help="N strangers from four ranges instead; as root"
    )
    arguments = parser.parse_args()
    seed, only = arguments.seed, arguments.only
    with tempfile.TemporaryDirectory(prefix="p2pnode-hostile-") as scratch:
        if arguments.crowd:
            only = f"a crowd of {arguments.crowd}"
            outcome = crowded(Path(scratch), arguments.seconds, arguments.crowd, print)
        else:
            outcome = trial(Path(scratch), arguments.seconds, seed, only, print)
    print(*_lines(outcome, seed, only), sep="\n")  # noqa: T201
    wrong = outcome.wrong()
    print(*(wrong or ["all honest nodes live, and all jobs completed"]), sep="\n")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
