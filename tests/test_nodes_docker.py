"""Containers on real nodes: the batch example as users write it, and what a crash leaves of them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker_engine import BUSYBOX, SOCKET, containers, require_docker
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import JOBS, WAITING_SHELL, docker_job, text_of


class Network:
    """Two nodes that run containers, and one that only submits."""

    def __init__(self, nodes: Nodes) -> None:
        self.a = nodes.start("a", "--no-compute")
        self.b, self.c = (nodes.new(name, peers=(self.a,)) for name in "bc")
        for node in (self.b, self.c):
            node.start(ready=False)
        for node in (self.b, self.c):
            node.wait_ready()
        know_each_other(self.a, self.b, self.c)
        self.by_peer = {self.b.peer: self.b, self.c.peer: self.c}

    def begin(self) -> tuple[str, str, Node]:
        job = self.a.submit(docker_job(BUSYBOX, WAITING_SHELL))
        execution = self.a.execution(job, "Running")
        node = self.by_peer[execution["peer"]]
        node.begun(execution["id"])
        return job, execution["id"], node


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_docker()
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield Network(nodes)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    require_docker()
    with running_nodes(tmp_path) as nodes:
        yield nodes


def containers_of(execution: str) -> list[str]:
    return containers(f"name={execution}")


def test_a_script_that_is_an_input_runs_and_stays_a_program_in_the_result(
    network: Network, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "run.sh").write_text(
        "#!/bin/sh\necho it ran; cp $0 /outputs/again.sh; echo > /outputs/plain\n"
    )
    (tree / "bin" / "run.sh").chmod(0o4755)
    root = network.a.add(tree)
    sources = [
        {"Target": target, "Source": {"Type": "ipfs", "Params": {"CID": f"{root}{path}"}}}
        for target, path in (("/whole", ""), ("/bin/run-alone", "/bin/run.sh"))
    ]
    script = "/whole/bin/run.sh && /bin/run-alone && stat -c %a /whole/bin/run.sh"
    (tmp_path / "job.yaml").write_bytes(text_of(docker_job(BUSYBOX, script, InputSources=sources)))
    done = network.a.cli("submit", str(tmp_path / "job.yaml"), timeout_s=60)
    assert done.returncode == 0, done.stderr
    job = network.a.client.jobs()[0]
    for path in ("stdout", "outputs"):
        got = network.a.cli("get", f"{job['id']}/{path}", "-o", str(tmp_path / "got"))
        assert got.returncode == 0, got.stderr
    assert (tmp_path / "got" / "stdout").read_text() == "it ran\nit ran\n755\n"
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "got" / "outputs").iterdir()}
    assert modes == {"again.sh": 0o755, "plain": 0o644}


def test_the_batch_example_runs_on_two_peers(network: Network, tmp_path: Path) -> None:
    a = network.a
    a.add(JOBS / "wordcount-data")
    done = a.cli("submit", str(JOBS / "batch-docker.yaml"), timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    job = a.client.jobs()[0]
    assert {one["peer"] for one in job["executions"]} == {network.b.peer, network.c.peer}
    assert job["priority"] == 100
    got = a.cli("get", job["id"], "-o", str(tmp_path / "got"))
    assert got.returncode == 0, got.stderr
    for result in (tmp_path / "got").iterdir():
        lines = (result / "outputs" / "result.txt").read_text().splitlines()
        assert lines[0] == "the first 5 primes: 2 3 5 7 11"
        assert len(lines) == 4 and all("/data/" in line for line in lines[1:])
        assert (result / "stdout").read_text().startswith("supercalc: 5 primes, 3 input files")
    for execution in job["executions"]:
        until("its container is removed", lambda id=execution["id"]: not containers_of(id))


def test_an_image_that_nobody_has_ends_the_job_with_that_reason(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(text_of(docker_job("127.0.0.1:9/no/such:image", "true")))
    done = network.a.cli("submit", str(path))
    assert done.returncode == 5, done.stderr
    (line,) = (one for one in done.stderr.splitlines() if " Failed after " in one)
    assert "image 127.0.0.1:9/no/such:image: this peer takes no images from 127.0.0.1:9" in line
    assert "serve --allow-registry 127.0.0.1:9" in line


@pytest.mark.parametrize(("written", "flag"), [("Full", "host"), ("Bridge", "bridge")])
def test_a_job_for_a_network_that_no_operator_allows_is_told_the_flag(
    network: Network, tmp_path: Path, written: str, flag: str
) -> None:
    path = tmp_path / "job.yaml"
    job = docker_job(BUSYBOX, "true")
    job["Tasks"][0]["Network"] = {"Type": written}
    path.write_bytes(text_of(job))
    for command in ("submit", "plan"):
        done = network.a.cli(command, str(path))
        assert done.returncode == 3, done.stderr
        assert f"its operator can allow it with serve --allow-network {flag}" in done.stdout + done.stderr


def test_a_network_that_an_operator_allows_is_there_for_jobs(nodes: Nodes) -> None:
    owner = nodes.start("owner", "--no-compute")
    lender = nodes.new("lender", "--allow-network", "bridge,host", peers=(owner,)).start()
    know_each_other(owner, lender)
    for written in ("Bridge", "Host"):
        job = docker_job(BUSYBOX, "ls /sys/class/net | wc -l > /outputs/interfaces")
        job["Tasks"][0]["Network"] = {"Type": written}
        assert owner.ended(owner.submit(job))["state"] == "Completed"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(
            "cd /outputs; n=$(printf '\\377'); for i in $(seq 70); do mkdir $n; cd $n; done",
            "\\xff/\\xff",
            id="names that are no text, too deep",
        ),
        pytest.param(
            "cd /outputs; for i in $(seq 1000); do mkdir d; cd d; done", "directories deep", id="bottomless"
        ),
        pytest.param("truncate -s 40G /outputs/sparse", "the job's disk limit", id="a hole of 40 GB"),
    ],
)
def test_a_result_that_cannot_be_is_its_jobs_own_fault_on_one_peer_and_leaves_nothing(
    network: Network, script: str, said: str
) -> None:
    resources = {"CPU": "500m", "Memory": "64mb", "Disk": "50mb"}
    job = network.a.submit(docker_job(BUSYBOX, script, Resources=resources))
    ended = network.a.ended(job)
    assert ended["state"] == "Failed"
    (execution,) = ended["executions"]
    assert said in execution["reason"], execution
    assert "/executions/" not in execution["reason"]
    assert (execution["exit_code"], execution["result_cid"] != "") == (0, True)
    directory = network.by_peer[execution["peer"]].data_dir / "executions" / execution["id"]
    until("its directory is removed", lambda: not directory.exists())


def test_a_container_outlives_its_node_and_is_not_doubled(network: Network) -> None:
    job, execution, peer = network.begin()
    before = containers_of(execution)
    peer.kill()
    assert containers_of(execution) == before
    peer.start()
    until("the job still runs", lambda: network.a.job(job)["state"] == "Running")
    peer.finish(execution)
    ended = network.a.ended(job)
    assert ended["state"] == "Completed", ended["reason"]
    assert [one["id"] for one in ended["executions"]] == [execution]
    assert network.a.cli("job", "logs", job).stdout == "begun\nended\n"
    until("its container is removed", lambda: not containers_of(execution))


def test_a_container_that_ends_while_its_node_is_dead_still_delivers(network: Network) -> None:
    job, execution, peer = network.begin()
    peer.kill()
    peer.finish(execution)
    until("it has ended", lambda: not containers(f"name={execution}", "status=running"))
    peer.start()
    ended = network.a.ended(job)
    assert ended["state"] == "Completed", ended["reason"]
    assert [one["id"] for one in ended["executions"]] == [execution]


def test_a_stopped_jobs_container_is_gone(network: Network) -> None:
    job, execution, _ = network.begin()
    network.a.client.stop(job, "enough")
    until("its container is removed", lambda: not containers_of(execution), 5.0)


def test_a_node_that_ends_takes_its_containers_with_it(network: Network) -> None:
    job, execution, peer = network.begin()
    assert peer.end() == 0
    assert not containers_of(execution)
    second = network.a.execution(job, "Running")
    other = network.by_peer[second["peer"]]
    assert other is not peer
    other.finish(second["id"])
    assert network.a.ended(job)["state"] == "Completed"
    peer.start()


def test_a_restart_with_live_restore_moves_nothing_and_an_interrupt_ends_what_runs(nodes: Nodes) -> None:
    owner = nodes.start("owner", "--no-compute")
    lender = nodes.new("lender", "--live-restore", peers=(owner,)).start()
    know_each_other(owner, lender)
    job = owner.submit(docker_job(BUSYBOX, WAITING_SHELL))
    execution = owner.execution(job, "Running")["id"]
    lender.begun(execution)
    before = containers_of(execution)
    assert before and lender.end() == 0
    assert containers_of(execution) == before
    lender.start()
    lender.finish(execution)
    ended = owner.ended(job)
    assert (ended["state"], [one["id"] for one in ended["executions"]]) == ("Completed", [execution])
    assert owner.cli("job", "logs", job).stdout == "begun\nended\n"

    execution = owner.execution(owner.submit(docker_job(BUSYBOX, WAITING_SHELL)), "Running")["id"]
    assert lender.end(signal.SIGINT) == 0
    assert not containers_of(execution)


def test_a_node_notices_when_docker_comes_and_goes(nodes: Nodes, tmp_path: Path) -> None:
    """A node with a /run of its own, in which the engine's socket is there or not as the test wants."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("a node is given a /run of its own by root only")
    (tmp_path / "run").mkdir()
    engine = Path(SOCKET)
    script = f"mount --bind {engine.parent} {tmp_path}/run && mount -t tmpfs tmpfs /run"
    script += ' && unset DOCKER_HOST && exec "$@"'
    watcher = nodes.start("watcher", "--no-compute")
    node = nodes.new("node", peers=(watcher,))
    node.within = ("unshare", "--mount", "sh", "-c", script, "sh")
    node.start()
    know_each_other(watcher, node)

    def engines() -> list[str]:
        return next(one["engines"] for one in watcher.client.nodes() if not one["self"])

    assert engines() == ["wasm"]
    assert node.process is not None
    socket = Path(f"/proc/{node.process.pid}/root/run/docker.sock")
    socket.symlink_to(tmp_path / "run" / engine.name)
    until("Docker has come", lambda: engines() == ["wasm", "docker"], 10.0)
    socket.unlink()
    until("Docker has gone", lambda: engines() == ["wasm"], 10.0)
