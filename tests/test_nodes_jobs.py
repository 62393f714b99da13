"""Jobs on three real nodes: how they end, what is left of them, and what a user sees."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime

from p2pnode import identity
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed

from .nodes import Node, children, running_nodes, until
from .programs import EXIT_OF_FAIL, JOBS, alternating_module, text_of, waiting_module, wasm_job


class Network(SimpleNamespace):
    a: Node
    b: Node
    c: Node
    waiting: str

    def of(self, peer: str) -> Node:
        return next(node for node in (self.a, self.b, self.c) if node.peer == peer)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("nodes")
    with running_nodes(directory) as nodes:
        a, b, c = nodes.start_three()
        for name in ("wordcount.wasm", "wordcount-data", "noop.wasm"):
            a.add(JOBS / name)
        module = directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(a=a, b=b, c=c, waiting=a.add(module))


def submit(
    node: Node, directory: Path, job: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    path = directory / "job.yaml"
    path.write_bytes(text_of(job))
    return node.cli("submit", str(path), *arguments)


def test_wordcount_runs_on_two_peers_and_its_results_are_right(network: Network, tmp_path: Path) -> None:
    a = network.a
    done = a.cli("submit", str(JOBS / "wordcount.yaml"))
    assert done.returncode == 0, done.stderr
    cids = done.stdout.splitlines()
    assert len(cids) == 2 and len(set(cids)) == 1, "the same program on the same data"
    assert "Traceback" not in done.stderr

    job = a.job(a.client.jobs()[0]["id"])
    assert [one["state"] for one in job["executions"]] == ["Completed"] * 2
    assert len({one["peer"] for one in job["executions"]}) == 2
    assert [one["result_cid"] for one in job["executions"]] == cids

    got = a.cli("get", job["id"], "-o", str(tmp_path / "got"))
    assert got.returncode == 0, got.stderr
    (first, second) = sorted((tmp_path / "got").iterdir())
    for result in (first, second):
        names = sorted(str(path.relative_to(result)) for path in result.rglob("*"))
        assert names == ["exitCode", "outputs", "outputs/counts.csv", "stderr", "stdout"]
        assert (result / "exitCode").read_text() == "0"
        assert "3 files" in (result / "stdout").read_text()
        assert (result / "outputs" / "counts.csv").read_text().splitlines()[1] == "the,35"


def test_any_node_gets_a_result_by_its_cid(network: Network, tmp_path: Path) -> None:
    job = network.a.ended(network.a.client.submit((JOBS / "wordcount.yaml").read_bytes(), "wordcount.yaml"))
    (cid,) = {one["result_cid"] for one in job["executions"]}
    for node in (network.b, network.c):
        got = node.cli("get", str(cid), "-o", str(tmp_path / node.name))
        assert got.returncode == 0, got.stderr
        assert (tmp_path / node.name / "exitCode").read_text() == "0"


def test_the_receipt_is_signed_by_the_peer_that_ran_it(network: Network) -> None:
    a = network.a
    job = a.ended(a.client.submit((JOBS / "noop.yaml").read_bytes(), "noop.yaml"))
    (execution,) = job["executions"]
    blocks = b"".join(a.client.export_car(str(execution["receipt_cid"]), []))
    signed = codec.decode_untrusted(blocks[blocks.index(b"\xa2\x64body") :], Signed)
    receipt = codec.decode_untrusted(
        identity.verify_untrusted(execution["peer"], RECEIPT_DOMAIN, signed), Receipt
    )
    assert (receipt.job, receipt.execution, receipt.peer) == (job["id"], execution["id"], execution["peer"])
    assert (receipt.result_cid, receipt.exit_code) == (execution["result_cid"], 0)
    assert receipt.inputs == (receipt.program,)
    assert 0 < receipt.started_ms <= receipt.ended_ms


def test_describe_gives_what_submit_gave_and_the_history_reads_well(network: Network) -> None:
    a = network.a
    done = a.cli("submit", "--json", str(JOBS / "wordcount.yaml"))
    submitted = json.loads(done.stdout)
    described = a.cli("job", "describe", "--json", submitted["id"][:12])
    assert json.loads(described.stdout) == submitted
    assert {"id", "state", "reason", "executions"} <= submitted.keys()
    assert {"id", "peer", "state", "exit_code", "result_cid", "receipt_cid"} <= submitted["executions"][
        0
    ].keys()

    history = a.history(submitted["id"])
    assert history[0] == "Job submitted"
    assert any(line.startswith("Asked 3 peers: ") and "12D3Koo" not in line for line in history)
    assert history[-1] == "Completed"
    assert sum(line.startswith("Awarded replica") for line in history) == 2
    assert sum(line.startswith("Running (") for line in history) == 2
    assert sum(line.startswith("Completed, result ") for line in history) == 2


def test_logs_are_seen_while_the_program_runs_and_are_whole_after_it(network: Network) -> None:
    a = network.a
    job = a.submit(wasm_job(network.waiting))
    execution = a.execution(job, "Running")
    peer = network.of(execution["peer"])
    peer.begun(execution["id"])
    live = a.cli("job", "logs", job)
    assert (live.stdout, live.stderr) == ("begun\n", "begun\n")
    peer.finish(execution["id"])
    assert a.ended(job)["state"] == "Completed"
    kept = a.cli("job", "logs", "-f", job)
    assert (kept.stdout, kept.stderr) == ("begun\nended\n", "begun\n")


def test_logs_after_the_end_come_in_the_order_that_they_were_written_in_from_every_node_that_ran_it(
    network: Network, tmp_path: Path
) -> None:
    a = network.a
    module = tmp_path / "alternating.wasm"
    module.write_bytes(alternating_module())
    ended = a.ended(a.submit(wasm_job(a.add(module), Type="ops")))
    assert {one["peer"] for one in ended["executions"]} == {network.a.peer, network.b.peer, network.c.peer}
    for one in ended["executions"]:
        logs = a.cli("job", "logs", ended["id"], "-e", one["id"], merged=True)
        assert logs.stdout == "out\nerr\n" * 3
    # Their result is that of any other program.
    got = a.cli("get", ended["id"], "-o", str(tmp_path / "got"))
    assert got.returncode == 0, got.stderr
    for result in (tmp_path / "got").iterdir():
        assert sorted(os.listdir(result)) == ["exitCode", "outputs", "stderr", "stdout"]


def test_a_program_that_fails_gives_status_4_and_its_result(network: Network, tmp_path: Path) -> None:
    a = network.a
    path = tmp_path / "fails.yaml"
    path.write_bytes(text_of(wasm_job(network.waiting)))
    unwaited = a.cli("submit", "--no-wait", str(path))
    job = unwaited.stdout.strip()
    execution = a.execution(job, "Running")
    network.of(execution["peer"]).finish(execution["id"], "fail")
    ended = a.ended(job)
    assert (ended["state"], ended["outcome"]) == ("Failed", "program")
    assert ended["reason"] == f"the program exited with {EXIT_OF_FAIL}"
    (execution,) = ended["executions"]
    assert execution["exit_code"] == EXIT_OF_FAIL
    got = a.cli("get", job, "-o", str(tmp_path / "got"))
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "got" / "exitCode").read_text() == str(EXIT_OF_FAIL)
    assert (tmp_path / "got" / "stdout").read_text() == "begun\n"


def test_submit_says_with_status_4_that_the_program_failed(network: Network, tmp_path: Path) -> None:
    a = network.a
    module = tmp_path / "fails.wasm"
    module.write_bytes(
        wasmtime.wat2wasm(
            '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
            ' (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 3))))'
        )
    )
    done = submit(a, tmp_path, wasm_job(a.add(module)))
    assert done.returncode == 4, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "Failed after" in done.stderr and "the program exited with 3" in done.stderr


def test_a_constraint_that_no_peer_meets_gives_status_3_and_reasons(network: Network, tmp_path: Path) -> None:
    constraints = [{"Key": "zone", "Operator": "=", "Values": ["moon"]}]
    done = submit(network.a, tmp_path, wasm_job(network.waiting, Constraints=constraints))
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert "3 of 3" in done.stderr and "zone = moon" in done.stderr


def test_a_cid_that_nobody_has_ends_the_job_with_that_reason(network: Network, tmp_path: Path) -> None:
    missing = "bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    done = submit(network.a, tmp_path, wasm_job(missing))
    assert done.returncode == 5, done.stderr
    assert missing in done.stderr


@pytest.mark.parametrize(
    "text", [b"Type: batch\nCuont: 2\nTasks: []\n", b"\xff\xfe", b"Type: [unclosed", b"- x\n" * 400_000]
)
def test_a_bad_job_file_gives_status_2_and_nothing_is_sent(
    network: Network, tmp_path: Path, text: bytes
) -> None:
    before = len(network.a.client.jobs())
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    done = network.a.cli("submit", str(path))
    assert done.returncode == 2, done.stderr
    assert "nothing was sent" in done.stderr
    assert len(network.a.client.jobs()) == before


@pytest.mark.parametrize("timeout", ["ExecutionTimeout", "TotalTimeout"])
def test_a_timeout_gives_status_5_and_ends_the_program(
    network: Network, tmp_path: Path, timeout: str
) -> None:
    done = submit(network.a, tmp_path, wasm_job(network.waiting, Timeouts={timeout: 1}))
    assert done.returncode == 5, done.stderr
    assert "1 s" in done.stderr
    for node in (network.a, network.b, network.c):
        until("no program runs", lambda node=node: not children(node))


def test_a_stopped_job_is_stopped_and_its_program_dead(network: Network) -> None:
    a = network.a
    job = a.submit(wasm_job(network.waiting))
    execution = a.execution(job, "Running")
    peer = network.of(execution["peer"])
    assert children(peer)
    done = a.cli("job", "stop", job)
    assert done.returncode == 0, done.stderr
    assert a.job(job)["state"] == "Stopped"
    until("the program is dead", lambda: not children(peer))
    again = a.cli("job", "stop", job)
    assert again.returncode == 0 and "has ended already: Stopped" in again.stderr


def test_a_list_of_the_networks_jobs_has_each_once_with_its_owner(network: Network) -> None:
    missing = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
    job = network.b.ended(network.b.submit(wasm_job(missing)))
    listed = json.loads(network.a.cli("job", "list", "--network", "--json").stdout)
    (line,) = [one for one in listed["jobs"] if one["id"] == job["id"]]
    assert (line["name"], line["state"], line["owner_name"]) == (job["name"], "Failed", "b")
    assert listed["silent"] == []
    shown = network.c.cli("job", "list", "--network")
    assert job["id"][:10] in shown.stdout and shown.stderr == ""


def test_nothing_is_reserved_when_all_has_ended(network: Network) -> None:
    for node in (network.a, network.b, network.c):
        until("all reservations are returned", lambda node=node: not list(node.data_dir.glob("executions/*")))
        (own,) = (one for one in node.client.nodes() if one["self"])
        assert own["free"] == own["total"]


def test_without_a_node_submit_runs_one_until_the_job_has_ended(network: Network, tmp_path: Path) -> None:
    nobody = Node("nobody", tmp_path / "nobody", [], tmp_path / "nobody.log")
    done = nobody.cli("submit", "--peer", network.a.address, str(JOBS / "noop.yaml"))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "no node runs on" in done.stderr
    assert not (nobody.data_dir / "node.json").exists()


def test_a_command_without_a_node_gives_status_6(network: Network, tmp_path: Path) -> None:
    nobody = Node("nobody", tmp_path / "nobody", [], tmp_path / "nobody.log")
    done = nobody.cli("job", "list")
    assert done.returncode == 6
    assert "no node runs on" in done.stderr


def test_a_node_tells_what_it_runs_and_for_whom_and_a_job_what_it_has_left(network: Network) -> None:
    a = network.a
    job = a.submit(wasm_job(network.waiting))
    execution = a.execution(job, "Running")
    worker = network.of(execution["peer"])
    worker.begun(execution["id"])
    (hosted,) = (one for one in worker.client.hosted(["running"]) if one["job"] == job)
    assert (hosted["id"], hosted["owner"], hosted["owner_name"]) == (execution["id"], a.peer, "a")
    assert (hosted["engine"], hosted["type"]) == ("wasm", "batch")
    assert worker.cli("node", "executions", "-o", "name").stdout.split() == [execution["id"]]
    assert [one["id"] for one in a.client.executions(job, ["Running"])] == [execution["id"]]
    worker.finish(execution["id"])
    assert a.ended(job)["state"] == "Completed"
    assert a.client.executions(job, ["Running"]) == []
    assert not any(one["job"] == job for one in worker.client.hosted())
    assert any(one["job"] == job for one in worker.client.hosted(["ended"]))
