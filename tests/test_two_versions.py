"""Two nodes of today's program and one of the next minor version in one network (protocols/versions.md)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from p2pnode.api.shapes import ServiceError
from p2pnode.ipfs import cid, unixfs

from .next_version import NEW_LINK, VERSION, build
from .nodes import Node, know_each_other, known, running_nodes, until
from .programs import JOBS, text_of, unique_name, wasm_job


class Network(SimpleNamespace):
    a: Node
    b: Node
    later: Node
    # A node of a version that speaks another link; not started.
    strange: Node
    noop: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("versions")
    within = build(directory / "next")
    with running_nodes(directory) as nodes:
        a = nodes.start("a")
        b = nodes.new("b", peers=(a,))
        later = nodes.new("later", peers=(a,))
        later.within = within
        for node in (b, later):
            node.start(ready=False)
        for node in (b, later):
            node.wait_ready()
        know_each_other(a, b, later)
        strange = nodes.new("strange", peers=(a,))
        strange.within = build(directory / "strange", NEW_LINK)
        yield Network(strange=strange, a=a, b=b, later=later, noop=a.add(JOBS / "noop.wasm"))


def everywhere(module: str, **of_task: Any) -> dict[str, Any]:
    job = wasm_job(module, Type="ops")
    job["Tasks"][0] |= of_task
    return job


def echo(engine: dict[str, Any], **of_task: Any) -> dict[str, Any]:
    resources = {"CPU": "100m", "Memory": "64mb"}
    task = {"Engine": engine, "Resources": resources, "Publisher": {"Type": "ipfs"}, **of_task}
    return {"Name": unique_name(), "Type": "batch", "Tasks": [task]}


def where(job: Any, state: str = "Completed") -> set[str]:
    return {one["peer_name"] for one in job["executions"] if one["state"] == state}


def said(text: bytes) -> str:
    return unixfs.add_directory({"stdout": text, "stderr": b"", "exitCode": b"0"}, cid.make)


def test_the_three_know_each_other_and_their_versions(network: Network) -> None:
    assert network.later.client.identity()["version"] == VERSION
    assert network.a.client.identity()["version"] != VERSION
    seen = {one["name"]: one for one in network.a.client.nodes()}
    assert "echo" in seen["later"]["engines"] and "echo" not in seen["b"]["engines"]
    assert all(one["problem"] is None for one in seen.values())


@pytest.mark.parametrize("owner", ["a", "later"])
def test_a_job_of_either_version_runs_on_all_of_them(network: Network, owner: str) -> None:
    node: Node = getattr(network, owner)
    job = node.ended(node.submit(everywhere(network.noop)))
    assert (job["state"], where(job)) == ("Completed", {"a", "b", "later"})


def test_a_field_that_need_not_be_understood_is_skipped_by_the_older(network: Network) -> None:
    job = network.later.ended(network.later.submit(everywhere(network.noop, Greeting="hello")))
    assert (job["state"], where(job)) == ("Completed", {"a", "b", "later"})


def test_a_field_that_must_be_understood_is_refused_by_the_older_by_its_name(network: Network) -> None:
    later = network.later
    job = later.ended(later.submit(everywhere(network.noop, Sandbox="strict")))
    assert where(job) == {"later"}
    assert any("the job needs must-sandbox" in line for line in later.history(job["id"]))


def test_an_engine_of_the_later_version_runs_where_it_is_and_older_deputies_keep_its_job(
    network: Network,
) -> None:
    later = network.later
    id = later.submit(echo({"Type": "echo", "Params": {"Text": "hello"}}, Greeting="and welcome"))
    job = later.ended(id)
    assert (job["state"], where(job)) == ("Completed", {"later"})
    [one] = [one for one in job["executions"] if one["state"] == "Completed"]
    assert one["result_cid"] == said(b"hello and welcome")
    assert set(job["deputy_names"]) == {"a", "b"}
    until("a deputy has heard of its end", lambda: network.a.job(id)["state"] == "Completed")
    copy = network.a.job(id)
    assert copy["spec"]["Tasks"][0]["Engine"] == {
        "Type": "other",
        "Params": {"Name": "echo", "Params": {"Text": "hello"}},
    }
    hashes = [[one["spec_hash"] for one in job["versions"]] for job in (job, copy)]
    assert hashes[0] == hashes[1]


def test_an_older_node_has_no_such_field_and_still_can_use_the_engine(network: Network) -> None:
    with pytest.raises(ServiceError, match=r"echo.* is not a type of engine; allowed: docker, wasm, other"):
        network.a.submit(echo({"Type": "echo", "Params": {"Text": "hello"}}))
    other = {"Type": "other", "Params": {"Name": "echo", "Params": {"Text": "hello"}}}
    job = network.a.ended(network.a.submit(echo(other)))
    assert (job["state"], where(job)) == ("Completed", {"later"})
    plan = network.a.client.plan(text_of(echo(other)), "job")
    assert {"reason": "no echo engine", "peers": 2} in plan["unsuitable"]


def test_a_node_of_another_link_is_shown_with_the_reason_and_asked_for_nothing(network: Network) -> None:
    a, strange = network.a, network.strange.start()
    until("its advert is there", lambda: strange.peer in known(a))
    why = "speaks link/5 only; this node speaks link/4"
    [seen] = [one for one in a.client.nodes() if one["peer"] == strange.peer]
    assert seen["problem"] == why
    assert f"nothing: {why}" in a.cli("node", "list").stdout
    job = everywhere(network.noop)
    assert {"reason": why, "peers": 1} in a.client.plan(text_of(job), "job")["unsuitable"]
    done = a.ended(a.submit(job))
    assert (done["state"], where(done)) == ("Completed", {"a", "b", "later"})
    assert "strange" not in done["deputy_names"]
