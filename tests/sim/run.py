"""`scripts/simulate`: many seeds, one after the other, until an invariant breaks."""

from __future__ import annotations

import argparse
import sys
import time

from .scenarios import run_scenario


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, default=1_000, metavar="N")
    arguments = parser.parse_args()
    start = time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.count):
        try:
            run_scenario(seed)
        except AssertionError as exc:
            sys.stderr.write(f"seed {seed}: {exc}\n")
            return 1
    sys.stdout.write(f"{arguments.count} seeds hold, in {time.monotonic() - start:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
