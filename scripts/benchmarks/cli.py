"""The command line: how much longer than `p2pnode --help` it takes to submit a job.

`submit --no-wait` ends as soon as the running node has accepted the job, which is on its disk then. Both
programs are run in turn, so that they meet the same machine.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from p2pnode.client.finding import find

from .figures import P2PNODE, ROOT, devnet, options, percentile, show, show_of
from .jobs import add_to

RUNS = 15
# The first of each warms the caches of files.
WARM_UP = 2
MORE_MS_AIMED = 150
JOB_FILE = ROOT / "devnet/jobs/noop.yaml"


def _took_s(arguments: list[str], directory: Path) -> float:
    environ = os.environ | {"P2PNODE_DATA_DIR": str(directory)}
    start = time.perf_counter()
    subprocess.run([P2PNODE, *arguments], check=True, capture_output=True, env=environ)
    return time.perf_counter() - start


def main() -> None:
    options("cli", __doc__).parse_args()
    helps, submits = [], []
    with devnet(1) as devnet_directory:
        directory = devnet_directory / "node-1"
        add_to(find(directory, {}), ROOT / "devnet/jobs/noop.wasm")
        for _ in range(RUNS + WARM_UP):
            helps.append(_took_s(["--help"], directory))
            submits.append(_took_s(["submit", "--no-wait", "--new", str(JOB_FILE)], directory))
    help_s, submit_s = percentile(helps[WARM_UP:], 50), percentile(submits[WARM_UP:], 50)
    show("p2pnode submit --no-wait of a noop job, p50", submit_s, "p2pnode --help", help_s)
    show_of(
        "p2pnode submit --no-wait, more than p2pnode --help", (submit_s - help_s) * 1000, "ms", MORE_MS_AIMED
    )


if __name__ == "__main__":
    main()
