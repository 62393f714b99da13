"""`job exec` over two real nodes and Docker, as a person and a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from p2pnode.client.exec import EnteredProgram
from p2pnode.core.worker import entering
from p2pnode.system.audit_log import FILE_NAME

from .docker_engine import BUSYBOX, require_docker
from .nodes import Node, Nodes, environment, know_each_other, running_nodes, until
from .own_programs import MARK, marked
from .programs import WAITING_SHELL, docker_job, waiting_module, wasm_job
from .test_cli_exec import at_terminal

TIMEOUT_S = 30.0
FLOOD_BYTES = 10_000_000


class Network:
    """`a` submits and controls; `open` lets people in and runs its jobs, and `shut` does not let them in."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.a = nodes.start("a", "--no-compute")
        self.open = nodes.start("open", "--allow-exec", "--label", "door=open", peers=(self.a,))
        self.shut = nodes.start("shut", "--label", "door=shut", peers=(self.a,))
        know_each_other(*nodes.all)

    def begin(self, node: Node) -> str:
        """A job that runs on a node until it is stopped."""
        door = [{"Key": "door", "Operator": "=", "Values": [node.name]}]
        job = self.a.submit(docker_job(BUSYBOX, WAITING_SHELL, Constraints=door))
        node.begun(self.a.execution(job, "Running", node.peer)["id"])
        return job


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_docker()
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield Network(nodes)


@pytest.fixture(scope="module")
def job(network: Network) -> str:
    return network.begin(network.open)


def execute(node: Node, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "p2pnode", "job", "exec", *words],
        input=given,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(node.data_dir),
    )


def test_a_script_gives_input_and_gets_output_and_exit_code(network: Network, job: str) -> None:
    done = execute(network.a, "-i", job, "--", "sh", "-c", "cat; echo no >&2; exit 7", given=b"hi\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"hi\n", b"no\n", 7)


def test_ten_megabytes_arrive_whole_in_both_directions(network: Network, job: str) -> None:
    sent = os.urandom(FLOOD_BYTES)
    done = execute(network.a, "-i", job, "cat", given=sent)
    assert done.returncode == 0 and done.stdout == sent


def test_a_person_has_a_terminal_whose_size_follows(network: Network, job: str) -> None:
    with at_terminal("-it", job, environ=environment(network.a.data_dir)) as shown:
        until("keys go through", lambda: shown.is_raw)
        shown.type(b"tty; stty size; echo $TERM-\r")
        shown.see(b"/dev/pts/")
        shown.see(b"30 90\r\n")
        shown.see(b"vt100-\r\n")
        shown.resize(120, 40)
        shown.type(b"while [ \"$(stty size)\" != '40 120' ]; do sleep 0.05; done; echo resiz''ed\r")
        shown.see(b"resized\r\n")
        shown.type(b"exit 3\r")
        assert shown.ended() == 3 and shown.is_as_before


def test_a_client_that_is_killed_takes_its_program_along(network: Network, job: str) -> None:
    with at_terminal("-t", job, "sleep", MARK, environ=environment(network.a.data_dir)) as shown:
        # The command has the word as well.
        until("the program runs", lambda: marked() > 1)
        shown.process.kill()
        until("the program is gone", lambda: not marked())


def test_an_operator_who_lets_nobody_in_is_told_of(network: Network) -> None:
    done = execute(network.a, network.begin(network.shut), "true")
    assert done.returncode == 5 and f"shut: {entering.NOT_ALLOWED}" in done.stderr.decode()


def test_users_of_another_node_are_refused(network: Network, job: str) -> None:
    done = execute(network.shut, job, "true")
    assert done.returncode == 5 and b"error:" in done.stderr and done.stdout == b""


def test_a_node_s_own_users_enter_their_own_jobs_and_name_one_of_several(network: Network) -> None:
    node = network.shut
    door = [{"Key": "door", "Operator": "=", "Values": ["shut"]}]
    job = node.submit(docker_job(BUSYBOX, WAITING_SHELL, Count=2, Constraints=door))
    until("both run", lambda: [one["state"] for one in node.job(job)["executions"]] == ["Running"] * 2)
    ids = [one["id"] for one in node.job(job)["executions"]]
    refused = execute(node, job, "true")
    assert refused.returncode == 2 and b"give the execution with -e" in refused.stderr
    assert all(id[:14] in refused.stderr.decode() for id in ids)
    for id in ids:
        done = execute(node, "-i", "-e", id[:14], job, "sh", "-c", "cat; exit 4", given=id.encode())
        assert (done.stdout, done.returncode) == (id.encode(), 4)
    # Twice: as the users have it, and as the peer, which this node is as well.
    lines = [json.loads(line) for line in (node.data_dir / FILE_NAME).read_text().splitlines()]
    noted = [(one["caller"], one["execution"], one["result"]) for one in lines if one["action"] == "exec"]
    me = f"peer {node.peer}"
    assert sorted(noted) == sorted(
        [("owner", "", "ambiguous")] + [(who, id, "done") for who in ("owner", me) for id in ids]
    )


def test_wasm_has_nothing_to_enter(network: Network) -> None:
    path = network.nodes.directory / "program.wasm"
    path.write_bytes(waiting_module())
    door = [{"Key": "door", "Operator": "=", "Values": ["open"]}]
    job = network.a.submit(wasm_job(network.a.add(path), Constraints=door))
    network.open.begun(network.a.execution(job, "Running")["id"])
    done = execute(network.a, job, "true")
    assert done.returncode == 5 and b"WASM" in done.stderr


def test_a_program_does_the_same(network: Network, job: str) -> None:
    with network.a.client.exec(job, ["cat"], stdin=True) as program:
        assert isinstance(program, EnteredProgram)
        program.send(b"from Python")
        program.end_input()
        assert [*program] == [("stdout", b"from Python")] and program.exit_code == 0
