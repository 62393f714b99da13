"""Jobs after the node that looks after them has died for good, with real nodes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.api.shapes import ServiceError

from .job_views import copy_of, deputies_of
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import text_of, waiting_module, wasm_job


@pytest.fixture
def four(tmp_path: Path) -> Iterator[tuple[Nodes, str]]:
    """A node that only submits, and three that run jobs; and a program that waits."""
    with running_nodes(tmp_path) as nodes:
        owner = nodes.start("owner", "--no-compute")
        others = [nodes.new(name, peers=(owner,)).start(ready=False) for name in "bcd"]
        know_each_other(owner, *(one.wait_ready() for one in others))
        module = tmp_path / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield nodes, owner.add(module)


def holder(nodes: Nodes, job: str, state: str) -> Node | None:
    """A living node that has the job, and says that it is in this state."""
    for node in nodes.all:
        if node.process is None or node.process.poll() is not None:
            continue
        try:
            if node.job(job)["state"] == state:
                return node
        except ServiceError:
            continue
    return None


def acting(nodes: Nodes, job: str, gone: list[Node]) -> Node | None:
    """The node that looks after the job, by its own word."""
    for node in holders(nodes, job, gone):
        if node.job(job)["owner"] == node.peer:
            return node
    return None


def holders(nodes: Nodes, job: str, gone: list[Node]) -> list[Node]:
    return [node for node in nodes.all if node not in gone and copy_of(node, job)]


def test_a_job_goes_on_whose_owner_is_gone_with_its_disk_and_then_its_deputies_one_after_the_other(
    four: tuple[Nodes, str],
) -> None:
    nodes, waiting = four
    owner = nodes.all[0]
    # Whoever hears nobody of a job's peers takes itself for cut off, so two are left.
    know_each_other(owner, nodes.new("e", peers=(owner,)).start())
    job = owner.submit(wasm_job(waiting))
    execution = owner.execution(job, "Running")
    peer = nodes.of(execution["peer"])
    peer.begun(execution["id"])
    gone: list[Node] = []
    deputies = [nodes.of(deputy) for deputy in deputies_of(owner, job)]
    assert len(deputies) == 2 and peer not in deputies
    for dies in (owner, *deputies):
        if gone:
            until("two have copies again", lambda: len(holders(nodes, job, gone)) > 1)
        dies.kill()
        shutil.rmtree(dies.data_dir)
        gone.append(dies)
        until("a deputy owns it", lambda: acting(nodes, job, gone))
    peer.finish(execution["id"])
    done = until("a deputy has the result", lambda: holder(nodes, job, "Completed"))
    assert done not in gone
    ended = done.job(job)
    assert [one["id"] for one in ended["executions"]] == [execution["id"]]
    fetched = done.cli("get", job)
    assert fetched.returncode == 0, fetched.stderr


def test_an_owner_that_comes_back_learns_what_happened_and_is_owner_again(four: tuple[Nodes, str]) -> None:
    nodes, waiting = four
    owner = nodes.all[0]
    job = owner.submit(wasm_job(waiting))
    execution = owner.execution(job, "Running")
    peer = nodes.of(execution["peer"])
    peer.begun(execution["id"])
    own = owner.peer
    owner.kill()
    until(
        "a deputy owns it",
        lambda: (found := holder(nodes, job, "Running")) is not None and found.job(job)["owner"] != own,
    )
    peer.finish(execution["id"])
    until("it completes", lambda: holder(nodes, job, "Completed"))
    owner.start()
    ended = owner.ended(job)
    assert ended["state"] == "Completed"
    assert ended["owner"] == own
    until(
        "all say so",
        lambda: {found["owner"] for node in nodes.all if (found := copy_of(node, job))} == {own},
    )
    assert [one["id"] for one in ended["executions"]] == [execution["id"]]


def test_a_service_is_kept_running_and_a_daemon_runs_on_a_node_that_joins(four: tuple[Nodes, str]) -> None:
    nodes, waiting = four
    owner = nodes.all[0]
    path = nodes.directory / "service.yaml"
    path.write_bytes(text_of(wasm_job(waiting, Name="web", Type="service", Count=2)))
    submitted = owner.cli("submit", str(path))
    assert submitted.returncode == 0, submitted.stderr
    service = submitted.stdout.strip()
    until(
        "two run",
        lambda: sum(one["state"] == "Running" for one in owner.job(service)["executions"]) == 2,
    )
    first = owner.execution(service, "Running")
    nodes.of(first["peer"]).finish(first["id"])
    until(
        "the one that ended is replaced",
        lambda: (
            sum(one["state"] == "Running" for one in owner.job(service)["executions"]) == 2
            and any(one["state"] == "Completed" for one in owner.job(service)["executions"])
        ),
    )
    daemon = owner.submit(wasm_job(waiting, Name="agent", Type="daemon"))
    until(
        "it runs everywhere",
        lambda: sum(one["state"] == "Running" for one in owner.job(daemon)["executions"]) == 3,
    )
    late = nodes.start("late", peers=(owner,))
    until("it runs on the newcomer", lambda: owner.execution(daemon, "Running", late.peer), 5.0)
    for job in (service, daemon):
        owner.client.stop(job, "enough")
        until(
            "nothing runs any more",
            lambda job=job: all(one["state"] != "Running" for one in owner.job(job)["executions"]),
        )
    until(
        "all programs are gone",
        lambda: not [path for node in nodes.all for path in node.data_dir.glob("executions/e-*")],
    )


def test_ops_runs_once_on_every_node(four: tuple[Nodes, str]) -> None:
    nodes, waiting = four
    owner = nodes.all[0]
    job = owner.submit(wasm_job(waiting, Type="ops"))
    until("three run", lambda: sum(one["state"] == "Running" for one in owner.job(job)["executions"]) == 3)
    for one in owner.job(job)["executions"]:
        nodes.of(one["peer"]).finish(one["id"])
    ended = owner.ended(job)
    assert ended["state"] == "Completed"
    assert len({one["peer"] for one in ended["executions"] if one["result_cid"]}) == 3


def test_an_operator_has_a_job_begun_again_whose_owner_has_died_after_its_end(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        entrusted = "--operator", nodes.peer_of("b"), "--trust", nodes.peer_of("c")
        owner = nodes.start("owner", "--no-compute", *entrusted)
        others = [nodes.new(name, peers=(owner,)).start(ready=False) for name in "bc"]
        know_each_other(owner, *(one.wait_ready() for one in others))
        operator = others[0]
        module = tmp_path / "waiting.wasm"
        module.write_bytes(waiting_module())
        job = owner.submit(wasm_job(owner.add(module)))
        execution = owner.execution(job, "Running")
        nodes.of(execution["peer"]).finish(execution["id"])
        until("the operator knows its end", lambda: operator.job(job)["state"] == "Completed")
        owner.kill()
        done = operator.cli("job", "rerun", "--no-wait", job)
        assert done.returncode == 0, done.stderr
        assert operator.job(job)["owner"] == operator.peer
