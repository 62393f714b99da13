"""Real networks of real nodes on this machine, used through the command line as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.cli.processes import ProcessName, end, name_of

ROOT = Path(__file__).parent.parent
JOB = ROOT / "devnet/jobs/wordcount.yaml"
INPUTS = (ROOT / "devnet/jobs/wordcount.wasm", ROOT / "devnet/jobs/wordcount-data")
COMMAND_TIMEOUT_S = 90


class Shell:
    """Runs commands with a home of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.devnet = home / "devnet"
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("P2PNODE_")}
        self.environ["P2PNODE_DATA_DIR"] = str(home / "own")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "p2pnode", *map(str, arguments)],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )

    def answer(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def nodes(self) -> list[dict[str, Any]]:
        nodes = json.loads(self.answer("devnet", "status", "--dir", self.devnet, "--json"))["nodes"]
        assert isinstance(nodes, list)
        return nodes

    def use_first_node(self) -> None:
        for line in self.answer("devnet", "env", "--dir", self.devnet).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.environ[name] = value


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.run("devnet", "down", "--dir", shell.devnet)


def alive(pid: int) -> bool:
    return name_of(pid).alive


def test_a_job_of_two_runs_on_two_peers_and_its_results_are_fetched(shell: Shell) -> None:
    shell.run("devnet", "up", "--topology", ROOT / "devnet/zones.toml", "--detach", "--dir", shell.devnet)
    nodes = shell.nodes()
    assert [node["name"] for node in nodes] == ["alpha", "beta", "gamma"]
    shell.use_first_node()
    for path in INPUTS:
        shell.answer("ipfs", "add", path)
    job = json.loads(shell.answer("submit", "--json", JOB))
    assert job["state"] == "Completed"
    ran_on = {execution["peer"] for execution in job["executions"]}
    assert len(ran_on) == 2
    assert ran_on < {node["peer"] for node in nodes}
    assert json.loads(shell.answer("job", "describe", "--json", job["id"])) == job
    shell.answer("get", job["id"], "-o", "result")
    counts = sorted(shell.home.glob("result/*/outputs/counts.csv"))
    assert [path.read_text().splitlines()[1] for path in counts] == ["the,35", "the,35"]
    known = json.loads(shell.answer("node", "list", "--json"))["nodes"]
    assert {node["labels"]["zone"] for node in known} == {"north", "south"}
    shell.answer("devnet", "down", "--dir", shell.devnet)
    assert not any(alive(node["pid"]) for node in nodes)


def test_without_a_node_submit_is_one_for_as_long_as_its_job_goes_on(shell: Shell) -> None:
    shell.run("devnet", "up", "--peers", "2", "--detach", "--dir", shell.devnet)
    own = shell.environ.copy()
    shell.use_first_node()
    for path in INPUTS:
        shell.answer("ipfs", "add", path)
    address = json.loads(shell.answer("id", "--json"))["addresses"][0]
    shell.environ = own
    cids = shell.answer("submit", "--peer", address, JOB).split()
    assert len(cids) == 2
    assert not (shell.home / "own" / "node.json").exists()
    shell.answer("ipfs", "get", cids[0], "-o", "result", "--peer", address)
    assert (shell.home / "result/stdout").read_text().startswith("567 words")


def test_ctrl_c_ends_every_node_of_a_devnet(shell: Shell) -> None:
    up = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", "devnet", "up", "--peers", "2", "--dir", str(shell.devnet)],
        env=shell.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert up.stderr
    assert any(line.startswith("node-2 ready") for line in iter(up.stderr.readline, ""))
    up.send_signal(signal.SIGINT)
    _, err = up.communicate(timeout=COMMAND_TIMEOUT_S)
    assert up.returncode == 0
    assert "Traceback" not in err
    assert shell.run("devnet", "status", "--dir", shell.devnet).returncode == 6


def test_a_second_devnet_does_not_take_the_place_of_one_that_runs(shell: Shell) -> None:
    assert shell.run("devnet", "up", "--peers", "1", "--detach", "--dir", shell.devnet).returncode == 0
    again = shell.run("devnet", "up", "--peers", "1", "--detach", "--dir", shell.devnet)
    assert (again.returncode, "devnet down" in again.stderr) == (2, True)
    assert [node["state"] for node in shell.nodes()] == ["ready"]


def test_what_a_killed_devnet_left_is_replaced(shell: Shell) -> None:
    shell.run("devnet", "up", "--peers", "1", "--detach", "--dir", shell.devnet)
    first = shell.nodes()[0]
    os.kill(first["pid"], signal.SIGKILL)
    while alive(first["pid"]):
        time.sleep(0.01)
    assert shell.run("devnet", "env", "--dir", shell.devnet).returncode == 6
    assert shell.run("devnet", "up", "--peers", "1", "--detach", "--dir", shell.devnet).returncode == 0
    assert shell.nodes()[0]["peer"] != first["peer"]


@pytest.mark.parametrize(
    ("topology", "said"),
    [
        ("[[node]]\nname = 'a'\n[[node]]\nname = 'a'\n", "two nodes have the name 'a'"),
        ("[[node]]\nnmae = 'a'\n", "no such setting"),
        ("node = 3", "expected 1 to 64 tables"),
        ("node = [3]", "node 1: expected a table of settings"),
        ("[[", "not TOML"),
    ],
)
def test_a_wrong_topology_starts_nothing(shell: Shell, topology: str, said: str) -> None:
    (shell.home / "wrong.toml").write_text(topology)
    done = shell.run("devnet", "up", "--topology", "wrong.toml", "--dir", shell.devnet)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not shell.devnet.exists()


def test_who_named_no_node_is_led_to_the_devnet_that_runs(shell: Shell) -> None:
    shell.environ["XDG_STATE_HOME"] = str(shell.home / "state")
    shell.run("devnet", "up", "--peers", "1", "--detach")
    try:
        done = shell.run("job", "list")
    finally:
        shell.run("devnet", "down")
    assert (done.returncode, 'eval "$(p2pnode devnet env)"' in done.stderr) == (6, True), done.stderr
    assert "devnet" not in shell.run("job", "list").stderr


def test_without_a_devnet_its_commands_say_how_to_start_one(shell: Shell) -> None:
    for command in ("status", "env"):
        done = shell.run("devnet", command, "--dir", shell.devnet)
        assert (done.returncode, "p2pnode devnet up" in done.stderr) == (6, True)
    assert shell.run("devnet", "down", "--dir", shell.devnet).returncode == 0


def test_a_pid_that_is_another_process_now_is_left_alone() -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        end([ProcessName(other.pid, "an earlier start")], timeout_s=1)
        assert other.poll() is None
        end([name_of(other.pid)], timeout_s=5)
        assert other.wait(5) == -signal.SIGTERM
    finally:
        other.kill()
        other.wait()


def test_what_does_not_end_when_asked_is_killed() -> None:
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout
    deaf.stdout.readline()
    end([name_of(deaf.pid)], timeout_s=0.2)
    deaf.communicate(timeout=5)
    assert deaf.returncode == -signal.SIGKILL


def test_a_private_devnet_is_a_network_of_its_nodes_and_of_no_others(shell: Shell) -> None:
    done = shell.run("devnet", "up", "--private", "--peers", "2", "--detach", "--dir", shell.devnet)
    assert done.returncode == 0, done.stderr
    shell.use_first_node()
    shown = json.loads(shell.answer("network", "show", "-o", "json"))
    assert (shown["network"]["name"], shown["network"]["role"], shown["invites"]) == (
        "devnet",
        "operator",
        True,
    )
    found = json.loads(shell.answer("node", "list", "-o", "json"))["nodes"]
    assert {one["name"]: one["role"] for one in found} == {"node-1": "operator", "node-2": "member"}
