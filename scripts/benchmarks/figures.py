"""Parts that the benchmarks share: percentiles, figures that are kept, their own devnet, a process's cost."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
P2PNODE = str(Path(sys.executable).parent / "p2pnode")
# The figures of this run so far, a line of JSON each (`summary`).
NOW = ROOT / "build/bench/now.jsonl"


@dataclass(frozen=True)
class Figure:
    """A ratio; `aim` is the most that it may be, or where `at_least` the least."""

    what: str
    value: str
    ratio: float
    yardstick: str
    aim: float | None = None
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.aim is None or (self.ratio >= self.aim if self.at_least else self.ratio <= self.aim)

    def row(self) -> str:
        aim = "" if self.aim is None else f"   {'(aim' if self.is_met else '(MISSED, aim'} {self.aim:g})"
        return f"{self.what:<56} {self.value:>14} {self.ratio:9.2f} x {self.yardstick}{aim}"


def options(part: str, about: str | None) -> argparse.ArgumentParser:
    """A part's options: those that the caller adds, and no others."""
    return argparse.ArgumentParser(prog=f"scripts/bench {part}", description=about)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def show(what: str, value_s: float, yardstick: str, yardstick_s: float, aim: float | None = None) -> None:
    """One line, which is kept: a time, and how many times its yardstick it is."""
    _keep(Figure(what, f"{value_s * 1000:.1f} ms", value_s / yardstick_s, yardstick, aim))


def show_of(what: str, value: float, unit: str, aimed: float, *, at_least: bool = False) -> None:
    """One line, which is kept: a figure, and how many times what is aimed at it is."""
    _keep(Figure(what, f"{value:.4g} {unit}", value / aimed, f"the {aimed:g} aimed at", 1, at_least))


def _keep(figure: Figure) -> None:
    print(figure.row(), flush=True)
    NOW.parent.mkdir(parents=True, exist_ok=True)
    with NOW.open("a") as now:
        now.write(json.dumps(asdict(figure)) + "\n")


@contextmanager
def devnet(peers: int) -> Iterator[Path]:
    """A devnet in a directory of its own, ended for certain."""
    # Whoever limits a benchmark's time ends it so, and 50 nodes must not stay behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="p2pnode-bench-") as scratch:
        directory = Path(scratch) / "devnet"
        command = [P2PNODE, "devnet", "up", "--peers", str(peers), "--detach", "--dir", str(directory)]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            yield directory
        finally:
            subprocess.run([P2PNODE, "devnet", "down", "--dir", str(directory)], stderr=subprocess.DEVNULL)


def node_pid(directory: Path, number: int) -> int:
    """The process of a devnet's node."""
    return int(json.loads((directory / f"node-{number}" / "node.json").read_text())["pid"])


def cpu_s(pid: int) -> float:
    """Processor time that the process has used, without its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """The resident memory of the process, pages shared with others included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
