"""Logs of real nodes as JSON: each line parses, and carries the ids that its words name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .nodes import Node, Nodes, alive, know_each_other, until
from .programs import waiting_module, wasm_job

# Ids in the words of a line, by the field that has to be there then.
IDS = {
    "job": re.compile(r"\bj-[0-9a-f]{32}\b"),
    "execution": re.compile(r"\be-[0-9a-f]{32}\b"),
    "peer": re.compile(r"\b12D3Koo\w{45}\b"),
}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Nodes that log all there is, the libraries' lines too, which `running_nodes` would not have."""
    made = Nodes(tmp_path)
    yield made
    for node in made.all:
        if alive(node):
            node.kill()


def entries(node: Node) -> list[dict[str, Any]]:
    return [json.loads(line) for line in node.printed().splitlines()]


def named(node: Node, words: str) -> list[dict[str, Any]]:
    return [one for one in entries(node) if words in one["message"]]


def test_each_line_of_a_run_is_json_and_carries_the_ids_that_its_words_name(
    tmp_path: Path, nodes: Nodes
) -> None:
    flags = ("--log-format", "json", "--log-level", "debug")
    a = nodes.start("a", "--no-compute", *flags, "--on-job-end", "/bin/false")
    b = nodes.start("b", *flags, peers=(a,))
    know_each_other(a, b)
    module = tmp_path / "waiting.wasm"
    module.write_bytes(waiting_module())
    job = a.submit(wasm_job(a.add(module)))
    execution = a.execution(job, "Running")["id"]
    b.begun(execution)
    b.kill()
    b.begins_again(execution)
    left = b.data_dir / "executions" / execution
    (left / "ended").write_bytes(b"junk")
    b.start()
    b.begun(execution)
    b.finish(execution)
    a.ended(job)
    until("the command has failed", lambda: named(a, "was not told that"))
    assert a.end() == b.end() == 0

    (found,) = {json.dumps({k: v for k, v in one.items() if k in IDS}) for one in named(a, "was not told")}
    assert json.loads(found) == {"job": job}
    (unreadable,) = named(b, "cannot be read, so it runs again")
    assert (unreadable["job"], unreadable["execution"], unreadable["peer"]) == (job, execution, a_peer(a, b))
    assert named(a, "p2pnode a is ready")[0]["level"] == "info"
    for node in (a, b):
        own = [one for one in entries(node) if one["logger"].startswith("p2pnode")]
        lacking = [
            one for one in own for name, id in IDS.items() if id.search(one["message"]) and name not in one
        ]
        # The line that says that the node is ready names the node itself.
        assert [one for one in lacking if "is ready" not in one["message"]] == []
        assert len({one["level"] for one in entries(node)}) > 1


def a_peer(a: Node, b: Node) -> str:
    """The id of `a`, as `b` was told it."""
    (given,) = [part for part in b.arguments if "/p2p/" in part]
    return given.rpartition("/")[2]
