"""Parts that the benchmarks share: percentiles, a table of ratios, their own devnet, a process's cost."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
P2PNODE = str(Path(sys.executable).parent / "p2pnode")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def show(what: str, value_s: float, yardstick: str, yardstick_s: float) -> None:
    """One line: a time, and how many times its yardstick it is."""
    print(f"{what:<52} {value_s * 1000:9.1f} ms   {value_s / yardstick_s:6.2f} x {yardstick}")


@contextmanager
def devnet(peers: int) -> Iterator[Path]:
    """A devnet in a directory of its own, ended for certain."""
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
