"""The forms of what commands show: each command in each form, the times in tables, and docs/output.md."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, is_typeddict

import click
import pytest
import yaml

from p2pnode.api.shapes import NodeJson, ProblemJson, UnreachedJson
from p2pnode.cli.answers import ANSWERS
from p2pnode.cli.app import program
from p2pnode.cli.main import main
from p2pnode.cli.output import clock, clock_ms, rfc3339, rfc3339_ms
from p2pnode.cli.processes import name_of
from p2pnode.core.values.text import width
from p2pnode.core.wire.codec import convert
from p2pnode.ipfs import unixfs
from scripts.output_page import documented, fields_of, page
from tests.fake_node import PEER, RESOURCES, START, Served

from .test_cli import Output, commands_of, job_file

PAGE = Path(__file__).parent.parent / "docs" / "output.md"
TABLE_COLUMNS_MAX = 120
SERVICE = """\
Name: web
Type: service
Count: 2
Labels: {team: research}
Tasks:
- Engine: {Type: docker, Params: {Image: busybox}}
"""
OTHER_PEER = "12D3KooWRfPDjkXsFMEnuwH8Gu6tXYgKQ7Rn9hLSHFqQmUEgFGTr"
ADDRESS = "/ip4/192.0.2.7/tcp/4001"
# Each command, the first names that it prints, and what its wide form has; words in capitals stand for ids.
COMMANDS: dict[str, tuple[list[str] | None, list[str]]] = {
    "id": ([PEER], ["os_arch=amd64"]),
    "node list": ([PEER, OTHER_PEER], [PEER, OTHER_PEER, ADDRESS, "link/4", "os_arch=amd64"]),
    "node executions": (["e-" + 32 * "a"] * 2, ["e-" + 32 * "a", "j-" + 32 * "b", "12D3KooWStranger"]),
    "node problems": (["7"], [rfc3339(START)]),
    "node problems --show 7": (["7"], [rfc3339(START)]),
    "job list": (["SERVICE", "JOB"], ["SERVICE", "JOB", PEER, "team=research", "NAMESPACE"]),
    "job list --network": (["SERVICE", "JOB"], ["SERVICE", "JOB", PEER]),
    "job describe JOB": (["JOB"], ["EXECUTION", PEER + ")  Completed", rfc3339(START)]),
    "job history JOB": (None, [rfc3339_ms(START + 1), "NO"]),
    "job executions JOB": (["EXECUTION"], ["EXECUTION", PEER, "RECEIPT"]),
    "job versions JOB": (["1"], ["SHA-256"]),
    "plan works.yaml": (None, [PEER]),
    "validate works.yaml": (None, []),
    "policy show": (None, []),
    "policy check works.yaml": (None, []),
    "config list": (["data_dir"], []),
    "config list --running": (["name", "api_port", "store_quota"], []),
    "config explain labels": (None, []),
    "config profiles": (["lab"], ["SETTINGS"]),
    "token list": (["ci"], ["T", "Z"]),
    "ipfs ls CID": (["a.txt"], []),
    "ipfs pin ls": (["CID"], [rfc3339(START)]),
    "network show": (["acme"], ["acme", "operator", "Joined"]),
    "devnet status --dir devnet": (["alpha"], [PEER]),
}


@pytest.fixture
def full(served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A node with something of everything; the words of `COMMANDS` that its ids stand for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg/p2pnode/profiles/lab").mkdir(parents=True)
    node = served.node
    for spec in (job_file("works"), "web.yaml"):
        Path("web.yaml").write_text(SERVICE)
        main(["submit", spec])
    service, job = (one["id"] for one in node.newest())
    main(["token", "create", "ci"])
    main(["network", "create", "acme"])
    node.pinned.append(unixfs.add_directory({"a.txt": b"a"}, node.blocks.put))
    node.troubles.append(problem())
    monkeypatch.setattr(node, "nodes", lambda: [a_node(PEER, self=True), a_node(OTHER_PEER)])
    given = UnreachedJson(peer=OTHER_PEER, addresses=[ADDRESS], reason="refused")
    monkeypatch.setattr(node, "unreached", lambda: [given])
    identity = node.identity()
    identity["labels"] = {"os_arch": "amd64", "zone": "a"}
    monkeypatch.setattr(node, "identity", lambda: identity)
    a_devnet(Path("devnet"), served)
    capfd.readouterr()
    execution = node.records[job]["executions"][0]["id"]
    return {"JOB": job, "SERVICE": service, "EXECUTION": execution, "CID": node.pinned[0]}


def problem() -> ProblemJson:
    return ProblemJson(
        number=7,
        kind="job",
        subject="j-" + 32 * "0",
        reason="KeyError: 'x'",
        detail="Traceback\n  line 1\n",
        aside=True,
        count=2,
        first_at=START,
        last_at=START,
    )


def a_node(peer: str, self: bool = False) -> NodeJson:
    built_in = {"Operating-System": "linux", "Architecture": "amd64", "os_type": "linux", "os_arch": "amd64"}
    return NodeJson(
        peer=peer,
        name="ada",
        engines=["wasm", "docker"],
        labels={**built_in, "name": "ada", "zone": "north", "org": "acme"},
        total=RESOURCES,
        free=RESOURCES,
        addresses=[ADDRESS],
        connected=True,
        connection="direct",
        reach="direct",
        reach_by={"ip4": "direct"},
        issued=START,
        role=None,
        invitation=None,
        self=self,
        scheduling="schedulable",
        price=0,
        protocols=["link/4", "advert/2"],
        problem=None,
    )


def a_devnet(directory: Path, served: Served) -> None:
    """A devnet of one node: the one that is served, in this process."""
    directory.mkdir(mode=0o700)
    pid = os.getpid()
    node = {
        "name": "alpha",
        "pid": pid,
        "started": name_of(pid).started,
        "data_dir": str(served.node.data_dir),
    }
    (directory / "devnet.json").write_text(json.dumps({"nodes": [node]}))


def said(words: str, known: dict[str, str]) -> str:
    for word, text in known.items():
        words = re.sub(rf"\b{word}\b", text, words)
    return words


def shown(capfd: Output, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_the_same_in_each_form(full: dict[str, str], capfd: Output, command: str) -> None:
    words = said(command, full).split()
    value = json.loads(shown(capfd, *words, "--json"))
    assert json.loads(shown(capfd, *words, "-o", "json")) == value
    told = yaml.safe_load(shown(capfd, *words, "-o", "yaml"))
    assert told == (value["spec"] if command.startswith("job describe") else value)
    names, _ = COMMANDS[command]
    if names is None:
        assert main([*words, "-o", "name"]) == 2
    else:
        printed = shown(capfd, *words, "-o", "name").splitlines()
        assert printed[: len(names)] == [said(name, full) for name in names]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_fits_its_width_and_wide_has_all(
    full: dict[str, str], capfd: Output, command: str, tmp_path: Path
) -> None:
    words = said(command, full).split()
    table = shown(capfd, *words)
    assert shown(capfd, *words, "-o", "table") == table
    wide = shown(capfd, *words, "-o", "wide")
    lines = [line.replace(str(tmp_path), "/home/ada") for line in table.splitlines()]
    assert [line for line in lines if width(line) > TABLE_COLUMNS_MAX] == []
    for text in (said(one, full) for one in COMMANDS[command][1]):
        assert text in wide
    ids = [said(one, full) for one in COMMANDS[command][1] if one in ("SERVICE", "EXECUTION", OTHER_PEER)]
    assert not any(one in table for one in ids)


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_the_fields_that_are_documented(full: dict[str, str], capfd: Output, command: str) -> None:
    value = json.loads(shown(capfd, *said(command, full).split(), "-o", "json"))
    kind = ANSWERS[max((one for one in ANSWERS if command.startswith(one)), key=len)]
    convert(value, kind)
    assert list(undocumented(value, kind)) == []


def undocumented(value: Any, kind: Any) -> Iterator[str]:
    """The fields of a value that its type has not, or that it lacks."""
    if is_typeddict(kind):
        types = {name: plain for name, plain, _ in fields_of(kind)}
        yield from types.keys() ^ value.keys()
        for name in types.keys() & value.keys():
            yield from undocumented(value[name], types[name])
    elif get_origin(kind) is list:
        for one in value:
            yield from undocumented(one, get_args(kind)[0])


def test_the_doctor_takes_all_forms(served: Served, capfd: Output) -> None:
    found = []
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        main(["doctor", "-o", form])
        value = read(capfd.readouterr().out)
        assert list(undocumented(value, ANSWERS["doctor"])) == []
        found.append([one["check"] for one in value["checks"]])
    main(["doctor", "-o", "wide"])
    lines = [
        line for line in capfd.readouterr().out.splitlines() if line[:4].strip() in ("ok", "warn", "FAIL")
    ]
    assert found[0] == found[1] == [line.split()[1] for line in lines]


def test_a_bad_job_file_is_told_in_json_and_yaml_and_exits_2(served: Served, capfd: Output) -> None:
    Path("bad.yaml").write_text("Type: batch\nCount: many\n")
    told = []
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        assert main(["validate", "bad.yaml", "-o", form]) == 2
        told.append(read(capfd.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["valid"] is False


def test_json_and_another_form_are_not_both_given(served: Served, capfd: Output) -> None:
    assert main(["node", "list", "--json", "-o", "yaml"]) == 2
    assert "--json is -o json" in capfd.readouterr().err


def test_every_command_that_gives_json_is_documented() -> None:
    found = set()
    for words in commands_of(program):
        command: click.Command = program
        for word in words:
            assert isinstance(command, click.Group)
            below = command.get_command(click.Context(command), word)
            assert below is not None
            command = below
        flags = {flag for one in command.params for flag in one.opts}
        if "--json" in flags:
            found.add(" ".join(words))
            if not {"--wait", "--follow"} & flags:
                assert "table|wide|json|yaml" in command.get_help(click.Context(command)), words
    assert {one for one in ANSWERS if one != "job list --network"} == found


def test_the_page_of_outputs_is_the_one_that_the_types_make() -> None:
    assert PAGE.read_text() == page(), "renew it: .venv/bin/python -m scripts.output_page > docs/output.md"


def test_every_documented_field_has_a_meaning() -> None:
    bare = [
        f"{kind.__name__}.{name}" for kind in documented() for name, _, told in fields_of(kind) if not told
    ]
    assert bare == []


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_time_of_today_is_a_clock_s_and_that_of_another_day_has_its_date(in_utc: None) -> None:
    now = time.time()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(now))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", clock(now - 86_400))
    assert clock(START) == "2023-11-14 22:13"
    assert clock_ms(START + 0.5) == "2023-11-14 22:13:20.500"
    assert (rfc3339(START), rfc3339_ms(START + 0.5)) == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.500Z")


def test_a_job_of_yesterday_is_listed_with_its_date(served: Served, capfd: Output, in_utc: None) -> None:
    main(["submit", job_file("works")])
    (job,) = served.node.records.values()
    capfd.readouterr()
    assert "2023-11-14 22:13" in shown(capfd, "job", "list")
    job["created"] = job["modified"] = time.time()
    assert "2023-" not in shown(capfd, "job", "list")


@pytest.mark.parametrize("form", ["table", "wide"])
def test_a_peer_s_time_in_the_far_future_is_shown(served: Served, capfd: Output, form: str) -> None:
    main(["submit", job_file("works")])
    capfd.readouterr()
    # The largest that the wire holds, in milliseconds.
    next(iter(served.node.records.values()))["created"] = (2**53 - 1) / 1000
    assert "287396" in shown(capfd, "job", "list", "--network", "-o", form)


def test_the_labels_that_every_node_has_are_in_wide_alone(full: dict[str, str], capfd: Output) -> None:
    assert "org=acme, zone=north" in shown(capfd, "node", "list")
    assert "os_type" not in shown(capfd, "node", "list")
    assert "os_type=linux" in shown(capfd, "node", "list", "-o", "wide")


@pytest.mark.parametrize("command", ["submit", "job rerun JOB"])
def test_what_was_submitted_is_told_in_each_form(full: dict[str, str], capfd: Output, command: str) -> None:
    words = [full.get(word, word) for word in command.split()]
    if command == "submit":
        words += [job_file("works"), "--new"]

    def said(*form: str) -> str:
        capfd.readouterr()
        assert main([*words, *form]) == 0
        return capfd.readouterr().out

    as_json, as_yaml = json.loads(said("-o", "json")), yaml.safe_load(said("-o", "yaml"))
    assert (as_json["state"], as_yaml["state"]) == ("Completed", "Completed")
    assert as_json.keys() == as_yaml.keys() == json.loads(said("--json")).keys()
    assert said("-o", "name").startswith("j-")
    cids = [one["result_cid"] for one in as_json["executions"] if one["run"] == as_json["run"]]
    assert said("-o", "table").splitlines() == said().splitlines() == cids
    assert "RECEIPT" in said("-o", "wide")
