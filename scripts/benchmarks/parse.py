"""Reading and checking the user's batch example, against a bare load of the same YAML."""

from __future__ import annotations

import time
from collections.abc import Callable

import yaml

from p2pnode.core import jobfile

from .figures import ROOT, options, percentile, show

RUNS = 300
JOB_FILE = ROOT / "tests/jobfiles/batch.yaml"


def _median_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return percentile(times, 50)


if __name__ == "__main__":
    options("parse", __doc__).parse_args()
    text = JOB_FILE.read_bytes()
    bare = _median_s(lambda: yaml.load(text, Loader=yaml.CSafeLoader))
    show(
        "parse and validate batch.yaml, p50", _median_s(lambda: jobfile.parse(text, "")), "a bare load", bare
    )
