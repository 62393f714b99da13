"""Executions that are ended from outside on real nodes: each way, in each engine, leaves what was written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import ExecutionJson

from .docker_engine import BUSYBOX, require_docker
from .nodes import Node, know_each_other, running_nodes, until
from .programs import docker_job, waiting_module, wasm_job

SCRIPT = (
    "trap 'echo bye; echo saved > /outputs/saved; exit 3' TERM;"
    " echo part > /outputs/part; echo begun; while :; do sleep 0.05; done"
)
# By engine: the exit code, stdout, and what lies in the result directory.
LEFT = {"docker": (3, "begun\nbye\n", {"part": "part\n", "saved": "saved\n"}), "wasm": (None, "begun\n", {})}


class Network:
    def __init__(self, a: Node, b: Node, module: str) -> None:
        self.a, self.b, self.module = a, b, module

    def job(self, engine: str, **top: Any) -> dict[str, Any]:
        return docker_job(BUSYBOX, SCRIPT, **top) if engine == "docker" else wasm_job(self.module, **top)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_docker()
    directory = tmp_path_factory.mktemp("nodes")
    module = directory / "waiting.wasm"
    module.write_bytes(waiting_module())
    with running_nodes(directory) as nodes:
        a = nodes.start("a", "--no-compute")
        b = nodes.start("b", "--preempt", peers=(a,))
        know_each_other(a, b)
        yield Network(a, b, a.add(module))


def stop(network: Network, id: str, job: dict[str, Any]) -> None:
    assert network.a.cli("job", "stop", id).returncode == 0


def update(network: Network, id: str, job: dict[str, Any]) -> None:
    job["Tasks"][0]["Env"] = {"NEW": "1"}
    assert network.a.submit(job) == id


def drain(network: Network, id: str, job: dict[str, Any]) -> None:
    network.b.client.schedule(scheduling="draining", timeout_s=0)
    until("it is drained", lambda: not network.b.client.scheduling()["held"])
    network.b.cli("node", "uncordon")


def preempt(network: Network, id: str, job: dict[str, Any]) -> None:
    """More urgent work of the same owner takes all of the node's processors."""
    # An ask that has to wait for what is being ended already makes no room for itself.
    until("nothing else is held", lambda: network.b.client.scheduling()["held"] == 1)
    urgent = docker_job(BUSYBOX, "true", Priority=99, Resources={"CPU": str(os.cpu_count())})
    assert network.a.ended(network.a.submit(urgent))["state"] == "Completed"


def node_ends(network: Network, id: str, job: dict[str, Any]) -> None:
    assert network.b.end() == 0
    network.b.start()
    know_each_other(network.a, network.b)


def nothing(network: Network, id: str, job: dict[str, Any]) -> None:
    """Its time passes."""


Way = tuple[Callable[[Network, str, dict[str, Any]], None], dict[str, Any], str]
WAYS: dict[str, Way] = {
    "stop": (stop, {}, "stopped by its owner"),
    "stop of a service": (stop, {"Type": "service"}, "stopped by its owner"),
    "total timeout": (nothing, {"Timeouts": {"TotalTimeout": 3}}, "TotalTimeout of 3 s"),
    "execution timeout": (nothing, {"Timeouts": {"ExecutionTimeout": 2}}, "its limit of 2 s"),
    "update": (update, {"Type": "service"}, "replaced by version 2"),
    "drain": (drain, {}, "drained"),
    "preemption": (preempt, {"Priority": 10}, "made room for a job of priority 99"),
    "the node's end": (node_ends, {}, "shut down"),
}


@pytest.mark.parametrize("engine", LEFT)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_written_until_the_end_can_be_read_and_fetched(
    network: Network, tmp_path: Path, way: str, engine: str
) -> None:
    end, fields, reason = WAYS[way]
    exit_code, stdout, files = LEFT[engine]
    a, job = network.a, network.job(engine, **fields)
    id = a.submit(job)
    execution = a.execution(id, "Running")["id"]
    network.b.begun(execution)
    end(network, id, job)

    def left() -> ExecutionJson | None:
        one = next(one for one in a.job(id)["executions"] if one["id"] == execution)
        return one if one["receipt_cid"] else None

    one = until(f"its receipt is there: {a.history(id)}", left)
    assert one["exit_code"] == exit_code and one["result_cid"]
    assert reason in one["reason"]
    logs = a.cli("job", "logs", id, "--execution", execution, "--stream", "stdout")
    assert (logs.returncode, logs.stdout) == (0, stdout), logs.stderr
    got = tmp_path / "got"
    fetched = a.cli("get", id, "--execution", execution, "-o", str(got))
    assert fetched.returncode == 0, fetched.stderr
    assert (got / "stdout").read_text() == stdout
    assert (got / "exitCode").read_text() == ("" if exit_code is None else str(exit_code))
    assert {path.name: path.read_text() for path in (got / "outputs").iterdir()} == files
    if a.job(id)["state"] not in ("Stopped", "Failed"):
        a.client.stop(id, "the test is over")


def test_logs_of_an_execution_without_output_say_so(network: Network) -> None:
    job = network.job("docker")
    job["Tasks"][0]["Engine"]["Params"]["Image"] = "127.0.0.1:1/none:1"
    id = network.a.submit(job)
    network.a.ended(id)
    logs = network.a.cli("job", "logs", id)
    assert logs.stdout == "" and "no output" in logs.stderr and "Failed" in logs.stderr
