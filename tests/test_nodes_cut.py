"""A network cut in two and healed, with real nodes in network namespaces of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from p2pnode.api.shapes import JobJson

from .cut_network import TwoSwitches, two_switches
from .job_views import add_waiting, copy_of, deputies_of, is_same, states
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .programs import wasm_job

# A drop that is no loss.
SHORT_DROP_S = 3.0
# From the cable being in again to both sides saying the same.
AGREED_S_MAX = 10.0


@dataclass
class Cut:
    """An owner on the left, on the right three that run jobs, and the cable between them."""

    switches: TwoSwitches
    nodes: Nodes
    owner: Node
    right: list[Node]
    waiting: str

    def begin(self) -> tuple[str, str, Node]:
        """A job that runs on the right, where its deputies are, too."""
        job = self.owner.submit(wasm_job(self.waiting))
        execution = self.owner.execution(job, "Running")
        peer = self.nodes.of(execution["peer"])
        peer.begun(execution["id"])
        right = {one.peer for one in self.right}
        until("it has two deputies", lambda: len(right & set(deputies_of(self.owner, job))) == 2)
        return job, execution["id"], peer

    def cut_while_it_runs(self) -> tuple[str, str, Node, str, Node]:
        """Cuts the network while a job runs on the right, and waits until both sides run it.

        Gives the job, the execution on the right and its node, the execution on the left, and the
        owner on the right.
        """
        job, execution, peer = self.begin()
        # Without the right side, the owner begins the work anew on its own.
        assert self.owner.cli("node", "uncordon").returncode == 0
        self.switches.cut()
        self.owner.execution(job, "Running", self.owner.peer)
        assert sorted(states(self.owner, job)) == ["Lost", "Running"], self.owner.history(job)
        (doubled,) = (one["id"] for one in self.owner.job(job)["executions"] if one["id"] != execution)
        self.owner.begun(doubled)
        deputy = until("the right has an owner, too", lambda: self.other_owner(job))
        assert deputy is not None
        assert states(deputy, job) == ["Running"]
        return job, execution, peer, doubled, deputy

    def other_owner(self, job: str) -> Node | None:
        """The node on the right that owns the job."""
        copies = ((node, copy_of(node, job)) for node in self.right)
        return next((node for node, found in copies if found and found["owner"] == node.peer), None)

    def heal(self, job: str) -> float:
        """Puts the cable in again; the seconds until both sides say the same of the job."""
        assert self.owner.cli("node", "cordon").returncode == 0
        self.switches.heal()
        began = time.monotonic()
        self.until_one_again(job)
        return time.monotonic() - began

    def until_one_again(self, job: str) -> None:
        """Waits until the requester owns the job, and all that have a copy say the same of it.

        Who acted on the right may have none: another that was heard first is a deputy in its place.
        """

        def agree() -> bool:
            own, *others = self.copies(job)
            assert own["owner"] == self.owner.peer, self.owner.history(job)
            return bool(others) and all(is_same(own, one) for one in others)

        until("all say the same", agree)

    def copies(self, job: str) -> list[JobJson]:
        found = (copy_of(node, job) for node in (self.owner, *self.right))
        return [one for one in found if one is not None]


@pytest.fixture
def cut(network: Cut) -> Iterator[Cut]:
    yield network
    network.switches.heal()
    if network.owner.client.scheduling()["scheduling"] == "schedulable":
        network.owner.client.schedule("cordoned")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    directory = tmp_path_factory.mktemp("nodes")
    with two_switches() as switches, running_nodes(directory) as nodes:
        owner = switches.node(nodes, "left", "owner").start()
        assert owner.cli("node", "cordon").returncode == 0
        right = [switches.node(nodes, "right", name, peers=(owner,)) for name in "bcd"]
        for node in right:
            node.start(ready=False)
        know_each_other(owner, *(one.wait_ready() for one in right))
        yield Cut(switches, nodes, owner, right, add_waiting(owner, directory))


def test_a_link_that_drops_for_3_s_moves_nothing(cut: Cut) -> None:
    job, execution, peer = cut.begin()
    cut.switches.cut()
    time.sleep(SHORT_DROP_S)
    cut.switches.heal()
    peer.finish(execution)
    ended = cut.owner.ended(job)
    assert ended["state"] == "Completed"
    assert [one["id"] for one in ended["executions"]] == [execution]
    assert {one["owner"] for one in cut.copies(job)} == {cut.owner.peer}


def test_a_network_that_was_cut_in_two_has_one_owner_and_one_result_again(
    cut: Cut, record_testsuite_property: Callable[[str, object], None]
) -> None:
    job, _, peer, doubled, _ = cut.cut_while_it_runs()
    agreed_s = cut.heal(job)
    record_testsuite_property("healed_to_agreed_s", agreed_s)
    # The lower rank goes on, which is the requester's.
    assert {one["owner"] for one in cut.copies(job)} == {cut.owner.peer}
    live = [one["id"] for one in cut.owner.job(job)["executions"] if one["state"] == "Running"]
    assert len(live) == 1, cut.owner.history(job)
    (cut.owner if live == [doubled] else peer).finish(live[0])
    ended = cut.owner.ended(job)
    assert ended["state"] == "Completed"
    assert sum(one["state"] == "Completed" for one in ended["executions"]) == 1
    cut.until_one_again(job)
    for node in (cut.owner, peer):
        until("nothing is left of it", lambda node=node: not list(node.data_dir.glob("executions/e-*")))
    assert agreed_s <= AGREED_S_MAX, f"{agreed_s:.1f} s: {cut.owner.history(job)}"


def test_a_job_that_both_sides_of_a_cut_network_ended_has_one_result(
    cut: Cut, record_testsuite_property: Callable[[str, object], None]
) -> None:
    job, execution, peer, doubled, deputy = cut.cut_while_it_runs()
    cut.owner.finish(doubled)
    peer.finish(execution)
    assert cut.owner.ended(job)["state"] == deputy.ended(job)["state"] == "Completed"
    agreed_s = cut.heal(job)
    record_testsuite_property("healed_to_agreed_of_ended_s", agreed_s)
    ended = cut.owner.job(job)
    assert ended["owner"] == cut.owner.peer
    assert sum(one["state"] == "Completed" for one in ended["executions"]) == 1, ended["executions"]
    assert agreed_s <= AGREED_S_MAX, f"{agreed_s:.1f} s: {cut.owner.history(job)}"


def test_a_service_that_ran_on_both_sides_runs_count_times_again(cut: Cut) -> None:
    cut.owner.client.schedule("schedulable")
    for node in cut.right[1:]:
        node.client.schedule("cordoned")
    job = cut.owner.submit(wasm_job(cut.waiting, Type="service", Count=2))
    until("both run", lambda: states(cut.owner, job).count("Running") == 2)
    until("it has two deputies", lambda: len(deputies_of(cut.owner, job)) == 2)
    for node in cut.right[1:]:
        node.client.schedule("schedulable")
    cut.switches.cut()
    deputy = until("the right has an owner, too", lambda: cut.other_owner(job))
    assert deputy is not None
    for side in (cut.owner, deputy):
        until("two run on each side", lambda side=side: states(side, job).count("Running") == 2)
    agreed_s = cut.heal(job)
    assert agreed_s <= AGREED_S_MAX, f"{agreed_s:.1f} s: {cut.owner.history(job)}"
    until("two run", lambda: states(cut.owner, job).count("Running") == 2)
    cut.until_one_again(job)
    running = {one["id"] for one in cut.owner.job(job)["executions"] if one["state"] == "Running"}

    def held() -> set[str]:
        return {
            path.name for node in (cut.owner, *cut.right) for path in node.data_dir.glob("executions/e-*")
        }

    until("no more than these are anywhere", lambda: held() == running)
    cut.owner.client.stop(job, "enough")
    until("none is left", lambda: not held())


def test_a_stop_on_one_side_of_a_cut_network_holds_on_both_when_it_heals(cut: Cut) -> None:
    job, _, peer, _, deputy = cut.cut_while_it_runs()
    cut.owner.client.stop(job, "not needed")
    assert deputy.job(job)["state"] == "Running"
    assert cut.heal(job) <= AGREED_S_MAX
    assert {one["state"] for one in cut.copies(job)} == {"Stopped"}
    for node in (cut.owner, peer):
        until("nothing is left of it", lambda node=node: not list(node.data_dir.glob("executions/e-*")))
