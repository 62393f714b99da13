"""A controller's node that holds no copy of a job: people there follow, change and stop it all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import ExecutionJson

from .control_support import following
from .job_views import add_waiting, deputies_of
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import text_of, wasm_job

FORBIDDEN = "the job is a's: users of this node may neither follow nor change it"


class Network:
    """`a` submits; `c` runs its jobs, and is their deputy; `b` is of the operator of `a`, `d` a stranger."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.directory = nodes, nodes.directory
        peers = {name: nodes.peer_of(name) for name in "abc"}
        self.a = nodes.start("a", "--no-compute", "--operator", peers["b"], "--trust", peers["c"])
        alone = "--no-compute", "--no-deputy"
        self.b = nodes.start("b", *alone, "--operator", peers["a"], peers=(self.a,))
        self.c = nodes.start("c", peers=(self.a,))
        self.d = nodes.start("d", *alone, peers=(self.a,))
        know_each_other(*nodes.all)
        self.waiting = add_waiting(self.a, nodes.directory)

    def job(self, **changes: Any) -> dict[str, Any]:
        return wasm_job(self.waiting, **{"Deputies": 1, **changes})

    def file(self, job: dict[str, Any]) -> str:
        path = self.directory / f"{job['Name']}.yaml"
        path.write_bytes(text_of(job))
        return str(path)

    def submitted(self, job: dict[str, Any]) -> str:
        """The id of a job of `a` that runs on `c`, its deputy."""
        id = self.a.submit(job)
        self.running(self.a, id)
        until("it has its deputy", lambda: deputies_of(self.a, id) == [self.c.peer])
        return id

    def running(self, at: Node, job: str, run: int = 1) -> ExecutionJson:
        """Waits until the run's execution runs, as a node sees it."""

        def look() -> ExecutionJson | None:
            found = at.job(job)["executions"]
            return next((one for one in found if (one["state"], one["run"]) == ("Running", run)), None)

        found = until(f"run {run} goes on at {at.name}", look)
        assert found is not None
        self.c.begun(found["id"])
        return found


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with running_nodes(tmp_path) as nodes:
        yield Network(nodes)


def done(node: Node, *arguments: str) -> str:
    """The output of a command that goes well."""
    found = node.cli(*arguments)
    assert found.returncode == 0, (arguments, found.stderr)
    return found.stdout


def test_people_at_a_controllers_node_without_a_copy_do_all_that_those_at_the_requesters_do(
    network: Network,
) -> None:
    a, b, c, d = network.a, network.b, network.c, network.d
    file = network.job(Type="service", Count=1)
    job = network.submitted(file)
    # Nothing of it is at `b` yet, which finds it by the beginning of its id.
    assert job not in done(b, "job", "list", "--json")
    described = done(b, "job", "describe", job[:10])
    assert job in described and "Running" in described
    assert job in done(b, "job", "list", "--json")
    assert done(b, "job", "history", job) == done(a, "job", "history", job)
    with following(b, "job", "logs", "-f", job) as logs:
        assert logs.stdout is not None and logs.stdout.readline() == b"begun\n"
        done(b, "job", "rerun", "--no-wait", "--reason", "once more", job)
        assert network.running(a, job, run=2)["peer"] == c.peer
        # The output of what runs now is followed, too.
        assert logs.stdout.readline() == b"begun\n"
    (task,) = file["Tasks"]
    changed = {**file, "Tasks": [{**task, "Resources": {"CPU": "110m", "Memory": "64mb"}}]}
    assert done(b, "submit", "--no-wait", network.file(changed)).strip() == job
    assert a.job(job)["version"] == 2
    # A stranger's file of the same name is a job of its own.
    assert done(d, "submit", "--no-wait", network.file(changed)).strip() != job

    for command in ("describe", "logs", "stop", "rerun"):
        refused = d.cli("job", command, job)
        assert refused.returncode != 0 and FORBIDDEN in refused.stderr, (command, refused)
    unknown = d.cli("job", "describe", "j-" + "0" * 32)
    assert unknown.returncode != 0 and "on this node" in unknown.stderr

    done(b, "job", "stop", "--reason", "enough", job)
    assert (a.job(job)["state"], a.job(job)["owner"]) == ("Stopped", a.peer)
    # As it has ended, nothing tells `b` of a new run but that it asks.
    done(b, "job", "rerun", "--no-wait", job)
    network.running(a, job, run=3)
    done(b, "job", "stop", job)

    # The requester's audit log tells whose users have stopped the job; the stranger did nothing there.
    told = [json.loads(line) for line in (a.data_dir / "audit.log").read_text().splitlines()]
    stops = [one for one in told if one["action"] == "stop" and one["job"] == job]
    assert stops[0]["reason"] == "enough"
    assert {one["caller"] for one in stops} == {f"peer {b.peer}"}
    assert len(stops) == 2


def test_a_controllers_node_follows_a_job_while_its_requester_is_gone_and_a_deputy_acts(
    network: Network,
) -> None:
    a, b, c = network.a, network.b, network.c
    gone, fetched = (network.submitted(network.job()) for _ in range(2))
    # The controller has looked at one, and hears of the other first when the requester is gone.
    with following(b, "job", "logs", "-f", fetched) as logs:
        assert logs.stdout is not None and logs.stdout.readline() == b"begun\n"
        a.kill()
        until("the deputy acts", lambda: c.job(fetched)["owner"] == c.peer)
        until("its controller is told so", lambda: b.job(fetched)["owner"] == c.peer)
        assert b.job(gone)["owner"] == c.peer
        done(b, "job", "stop", "--reason", "enough", gone)
        c.finish(network.running(b, fetched)["id"])
        assert b.ended(fetched)["state"] == "Completed"
        assert logs.wait(30) == 0
    assert c.job(gone)["state"] == "Stopped"
    done(b, "get", "--output", str(network.directory / "result"), fetched)
    assert (network.directory / "result" / "stdout").read_text() == "begun\nended\n"
    # The requester is gone still: the deputy begins it anew.
    done(b, "job", "rerun", "--no-wait", fetched)
    network.running(b, fetched, run=2)
    a.start()
    until("the requester looks after it again", lambda: b.job(fetched)["owner"] == a.peer)
    done(b, "job", "stop", fetched)
    assert a.job(fetched)["state"] == "Stopped"
