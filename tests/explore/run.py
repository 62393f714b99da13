"""`scripts/explore`: visits the worlds that a small network can come to, until an invariant breaks."""

from __future__ import annotations

import argparse
import sys
import time

from .nodes import FIRST
from .search import Search
from .world import Limits

# The troubles that there may be, each beside any order of delivery.
SCOPES = {
    "cuts": Limits(cuts=2),
    "deaths": Limits(deaths=2, cuts=1),
    "disks": Limits(lost_disks=1, cuts=1, deaths=1),
    "wishes": Limits(wishes=2, cuts=1, deaths=1),
    "lies": Limits(lies=3, liar=FIRST),
}
DEVIATIONS_MAX = 12


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/explore", description=__doc__)
    parser.add_argument("scopes", nargs="*", metavar="SCOPE", help=f"of {', '.join(SCOPES)}; none: all")
    parser.add_argument(
        "--states", type=int, default=1_000_000, metavar="N", help="at most so many worlds of each scope"
    )
    parser.add_argument("--deviations", type=int, default=DEVIATIONS_MAX, metavar="N")
    arguments = parser.parse_args()
    if unknown := [one for one in arguments.scopes if one not in SCOPES]:
        parser.error(f"there is no scope {', '.join(unknown)}")
    for name in arguments.scopes or SCOPES:
        start = time.monotonic()
        search = Search(SCOPES[name])
        found = search.run(arguments.states, arguments.deviations)
        if found.failure:
            sys.stderr.write("".join(f"{line}\n" for line in found.trace))
            sys.stderr.write(f"{name}: {found.failure}\n")
            return 1
        sys.stdout.write(
            f"{name}: {found.states:,} states hold, among them all with {found.deviations} deviations, "
            f"by {search.worlds.nodes.steps:,} steps of nodes, in {time.monotonic() - start:.1f} s\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
