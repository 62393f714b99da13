"""The ends of jobs told by real nodes, to a command and a webhook, also after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hook_site import HookSite, running_hooks
from .job_views import deputies_of
from .nodes import Node, know_each_other, running_nodes, until
from .programs import waiting_module, wasm_job

SCRIPT = """\
#!/bin/sh
[ -e "$1/open" ] || { touch "$1/closed"; exit 1; }
cat >> "$1/jobs"
echo >> "$1/jobs"
echo "$P2PNODE_JOB_ID $P2PNODE_JOB_NAME $P2PNODE_JOB_OUTCOME" >> "$1/variables"
"""


@pytest.fixture
def site() -> Iterator[HookSite]:
    with running_hooks() as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, site: HookSite) -> Iterator[Node]:
    script = tmp_path / "tell"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    with running_nodes(tmp_path) as nodes:
        words = ["--on-job-end", str(script), "--on-job-end", str(tmp_path)]
        yield nodes.start("a", *words, "--job-end-webhook", site.url("/t0ken"))


def test_an_end_is_told_by_a_node_that_was_killed_before_it_could(
    tmp_path: Path, node: Node, site: HookSite
) -> None:
    site.answers = [(503, {}), (503, {})]
    module = tmp_path / "waiting.wasm"
    module.write_bytes(waiting_module())
    job = node.submit(wasm_job(node.add(module), Name="$(touch pwned)"))
    execution = node.execution(job, "Running")
    node.finish(execution["id"])
    node.ended(job)
    until("both were tried", lambda: site.posted and (tmp_path / "closed").exists())
    node.kill()
    (tmp_path / "open").touch()
    node.start()

    told = until(
        "the command is told", lambda: (tmp_path / "variables").exists() and (tmp_path / "variables")
    )
    assert told.read_text() == f"{job} $(touch pwned) completed\n"
    as_json = json.loads((tmp_path / "jobs").read_text())
    assert as_json == node.job(job)
    until("the webhook is told", lambda: [one.status for one in site.posted] == [503, 503, 204])
    assert {one.headers["webhook-id"] for one in site.posted} == {f"{job}-1"}
    assert json.loads(site.posted[-1].body)["data"] == as_json
    assert "t0ken" not in node.printed() and "t0ken" not in json.dumps(node.client.settings())
    assert node.cli("node", "problems").stdout.count("job_end") == 0

    # Another run is another end.
    node.client.rerun(job, "")
    node.finish(node.execution(job, "Running")["id"])
    until("its end is told, too", lambda: site.posted[-1].headers["webhook-id"] == f"{job}-2")
    until("to both", lambda: len((tmp_path / "jobs").read_text().splitlines()) == 2)
    assert not list(tmp_path.rglob("pwned"))


def test_an_end_that_a_deputy_saw_is_told_when_the_requester_is_back_and_by_it_alone(
    tmp_path: Path, site: HookSite
) -> None:
    with running_nodes(tmp_path) as nodes:
        a = nodes.start("a", "--no-compute", "--job-end-webhook", site.url("/a"))
        b, c = (nodes.start(one, "--job-end-webhook", site.url(f"/{one}"), peers=(a,)) for one in "bc")
        know_each_other(a, b, c)
        module = tmp_path / "waiting.wasm"
        module.write_bytes(waiting_module())
        job = a.submit(wasm_job(a.add(module)))
        execution = a.execution(job, "Running")
        until("it has two deputies", lambda: len(deputies_of(a, job)) == 2)
        worker = nodes.of(execution["peer"])
        a.kill()
        worker.finish(execution["id"])
        deputy = until(
            "a deputy acts", lambda: next((n for n in (b, c) if n.job(job)["owner"] == n.peer), None)
        )
        assert deputy.ended(job)["state"] == "Completed"
        assert site.posted == []
        a.start()
        until("it is told", lambda: site.posted)
        assert [(one.path, one.headers["webhook-id"]) for one in site.posted] == [("/a", f"{job}-1")]
        assert json.loads(site.posted[0].body)["data"]["outcome"] == "completed"
