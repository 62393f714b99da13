"""`kill -9` of every node at once, then their start: jobs go on, and in the end nothing has leaked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.api.shapes import ExecutionJson

from .docker_engine import BUSYBOX, containers, require_docker
from .job_views import add_waiting
from .nodes import Node, Nodes, children, know_each_other, running_nodes, until
from .programs import WAITING_SHELL, docker_job, wasm_job


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    require_docker()
    with running_nodes(tmp_path) as nodes:
        yield nodes


def running(node: Node, job: str) -> list[ExecutionJson]:
    return [one for one in node.job(job)["executions"] if one["state"] == "Running"]


def container_id(execution: str) -> str:
    command = ["docker", "ps", "--no-trunc", "--format", "{{.ID}}", "--filter", f"name={execution}"]
    (id,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return id


def mounts_below(directory: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]


def test_four_nodes_that_were_killed_at_once_go_on_and_leak_nothing(nodes: Nodes, tmp_path: Path) -> None:
    owner = nodes.start("owner", "--no-compute")
    for name in "bcd":
        nodes.new(name, peers=(owner,)).start(ready=False)
    lenders = [node.wait_ready() for node in nodes.all[1:]]
    know_each_other(*nodes.all)
    by_peer = {node.peer: node for node in nodes.all}
    waiting = add_waiting(owner, tmp_path)
    batch = owner.submit(wasm_job(waiting))
    service = owner.submit(wasm_job(waiting, Type="service", Count=2))
    docker = owner.submit(docker_job(BUSYBOX, WAITING_SHELL))
    for job, count in ((batch, 1), (service, 2), (docker, 1)):
        until("all run", lambda job=job, count=count: len(running(owner, job)) == count)
    before = {job: {one["id"] for one in running(owner, job)} for job in (batch, service, docker)}
    holds = {one["id"]: by_peer[one["peer"]] for job in before for one in running(owner, job)}
    for execution, node in holds.items():
        node.begun(execution)
    (wasm_execution,), (docker_execution,) = before[batch], before[docker]
    container = container_id(docker_execution)
    programs = {pid for node in lenders for pid in children(node)}
    assert len(programs) == 3

    for node in nodes.all:
        assert node.process is not None
        node.process.kill()
    for node in nodes.all:
        node.kill()
    until(
        "WASM programs end with their node", lambda: not [p for p in programs if Path(f"/proc/{p}").exists()]
    )
    for execution in before[batch] | before[service]:
        holds[execution].begins_again(execution)
    for node in nodes.all:
        node.start(ready=False)
    for node in nodes.all:
        node.wait_ready()

    # WASM is run again, by the same execution; the container was never gone.
    for execution in before[batch] | before[service]:
        holds[execution].begun(execution)
    for job, executions in before.items():
        until(
            "all run again",
            lambda job=job, executions=executions: {one["id"] for one in running(owner, job)} == executions,
        )
        assert {one["id"] for one in owner.job(job)["executions"]} == executions, owner.history(job)
    assert container_id(docker_execution) == container

    holds[docker_execution].finish(docker_execution)
    holds[wasm_execution].finish(wasm_execution)
    for job in (docker, batch):
        assert owner.ended(job)["state"] == "Completed"
    assert owner.cli("job", "logs", docker).stdout == "begun\nended\n"
    assert owner.cli("job", "stop", service).returncode == 0

    for node in lenders:
        until("its directories are gone", lambda node=node: not list(node.data_dir.glob("executions/*")))
        until("its programs are gone", lambda node=node: not children(node))
        until("it holds nothing", lambda node=node: node.client.scheduling()["held"] == 0)
        until("all of it is free", lambda node=node: has_all_free(node))
    for execution in holds:
        assert not containers(f"name={execution}")
    assert not mounts_below(tmp_path)
    for node in nodes.all:
        assert node.end() == 0
    assert not processes_of(tmp_path)


def has_all_free(node: Node) -> bool:
    (own,) = (one for one in node.client.nodes() if one["self"])
    return own["free"] == own["total"]


def processes_of(directory: Path) -> list[str]:
    """The command lines of living processes that name the directory, or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            here = str((process / "cwd").resolve())
        except OSError:
            continue
        if str(directory) in command or here.startswith(str(directory)):
            found.append(command)
    return found
