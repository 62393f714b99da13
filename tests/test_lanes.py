"""The quick lane: what it leaves out is there, and it starts no process."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .lanes import NOT_QUICK, is_quick

FILES = {path.name: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}


def alternatives(pattern: str) -> list[str]:
    """The patterns for which one with `(a|b)` stands."""
    group = re.fullmatch(r"(.*?)\(([\w.|\\]+)\)(.*)", pattern)
    return [group[1] + one + group[3] for one in group[2].split("|")] if group else [pattern]


@pytest.mark.parametrize("pattern", [one for pattern in NOT_QUICK for one in alternatives(pattern)])
def test_what_the_quick_lane_leaves_out_exists(pattern: str) -> None:
    file, _, function = pattern.partition("::")
    named = re.match(r"\w*", function)
    assert named and any(f"def {named[0]}" in text for name, text in FILES.items() if re.match(file, name))


@pytest.mark.parametrize(
    ("test", "quick"),
    [
        ("tests/test_new.py::test_it", True),
        ("tests/test_nodes_new.py::test_it", False),
        ("test_cli.py::test_other", True),
        ("test_cli.py::test_a_closed_pipe_is_no_error", False),
        ("tests/test_simulation.py::test_every_job_ends_and_so_on[50]", False),
        ("tests/test_simulation.py::test_every_job_ends_and_so_on[500]", False),
    ],
)
def test_a_test_is_quick_unless_it_is_named(test: str, quick: bool) -> None:
    assert is_quick(test) is quick


def test_a_quick_test_that_starts_a_process_is_told_where_to_be_named() -> None:
    with pytest.raises(RuntimeError, match=r"starts a process: name it in NOT_QUICK of tests/lanes\.py"):
        subprocess.run(["true"], check=True)
