"""Orders of people to jobs, from any node that has them: wait, look, rerun, change, stop, follow."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from p2pnode.api.shapes import ExecutionJson
from p2pnode.core.wire.states import Outcome

from .control_support import HeldPages, following
from .job_views import add_waiting, copy_of, deputies_of, states
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import text_of, waiting_module, wasm_job
from .web_site import Page, Site, running_site


class Network:
    """A node that only submits, and three that run jobs and may ask a web site.

    Of the three, two may look after its jobs: one of its own operator, and one that it trusts with no more.
    """

    def __init__(self, nodes: Nodes, site: Site) -> None:
        self.nodes, self.site, self.directory = nodes, site, nodes.directory
        entrusted = "--operator", nodes.peer_of("b"), "--trust", nodes.peer_of("c")
        self.a = nodes.start("a", "--no-compute", *entrusted)
        for name in "bcd":
            nodes.new(name, "--allow-host", site.host, peers=(self.a,)).start(ready=False)
        self.lenders = [node.wait_ready() for node in nodes.all[1:]]
        know_each_other(*nodes.all)
        self.waiting = add_waiting(self.a, nodes.directory)
        self.by_peer = {node.peer: node for node in nodes.all}

    def file(self, job: dict[str, Any]) -> str:
        path = self.directory / f"{job['Name']}.yaml"
        path.write_bytes(text_of(job))
        return str(path)

    def submit(self, job: dict[str, Any], *arguments: str, at: Node | None = None) -> str:
        """Submits a file by the command line; the job's id."""
        done = (at or self.a).cli("submit", *arguments, self.file(job))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def running(self, job: str, count: int = 1) -> list[ExecutionJson]:
        """Waits until so many executions run that are of the newest version and run, and no other does."""

        def look() -> list[ExecutionJson] | None:
            found = [one for one in self.a.job(job)["executions"] if one["state"] == "Running"]
            return found if len(found) == count and all(one["current"] for one in found) else None

        found = until(f"{count} run: {self.a.history(job)}", look)
        assert found is not None
        for one in found:
            self.by_peer[one["peer"]].begun(one["id"])
        return found

    def finish(self, job: str, how: str = "end") -> None:
        """Lets all programs of the job that run now end."""
        for one in self.a.job(job)["executions"]:
            if one["state"] == "Running":
                self.by_peer[one["peer"]].finish(one["id"], how)

    def deputy(self, job: str, name: str = "b") -> Node:
        """The deputy of this name, which knows how the job stands: a controller, or `c`, which is none."""
        (deputy,) = (node for node in self.lenders if node.name == name)
        assert deputy.peer in deputies_of(self.a, job)

        def is_told() -> bool:
            found = copy_of(deputy, job)
            return found is not None and sorted(states(deputy, job)) == sorted(states(self.a, job))

        until("the deputy is told", is_told)
        return deputy


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with running_site() as site, running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield Network(nodes, site)


def a_version(network: Network, job: dict[str, Any], milli: int) -> dict[str, Any]:
    """The job with another task: it asks for so much CPU."""
    (task,) = job["Tasks"]
    return {**job, "Tasks": [{**task, "Resources": {"CPU": f"{milli}m", "Memory": "64mb"}}]}


# Waiting, looking, beginning anew


def test_wait_gives_the_status_of_the_jobs_end_or_gives_up(network: Network) -> None:
    job = network.submit(wasm_job(network.waiting), "--no-wait")
    assert network.a.cli("job", "wait", "--for", "running", job).returncode == 0
    (execution,) = network.running(job)
    given_up = network.a.cli("job", "wait", "--timeout", "1s", job)
    assert given_up.returncode == 5
    assert "has not ended after 1 s: it is Running" in given_up.stderr
    with following(network.a, "job", "wait", job) as waits:
        network.by_peer[execution["peer"]].finish(execution["id"], "fail")
        assert waits.wait(30) == 4
    assert network.a.cli("job", "wait", "--for", "running", job).returncode == 4


def test_a_rerun_begins_an_ended_job_anew_and_a_running_one_too(network: Network) -> None:
    job = network.submit(wasm_job(network.waiting), "--no-wait")
    network.running(job)
    network.finish(job, "fail")
    assert network.a.ended(job)["state"] == "Failed"
    done = network.a.cli("job", "rerun", "--no-wait", "--reason", "once more", job)
    assert done.returncode == 0, done.stderr
    (second,) = network.running(job)
    assert (second["run"], network.a.job(job)["run"]) == (2, 2)
    assert network.a.cli("job", "rerun", "--no-wait", job).returncode == 0
    until("the third run goes on", lambda: network.running(job)[0]["run"] == 3)
    old = network.by_peer[second["peer"]].data_dir / "executions" / second["id"]
    until("the second run is ended", lambda: not old.exists())
    network.finish(job)
    assert network.a.ended(job)["state"] == "Completed"

    listed = json.loads(network.a.cli("job", "executions", "--json", job).stdout)["executions"]
    assert [(one["run"], one["state"]) for one in sorted(listed, key=lambda one: one["run"])] == [
        (1, "Failed"),
        (2, "Cancelled"),
        (3, "Completed"),
    ]
    table = network.a.cli("job", "executions", job).stdout.splitlines()
    assert table[0].split() == [
        "ID",
        "REPLICA",
        "RUN",
        "VERSION",
        "PEER",
        "STATE",
        "EXIT",
        "CREATED",
        "MODIFIED",
        "REASON",
    ]
    assert len(table) == 4
    history = network.a.cli("job", "history", job).stdout
    assert "Job begun anew: once more" in history


# Changing


def test_a_changed_service_moves_without_ever_having_fewer_running(network: Network) -> None:
    first = wasm_job(network.waiting, Type="service", Count=2)
    job = network.submit(first)
    old = {one["id"] for one in network.running(job, 2)}
    changed = a_version(network, first, 110)
    with following(network.a, "submit", network.file(changed)) as submitting:
        fewest = 2
        while submitting.poll() is None:
            fewest = min(fewest, states(network.a, job).count("Running"))
        output, errors = submitting.communicate()
    assert submitting.returncode == 0, errors
    assert fewest == 2, network.a.history(job)
    assert output.decode().strip() == job
    assert f"{job} updated: version 2" in errors.decode()
    new = network.running(job, 2)
    assert {one["version"] for one in new} == {2} and not old & {one["id"] for one in new}
    listed = json.loads(network.a.cli("job", "versions", "--json", job).stdout)
    assert listed["version"] == 2
    assert [one["version"] for one in listed["versions"]] == [1, 2]
    files = [network.a.cli("job", "versions", "--show", number, job).stdout for number in "12"]
    assert files[0] != files[1] and files[0].startswith("Name: ")
    rows = network.a.cli("job", "versions", job).stdout.splitlines()
    assert rows[0].split() == ["VERSION", "SUBMITTED", "CURRENT", "EXECUTIONS"]
    assert rows[2].split()[-2:] == ["yes", "2"]

    unchanged = network.a.cli("submit", network.file(changed))
    assert (unchanged.returncode, unchanged.stdout.strip()) == (0, job)
    assert network.a.job(job)["version"] == 2
    assert network.a.cli("job", "stop", job).returncode == 0


def test_a_dry_run_shows_what_would_change_and_changes_nothing(network: Network) -> None:
    first = wasm_job(network.waiting)
    job = network.submit(first, "--no-wait")
    network.running(job)
    before = network.a.job(job)
    count = len(network.a.client.jobs())
    shown = network.a.cli("submit", "--dry-run", network.file(a_version(network, first, 110)))
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line[0] for line in lines if "CPU" in line] == ["-", "+"], shown.stdout
    assert "nothing was sent" in shown.stderr
    other = network.a.cli("submit", "--dry-run", network.file(wasm_job(network.waiting)))
    assert other.stdout.strip() == "a new job"
    assert network.a.job(job) == before and len(network.a.client.jobs()) == count
    network.finish(job)
    assert network.a.ended(job)["state"] == "Completed"


def test_a_changed_batch_job_begins_anew_and_new_makes_another(network: Network) -> None:
    first = wasm_job(network.waiting)
    job = network.submit(first, "--no-wait")
    (old,) = network.running(job)
    changed = a_version(network, first, 110)
    assert network.submit(changed, "--no-wait") == job
    (new,) = network.running(job)
    assert (new["version"], new["id"] != old["id"]) == (2, True)
    other = network.submit(changed, "--no-wait", "--new")
    assert other != job
    network.running(other)
    for one in (job, other):
        network.finish(one)
        assert network.a.ended(one)["state"] == "Completed"


# From another node than the owner


def test_orders_given_on_a_node_of_the_same_operator_are_carried_out_by_the_owner(network: Network) -> None:
    first = wasm_job(network.waiting, Type="service", Count=1)
    job = network.submit(first)
    network.running(job)
    deputy = network.deputy(job)
    assert network.submit(a_version(network, first, 110), at=deputy) == job
    assert [one["version"] for one in network.running(job)] == [2]
    again = deputy.cli("job", "rerun", job)
    assert again.returncode == 0, again.stderr
    assert [one["run"] for one in network.running(job)] == [2]
    stopped = deputy.cli("job", "stop", "--reason", "enough", job)
    assert stopped.returncode == 0, stopped.stderr
    ended = network.a.job(job)
    assert (ended["state"], ended["owner"]) == ("Stopped", network.a.peer)
    until("nothing runs", lambda: "Running" not in states(network.a, job))
    assert "has ended already: Stopped" in deputy.cli("job", "stop", job).stderr


def test_a_deputy_that_is_no_controller_is_told_that_its_users_have_no_say(network: Network) -> None:
    first = wasm_job(network.waiting, Type="service", Count=1)
    job = network.submit(first)
    network.running(job)
    deputy = network.deputy(job, "c")
    before = network.a.job(job)
    for command in (("stop", job), ("rerun", job)):
        refused = deputy.cli("job", *command)
        assert refused.returncode != 0 and "Traceback" not in refused.stderr
        assert (
            "the job is a's: this node keeps a copy to look after it, but its users may not stop, change or"
            " rerun it (p2pnode serve --operator on a would let them)"
        ) in refused.stderr, command
    changed = deputy.cli("submit", network.file(a_version(network, first, 110)))
    assert changed.returncode != 0 and "its users may not stop, change or rerun it" in changed.stderr
    # Nor what it prints, as long as it runs.
    (execution,) = before["executions"]
    for follow in ((), ("-f",)):
        refused = deputy.cli("job", "logs", *follow, job)
        assert refused.returncode != 0 and "begun" not in refused.stdout, refused
        assert "its users do not see its output while it runs" in refused.stderr, refused
    after = network.a.job(job)
    assert (after["state"], after["version"], after["run"]) == ("Running", 1, 1)
    assert [one["id"] for one in after["executions"]] == [execution["id"]]
    assert [one["peer"] for one in after["controllers"]] == [network.deputy(job).peer]
    assert network.a.cli("job", "stop", job).returncode == 0


def test_output_is_followed_on_a_deputy_from_preparing_to_the_end(network: Network) -> None:
    code = threading.Event()
    network.site.pages = HeldPages({"/waiting.wasm": Page(waiting_module())}, code)
    job = wasm_job(network.waiting)
    source = {"Type": "urlDownload", "Params": {"URL": network.site.url("/waiting.wasm")}}
    job["Tasks"][0]["InputSources"] = [{"Target": "/program.wasm", "Source": source}]
    id = network.submit(job, "--no-wait")
    execution = network.a.execution(id, "Preparing")
    deputy = network.deputy(id)
    with following(deputy, "job", "logs", "-f", id) as early:
        # Nothing comes yet, and it does not end.
        with pytest.raises(subprocess.TimeoutExpired):
            early.wait(1)
        code.set()
        assert early.stdout is not None
        assert early.stdout.readline() == b"begun\n"
        with following(deputy, "job", "logs", "-f", id) as later:
            assert later.stdout is not None
            assert later.stdout.readline() == b"begun\n"
            network.by_peer[execution["peer"]].finish(execution["id"], "fail")
            assert later.communicate(timeout=30) == (b"", b"begun\n")
        assert early.communicate(timeout=30) == (b"", b"begun\n")
    assert network.a.ended(id)["state"] == "Failed"
    # Logs of the failed run, and from any node that has the job.
    holders = [node for node in network.nodes.all if copy_of(node, id)]
    assert len(holders) == 3
    for node in holders:
        kept = node.cli("job", "logs", "-f", id)
        assert (kept.returncode, kept.stdout, kept.stderr) == (0, "begun\n", "begun\n")


# Work that a node takes on


def test_a_cordoned_node_takes_nothing_new_until_it_is_uncordoned(network: Network) -> None:
    node = network.lenders[0]
    kept = network.submit(only_on(node, wasm_job(network.waiting)), "--no-wait")
    network.running(kept)
    done = node.cli("node", "cordon")
    assert (done.returncode, done.stderr) == (0, "this node takes on nothing new; 1 executions go on\n")
    job = network.submit(only_on(node, wasm_job(network.waiting)), "--no-wait")
    until("it waits", lambda: network.a.job(job)["state"] == "Queued")
    assert "cordoned: its operator lets it take nothing new" in network.a.job(job)["reason"]
    network.finish(kept)
    assert network.a.ended(kept)["state"] == "Completed"
    assert network.a.job(job)["state"] == "Queued"
    assert node.cli("node", "uncordon").returncode == 0
    network.running(job)
    network.finish(job)
    assert network.a.ended(job)["state"] == "Completed"


def test_a_drained_node_gives_its_work_away_and_leaves(network: Network) -> None:
    leaving, *others = network.lenders
    for node in others:
        node.client.schedule("cordoned")
    service = network.submit(wasm_job(network.waiting, Type="service"))
    finishes, moves = (network.submit(wasm_job(network.waiting), "--no-wait") for _ in range(2))
    for job in (service, finishes, moves):
        assert network.running(job)[0]["peer"] == leaving.peer
    for node in others:
        node.client.schedule("schedulable")

    with following(leaving, "node", "drain", "--timeout", "6s", "--wait") as draining:
        # The service runs elsewhere before it ends here.
        def has_moved() -> bool:
            found = [one["peer"] for one in network.a.job(service)["executions"] if one["state"] == "Running"]
            assert found, network.a.history(service)
            return leaving.peer not in found

        until("the service moves", has_moved)
        # Batch work has time to end, and nothing new is taken.
        refused = network.submit(only_on(leaving, wasm_job(network.waiting)), "--no-wait")
        until("it is not taken there", lambda: "is being drained" in network.a.job(refused)["reason"])
        assert states(network.a, finishes) == states(network.a, moves) == ["Running"]
        network.finish(finishes)
        assert [one["peer"] for one in network.a.ended(finishes)["executions"]] == [leaving.peer]
        # When the time is over, it moves.
        assert draining.wait(60) == 0, draining.stderr
    (moved,) = network.running(moves)
    assert network.by_peer[moved["peer"]] is not leaving
    assert any("its node was drained" in line for line in network.a.history(moves))
    assert leaving.process is not None and leaving.process.wait(10) == 0
    network.finish(moves)
    assert network.a.ended(moves)["state"] == "Completed"
    network.a.client.stop(service, "enough")
    assert network.a.ended(refused)["outcome"] == Outcome.NO_PEER
    leaving.start()
    assert leaving.client.scheduling()["scheduling"] == "draining"
    assert leaving.cli("node", "uncordon").returncode == 0
    know_each_other(*network.nodes.all)


def test_requesters_take_turns_at_a_busy_node_and_priority_orders_the_asks_of_each(
    network: Network,
) -> None:
    node, other = network.lenders[:2]
    (own,) = (one for one in node.client.nodes() if one["self"])
    whole = {"CPU": f"{own['total']['cpu_millis']}m", "Memory": "64mb"}
    # Another owner's job waits in the same row.
    assert add_waiting(other, network.directory) == network.waiting
    # A requester whose programs have not run there yet gets no more than half of it while others wait.
    for requester in (network.a, other):
        known = network.submit(only_on(node, wasm_job(network.waiting)), "--no-wait", at=requester)
        execution = requester.execution(known, "Running")
        node.begun(execution["id"])
        node.finish(execution["id"])
        assert requester.ended(known)["state"] == "Completed"
    busy = network.submit(only_on(node, wasm_job(network.waiting, Resources=whole)), "--no-wait")
    network.running(busy)
    waiting = []
    for owner, priority in ((network.a, 1), (network.a, 10), (other, 5)):
        job = only_on(node, wasm_job(network.waiting, Resources=whole, Priority=priority))
        id = network.submit(job, "--no-wait", at=owner)
        until("it waits", lambda owner=owner, id=id: "busy" in owner.job(id)["reason"])
        waiting.append((owner, id))
    low, urgent, others = waiting
    network.finish(busy)
    # The node has just served `a`, so it is the other's turn, whatever it claims.
    for owner, id in (others, urgent, low):
        execution = owner.execution(id, "Running")
        not_yet = [one for one in waiting if one != (owner, id) and one[0].job(one[1])["state"] == "Running"]
        assert not not_yet
        node.begun(execution["id"])
        node.finish(execution["id"])
        assert owner.ended(id)["state"] == "Completed"


def only_on(node: Node, job: dict[str, Any]) -> dict[str, Any]:
    return {**job, "Constraints": [{"Key": "name", "Operator": "=", "Values": [node.name]}]}
