"""Jobs that are made of flags, and plans, on real nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .nodes import Node, running_nodes
from .programs import JOBS


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One of three nodes."""
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes.start_three()[0]


def test_a_module_of_this_machine_is_planned_run_and_described(a: Node, tmp_path: Path) -> None:
    data = a.add(JOBS / "wordcount-data")
    flags = ("-i", f"ipfs://{data}:/data", "-o", "outputs:/outputs", "--count", "2", "--memory", "64mb")
    program = (*flags, str(JOBS / "wordcount.wasm"))
    file = tmp_path / "job.yaml"
    file.write_text(a.cli("wasm", "run", "--dry-run", *program).stdout)

    plan = json.loads(a.cli("plan", "--json", str(file)).stdout)
    assert (plan["needed"], plan["known"]) == (2, 3)
    assert plan["would_bid"] >= len(plan["asked"]) >= 2

    ran = a.cli("wasm", "run", "--json", *program)
    assert ran.returncode == 0, ran.stderr
    job = json.loads(ran.stdout)
    assert [one["exit_code"] for one in job["executions"]] == [0, 0]

    file.write_text(a.cli("job", "describe", "-o", "yaml", job["id"]).stdout)
    again = a.cli("submit", "--json", str(file))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["spec"] == job["spec"]


@pytest.mark.parametrize("flags", [["--constraint", "zone=nowhere"], ["--gpu", "64"]])
def test_a_plan_says_why_no_peer_is_suitable(a: Node, tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(a.cli("wasm", "run", "--dry-run", *flags, str(JOBS / "noop.wasm")).stdout)
    done = a.cli("plan", "--json", str(file))
    assert done.returncode == 3, done.stderr
    plan = json.loads(done.stdout)
    assert plan["asked"] == []
    assert sum(one["peers"] for one in plan["unsuitable"]) == 3
