"""Someone alone on one machine: jobs with `--here`, and what is said where there is no peer; real nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .network_support import new_identity
from .nodes import Node, environment, running_nodes, until
from .programs import JOBS

# A program starts within this on two busy cores; looking for peers takes longer.
SAID_S_MAX = 3.0


@pytest.fixture
def nobody(tmp_path: Path) -> Node:
    """A data directory on which nothing runs."""
    return Node("nobody", tmp_path / "nobody", [], tmp_path / "nobody.log")


def left_over(node: Node) -> list[Path]:
    return list(node.data_dir.glob("here/*"))


def test_a_job_runs_here_and_its_result_is_there_when_the_node_has_gone(nobody: Node) -> None:
    done = nobody.cli("wasm", "run", "--here", str(JOBS / "noop.wasm"))
    assert done.returncode == 0, done.stderr
    (folder,) = done.stdout.split()
    result = nobody.data_dir.parent / folder
    assert (result / "exitCode").read_text().strip() == "0"
    assert "p2pnode get" not in done.stderr
    assert left_over(nobody) == []


def test_each_replica_of_a_job_that_runs_here_has_a_folder_and_json_is_the_job(nobody: Node) -> None:
    done = nobody.cli("wasm", "run", "--here", "--count", "2", "--json", str(JOBS / "noop.wasm"))
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert len({one["peer"] for one in job["executions"]}) == 1
    (directory,) = nobody.data_dir.parent.glob("job-*")
    assert len(list(directory.glob("*/exitCode"))) == 2


def test_here_is_another_node_than_the_one_that_runs_and_has_its_settings(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.new("a")
        node.data_dir.mkdir()
        (node.data_dir / "config.toml").write_text('labels = { zone = "north" }\ncompute = false\n')
        node.start()
        flags = ("--constraint", "zone=north", "--json", str(JOBS / "noop.wasm"))
        done = node.cli("wasm", "run", "--here", *flags)
        assert done.returncode == 0, done.stderr
        (execution,) = json.loads(done.stdout)["executions"]
        assert execution["peer"] != node.peer
        assert node.client.jobs() == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--peer", f"/ip4/127.0.0.1/tcp/9/p2p/{new_identity().peer_id}"), "--peer cannot be given"),
        (("--no-wait",), "--no-wait cannot be given"),
        (("--type", "service"), "a service goes on until it is stopped"),
    ],
)
def test_what_does_not_go_with_here_is_wrong_usage(nobody: Node, flags: tuple[str, ...], said: str) -> None:
    done = nobody.cli("wasm", "run", "--here", *flags, str(JOBS / "noop.wasm"))
    assert done.returncode == 2
    assert said in done.stderr
    assert left_over(nobody) == []


def test_a_service_runs_here_until_ctrl_c_and_leaves_nothing(nobody: Node) -> None:
    words = ["wasm", "run", "--here", "--follow", "--type", "service", str(JOBS / "noop.wasm")]
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", *words],
        env=environment(nobody.data_dir),
        cwd=nobody.data_dir.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("unning" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "stopped j-" in said
    assert left_over(nobody) == []


def test_without_a_peer_the_command_says_so_at_once_and_names_here(nobody: Node) -> None:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", "submit", str(JOBS / "noop.yaml")],
        env=environment(nobody.data_dir),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    until_named = next(line for line in process.stderr if "--here" in line)
    took_s = time.monotonic() - began
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 6
    assert "on this machine alone" in until_named and took_s < SAID_S_MAX
    assert "no peer was found within 2 s" in rest
    until("its node has ended", lambda: not (nobody.data_dir / "node.json").exists())
