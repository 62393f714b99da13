"""`scripts/simulate`: many seeds, one after the other, until an invariant breaks."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pprint import pformat
from typing import Any

from .churn import run_churn
from .scenarios import run_scenario, scenario_of
from .shell_scenarios import run_shell_scenario, shell_scenario_of
from .shrinking import failure_of, shrunk


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, default=1_000, metavar="N")
    parser.add_argument("--shell", action="store_true", help="whole nodes, not their cores alone")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write what happens under the last seed")
    parser.add_argument(
        "--shrink", action="store_true", help="make the scenario of a seed that fails smaller"
    )
    parser.add_argument(
        "--churn", type=int, metavar="MINUTES", help="half of fifty nodes leaves and comes back each minute"
    )
    arguments = parser.parse_args()
    if arguments.churn is not None:
        sys.stdout.write(f"{pformat(run_churn(arguments.first, arguments.churn))}\n")
        return 0
    run: Callable[..., Any] = run_shell_scenario if arguments.shell else run_scenario
    start = time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.count):
        lines: list[str] | None = [] if arguments.trace else None
        failure = failure_of(partial(run, seed, lines=lines))
        if failure is not None and arguments.shrink:
            scenario = shell_scenario_of(seed) if arguments.shell else scenario_of(seed)
            scenario = shrunk(scenario, partial(run, seed))
            lines = []
            failure = failure_of(partial(run, seed, scenario, lines))
            sys.stderr.write(f"{pformat(scenario, width=120)}\n")
        if arguments.trace:
            arguments.trace.write_text("".join(lines or ()))
        if failure is not None:
            sys.stderr.write(f"seed {seed}: {failure}\n")
            return 1
    sys.stdout.write(f"{arguments.count} seeds hold, in {time.monotonic() - start:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
