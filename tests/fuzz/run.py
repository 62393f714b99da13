"""`scripts/fuzz`: random hostile input, until the time is over or something gives way.

    --target core       well-formed events of hostile peers, into real cores amid honest work
    --target links      frames and noise, into real links between nodes that have work to do
    --target decoders   bytes, into everything that decodes what others made

A further target is a function in `TARGETS` that runs the case of a seed and returns how many inputs it
made; it raises `Finding` or AssertionError.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from . import core_events, decoders, link_frames


def _core(seed: int) -> int:
    if core_events.fails(seed, None) is not None:
        raise core_events.Finding(core_events.explained(seed))
    return core_events.EVENTS_PER_CASE


def _decoders(seed: int) -> int:
    return decoders.run_case(seed, decoders.seeds())


def _links(seed: int) -> int:
    try:
        return link_frames.run_case(seed)
    except Exception as exc:
        raise core_events.Finding(f"links seed {seed}: {exc!r}") from exc


TARGETS: dict[str, Callable[[int], int]] = {"core": _core, "decoders": _decoders, "links": _links}


def run(target: str, first: int, seconds: float) -> tuple[int, int]:
    """Cases and inputs of so much time; raises `Finding`."""
    until, seed, inputs = time.monotonic() + seconds, first, 0
    while seed == first or time.monotonic() < until:
        inputs += TARGETS[target](seed)
        seed += 1
    return seed - first, inputs


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Random hostile input.")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="for each target")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first case")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    arguments = parser.parse_args()
    for target in arguments.target or sorted(TARGETS):
        try:
            cases, inputs = run(target, arguments.seed, arguments.seconds)
        except (core_events.Finding, AssertionError) as exc:
            sys.stderr.write(f"{exc}\n")
            return 1
        sys.stdout.write(f"{target}: {cases} cases hold, {inputs:,} inputs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
