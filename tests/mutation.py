"""`scripts/mutate`: puts each fault of `mutations.toml` into a copy of the core; which tests find it?

First come the tests that need nothing but the core, then simulated networks of fresh seeds. A fault that
lives shows a rule that nothing holds: it needs a test, or an `explained` that says why none can find it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ROOT / "p2pnode" / "core"
# Tests that import nothing of the program but its core: all of each room's rules, the quickest first.
UNIT_TESTS = (
    "who_may_say_what",
    "job",
    "job_placement",
    "handover",
    "deputies",
    "owner_tracking",
    "worker",
    "worker_bids",
    "worker_turns",
    "replication",
    "replication_behind",
    "commands",
    "needless_extensions",
    "matching",
    "adverts",
    "link",
    "lifecycle",
    "desired",
    "retrying",
    "planning",
    "core_node",
    "core_hostile",
    "constraints",
    "targets",
    "link_simulation",
    "core_boundary",
    "told_ends",
    "simulation",
    "fairness",
    "mandates",
    "places_told",
    "controlling",
)
# Tests that find a room's faults soonest.
FIRST_TESTS = {
    "node.py": ("core_node",),
    "handovers.py": ("core_node", "who_may_say_what"),
    "controlling.py": ("controlling",),
    "message_vetting.py": ("who_may_say_what",),
    "worker": ("worker", "worker_bids", "worker_turns"),
    "replication": ("replication", "replication_behind", "commands", "told_ends", "handover"),
    "placement": ("matching", "adverts", "constraints"),
    "records": ("lifecycle", "core_boundary", "told_ends", "core_hostile"),
    "link": ("link", "link_simulation"),
}
# A thousand seeds, which are the simulation's part here.
SLOW_TESTS = "not in_any_of_fifty_networks"
FOUND_PERCENT_MIN = 90
# One for each of the two cores that a small machine has.
PROCESSES = 2
# A quiet machine needs 80 s; a fault that makes a test run for ever is found, too.
UNIT_TESTS_S_MAX = 600
# A quiet machine needs 0.2 s for a seed.
SEED_S_MAX = 2
_TESTS_FAILED = 1


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault: the one place of a file of the core where `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    # The harm in the world.
    breaks: str
    # Why nothing can find it.
    explained: str = ""

    def mutated(self) -> str:
        """The file with the fault; raises `ValueError` where the data is of another program."""
        text = (CORE / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has {self.old!r} {text.count(self.old)} times, not once"
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The finder of a fault; "": nothing found it."""

    by: str
    detail: str = ""


def mutations() -> list[Mutation]:
    found = tomllib.loads((Path(__file__).parent / "mutations.toml").read_text())
    return [Mutation(name=name, **fields) for name, fields in found.items()]


@contextmanager
def copy_with(mutation: Mutation | None) -> Iterator[Path]:
    """A copy of the tree, with the fault, from whose directory its own program and tests are imported."""
    with tempfile.TemporaryDirectory(prefix="p2pnode-mutate-") as name:
        copy = Path(name)
        for entry in ROOT.iterdir():
            if entry.name in ("p2pnode", "tests"):
                # With compiled files, which are good for all that is not changed.
                shutil.copytree(entry, copy / entry.name)
            elif entry.name not in (".git", ".venv"):
                (copy / entry.name).symlink_to(entry)
        if mutation is not None:
            path = copy / "p2pnode" / "core" / mutation.file
            path.write_text(mutation.mutated())
        yield copy


def _run(copy: Path, timeout_s: float, *arguments: str) -> tuple[int | None, str]:
    """The exit code (None: it took too long) and the output of a Python module that is run in the copy."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=copy,
            env=environment,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def unit_tests(copy: Path, room: str) -> Verdict:
    first = FIRST_TESTS.get(room, ())
    files = [f"tests/test_{name}.py" for name in dict.fromkeys((*first, *UNIT_TESTS))]
    code, output = _run(
        copy, UNIT_TESTS_S_MAX, "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", SLOW_TESTS, *files
    )
    if code is None:
        return Verdict("unit tests", "which did not end")
    if code not in (0, _TESTS_FAILED):
        raise RuntimeError(f"the tests could not be run:\n{output[-2_000:]}")
    if not code:
        return Verdict("")
    failed = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return Verdict("unit tests", failed[0].partition("/")[2].partition(" - ")[0] if failed else "")


def simulation(copy: Path, seeds: int, first: int) -> Verdict:
    """Simulated networks of so many seeds, from the first one on."""
    limit_s = 60 + seeds * SEED_S_MAX
    code, output = _run(copy, limit_s, "tests.sim.run", "--first", str(first), "--count", str(seeds))
    if code is None:
        return Verdict("simulation", f"which did not end, from seed {first}")
    return Verdict("simulation", output.strip().splitlines()[-1][:200]) if code else Verdict("")


def judge(mutation: Mutation | None, seeds: int) -> Verdict:
    """None: the program as it is, in which nothing is to be found."""
    with copy_with(mutation) as copy:
        room = mutation.file.partition("/")[0] if mutation else ""
        verdict = unit_tests(copy, room)
        if not verdict.by and seeds and mutation is not None:
            verdict = simulation(copy, seeds, random.SystemRandom().randrange(2**31))
        return verdict


def measure(chosen: Sequence[Mutation], seeds: int) -> list[tuple[Mutation, Verdict]]:
    """Judge them side by side, and write a line of each as it is known."""
    verdicts: dict[str, Verdict] = {}
    width = max(len(one.name) for one in chosen)
    pool = ThreadPoolExecutor(PROCESSES)
    try:
        futures = {pool.submit(judge, one, seeds): one for one in chosen}
        for future in as_completed(futures):
            one, verdict = futures[future], future.result()
            verdicts[one.name] = verdict
            how = verdict.by or ("explained" if one.explained else "LIVES")
            detail = verdict.detail or one.explained or one.breaks
            sys.stdout.write(f"{one.name:{width}}  {how:10}  {detail}\n")
            sys.stdout.flush()
    finally:
        # Whoever interrupts it waits for the copies that are in use, and for no more.
        pool.shutdown(cancel_futures=True)
    return [(one, verdicts[one.name]) for one in chosen]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults of tests/mutations.toml; none: all")
    parser.add_argument("--seeds", type=int, default=1_000, metavar="N", help="networks for each that lives")
    arguments = parser.parse_args()
    known = {one.name: one for one in mutations()}
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"tests/mutations.toml has no {', '.join(unknown)}")
    chosen = [known[name] for name in arguments.names] or list(known.values())
    if not arguments.names and (sound := judge(None, 0)).by:
        sys.stderr.write(f"the tests find a fault where none was put in: {sound.detail}\n")
        return 1
    judged = measure(chosen, arguments.seeds)
    by = [verdict.by for _, verdict in judged]
    found = len(by) - by.count("")
    sys.stdout.write(
        f"{len(by)} faults: {by.count('unit tests')} found by unit tests, "
        f"{by.count('simulation')} by the simulation, {by.count('')} live\n"
    )
    return 0 if found * 100 >= FOUND_PERCENT_MIN * len(by) else 1


if __name__ == "__main__":
    sys.exit(main())
