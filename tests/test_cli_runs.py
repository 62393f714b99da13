"""`docker run` and `wasm run`: flags as a job file, and the job that it is submitted as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pnode.cli.main import main
from p2pnode.cli.runflags import constraint, input_source, publisher
from p2pnode.core import jobfile
from p2pnode.core.wire.spec import JobSpec, NetworkType, WasmTask
from p2pnode.ipfs import cid, unixfs
from tests.fake_node import Served

CID = "bafkreifccy4qzdpgfpvkizxdy2y2ov7msl3si4y2y67jkmuonuthakvtoq"
Output = pytest.CaptureFixture[str]


def submitted(served: Served) -> JobSpec:
    return served.node.submitted[-1]


def dry_run(capfd: Output, *arguments: str) -> JobSpec:
    capfd.readouterr()
    assert main([*arguments[:2], "--dry-run", *arguments[2:]]) == 0
    return jobfile.parse(capfd.readouterr().out, "printed", literal_braces=True).spec


def test_every_flag_has_its_place_in_the_job(served: Served, capfd: Output) -> None:
    flags = (
        f"--name works --type batch --count 2 --priority 7 --label team=a --cpu 250m --memory 64mb --disk 1gb"
        f" --gpu 1 --network http --domain example.com --timeout 5m --queue-timeout 30 -e A=b -e C=d=e"
        f" -i ipfs://{CID}:/data -o out:/outputs -p ipfs --constraint zone=north"
    )
    assert main(["docker", "run", *flags.split(), "busybox", "wc", "-l", "--name", "x"]) == 0
    assert capfd.readouterr().out.split() == [served.node.result] * 2
    spec = submitted(served)
    task = spec.task
    assert (spec.name, spec.count, spec.priority, spec.labels) == ("works", 2, 7, {"team": "a"})
    assert (task.engine.image, task.engine.parameters) == ("busybox", ("wc", "-l", "--name", "x"))
    assert (task.resources.cpu_millis, task.resources.memory_bytes) == (250, 64_000_000)
    assert (task.resources.disk_bytes, task.resources.gpus) == (1_000_000_000, 1)
    assert (task.network.type, task.network.domains) == (NetworkType.HTTP, ("example.com",))
    assert (task.timeouts.total_s, task.timeouts.queue_s) == (300, 30)
    assert task.environment == {"A": "b", "C": "d=e"}
    assert (task.inputs[0].target, task.inputs[0].source.params["CID"]) == ("/data", CID)
    assert (task.results[0].name, task.results[0].path) == ("out", "/outputs")
    assert task.publisher is not None and task.publisher.type == "ipfs"
    assert spec.constraints[0].values == ("north",)


@pytest.mark.parametrize(
    ("name", "status"), [("works", 0), ("unplaceable", 3), ("exits-3", 4), ("times-out", 5)]
)
def test_the_exit_status_is_that_of_submit(served: Served, name: str, status: int) -> None:
    assert main(["docker", "run", "--name", name, "busybox"]) == status


def test_the_job_can_be_left_to_go_on(served: Served, capfd: Output) -> None:
    assert main(["docker", "run", "--no-wait", "--json", "busybox", "true"]) == 0
    assert json.loads(capfd.readouterr().out)["id"] in served.node.records


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zone=north", ("zone", "=", ["north"])),
        ("zone == north", ("zone", "==", ["north"])),
        ("zone!=a=b", ("zone", "!=", ["a=b"])),
        ("zone in (a, b)", ("zone", "in", ["a", "b"])),
        ("zone notin (a)", ("zone", "notin", ["a"])),
        ("cores>8", ("cores", ">", ["8"])),
        ("cores lt 8", ("cores", "lt", ["8"])),
        ("inside", ("inside", "exists", None)),
        ("!gpu", ("gpu", "!", None)),
        ("zone=", ("zone", "=", [""])),
    ],
)
def test_constraints_are_written_as_kubernetes_selectors(text: str, expected: tuple[Any, ...]) -> None:
    key, operator, values = expected
    operator = {">": "gt", "<": "lt"}.get(operator, operator)
    found = constraint(text)
    assert (found["Key"], found["Operator"], found.get("Values")) == (key, operator, values)


@pytest.mark.parametrize(
    ("text", "target", "kind", "params"),
    [
        (f"ipfs://{CID}", "/inputs", "ipfs", {"CID": CID}),
        (f"ipfs://{CID}:/data", "/data", "ipfs", {"CID": CID}),
        (f"src=ipfs://{CID},dst=/data", "/data", "ipfs", {"CID": CID}),
        ("s3://bucket/a/key:/data", "/data", "s3", {"Bucket": "bucket", "Key": "a/key"}),
        (
            "src=s3://bucket/k,opt=Region=eu,opt=Endpoint=http://h:9000",
            "/inputs",
            "s3",
            {"Bucket": "bucket", "Key": "k", "Region": "eu", "Endpoint": "http://h:9000"},
        ),
        ("https://host:8443/a,b:/data", "/data", "urlDownload", {"URL": "https://host:8443/a,b"}),
        ("http://host/a", "/inputs", "urlDownload", {"URL": "http://host/a"}),
        ("file:///var/data:/data", "/data", "local", {"SourcePath": "/var/data"}),
    ],
)
def test_an_input_is_a_uri_with_a_target(text: str, target: str, kind: str, params: dict[str, str]) -> None:
    assert input_source(text) == {"Target": target, "Source": {"Type": kind, "Params": params}}


def test_a_publisher_is_a_type_or_a_uri() -> None:
    assert publisher("none") == {"Type": "none"}
    assert publisher("s3://bucket/results,opt=Region=eu") == {
        "Type": "s3",
        "Params": {"Bucket": "bucket", "Key": "results", "Region": "eu"},
    }


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--cpu", "lots", "busybox"], "--cpu"),
        (["--memory", "0", "busybox"], "--memory"),
        (["--timeout", "-1", "busybox"], "--timeout"),
        (["--domain", "http://x", "busybox"], "--domain"),
        (["--network", "none", "--domain", "example.com", "busybox"], "--domain"),
        (["--count", "1000000", "busybox"], "--count"),
        (["--constraint", "cores > many", "busybox"], "--constraint"),
        (["--constraint", "a b", "busybox"], "--constraint"),
        (["-i", "ipfs://x", "busybox"], "--input"),
        (["-i", "ftp://x", "busybox"], "--input"),
        (["-i", f"ipfs://{CID}", "-i", f"ipfs://{CID}", "busybox"], "--input"),
        (["-o", "outputs", "busybox"], "--output"),
        (["-o", "out:outputs", "busybox"], "--output"),
        (["-p", "paper", "busybox"], "--publisher"),
        (["-e", "A", "busybox"], "--env"),
        (["-e", "1=x", "busybox"], "--env"),
        (["Not an image"], "IMAGE"),
    ],
)
def test_a_wrong_value_is_told_by_its_flag_and_nothing_is_sent(
    served: Served, capfd: Output, arguments: list[str], flag: str
) -> None:
    assert main(["docker", "run", *arguments]) == 2
    out, err = capfd.readouterr()
    assert err.startswith(("error: ", "warning: "))
    assert flag in err
    assert out == ""
    assert served.node.submitted == []


def test_all_wrong_values_are_told_at_once(served: Served, capfd: Output) -> None:
    assert main(["docker", "run", "--cpu", "lots", "--gpu", "some", "UPPER"]) == 2
    err = capfd.readouterr().err
    assert [flag in err for flag in ("--cpu:", "--gpu:", "IMAGE:")] == [True] * 3


def test_a_module_of_this_machine_is_added_to_the_nodes_store_first(served: Served, capfd: Output) -> None:
    Path("program.wasm").write_bytes(b"\0asm\1\0\0\0")
    expected = unixfs.add_path(Path("program.wasm"), cid.make)
    assert (
        dry_run(capfd, "wasm", "run", "program.wasm", "-x", "y").task.inputs[0].source.params["CID"]
        == expected
    )
    assert not served.node.blocks.has(expected)
    assert main(["wasm", "run", "program.wasm", "-x", "y"]) == 0
    assert served.node.blocks.has(expected)
    task = submitted(served).task
    assert isinstance(task.engine, WasmTask)
    assert task.engine.parameters == ("-x", "y")
    assert task.inputs[0].source.params["CID"] == expected
    assert task.engine.entry_module == task.inputs[0].target


@pytest.mark.parametrize("module", [CID, f"ipfs://{CID}"])
def test_a_module_can_be_named_by_its_cid(served: Served, module: str) -> None:
    assert main(["wasm", "run", module]) == 0
    assert submitted(served).task.inputs[0].source.params["CID"] == CID


def test_a_module_that_is_nowhere_is_wrong_usage(served: Served, capfd: Output) -> None:
    assert main(["wasm", "run", "absent.wasm"]) == 2
    assert "MODULE: 'absent.wasm' is neither a file" in capfd.readouterr().err


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
PAIRS = st.lists(st.tuples(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), WORDS), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.lists(WORDS, max_size=4), env=PAIRS, labels=PAIRS, name=WORDS.map("n {{".__add__))
def test_the_file_of_a_dry_run_is_the_job_that_would_be_submitted(
    served: Served,
    capfd: Output,
    command: list[str],
    env: list[tuple[str, str]],
    labels: list[tuple[str, str]],
    name: str,
) -> None:
    flags = [part for key, value in env for part in ("-e", f"{key}={value}")]
    flags += [part for key, value in labels for part in ("--label", f"{key}={value}")]
    arguments = ("docker", "run", "--name", name, *flags, "--", "busybox", *command)
    printed = dry_run(capfd, *arguments)
    assert main([*arguments[:2], "--no-wait", *arguments[2:]]) == 0
    assert submitted(served) == printed
    assert printed.task.engine.parameters == tuple(command)
    assert (printed.task.environment, printed.labels) == (dict(env), dict(labels))
