"""How a real node begins and ends: signals, directories, ports, neighbours, a full disk."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .disks import LENT_DISK_BYTES, SMALL_DISK_BYTES, fill, mounted
from .nodes import LOOPBACK, Node, Nodes, children, know_each_other, known, running_nodes, until
from .programs import JOBS, waiting_module, wasm_job


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with running_nodes(tmp_path) as nodes:
        yield nodes


def waiting(node: Node, directory: Path) -> str:
    module = directory / "waiting.wasm"
    module.write_bytes(waiting_module())
    return node.add(module)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_end_kills_what_it_runs_and_says_goodbye(
    nodes: Nodes, tmp_path: Path, number: signal.Signals
) -> None:
    a = nodes.start("a", "--no-compute")
    b = nodes.start("b", peers=(a,))
    know_each_other(a, b)
    job = a.submit(wasm_job(waiting(a, tmp_path)))
    execution = a.execution(job, "Running")
    b.begun(execution["id"])
    programs = children(b)
    assert programs
    peer = b.peer
    assert b.end(number) == 0
    assert not [pid for pid in programs if Path(f"/proc/{pid}").exists()]
    until("its neighbour has heard it leave", lambda: peer not in known(a), 2.0)
    until("its owner has heard of the end", lambda: a.job(job)["executions"][0]["state"] == "Failed", 2.0)
    assert a.job(job)["executions"][0]["reason"] == "its node was shut down"
    assert not (b.data_dir / "node.json").exists()


def test_a_node_may_be_told_to_end_while_it_starts(nodes: Nodes) -> None:
    node = nodes.new("early").start(ready=False)
    until("it has begun", (node.data_dir / "journal.sqlite").exists)
    assert node.end(signal.SIGTERM) == 0


def test_a_late_joiner_sees_all_nodes_at_once_and_is_seen(nodes: Nodes) -> None:
    a, b, c = nodes.start_three()
    late = nodes.start("late", peers=(b,))
    began = time.monotonic()
    until("it knows all", lambda: len(known(late)) == 4, 2.0)
    until("all know it", lambda: all(late.peer in known(one) for one in (a, b, c)), 4.0)
    assert time.monotonic() - began < 5


def test_a_node_without_peers_says_so(nodes: Nodes, tmp_path: Path) -> None:
    alone = nodes.start("alone", "--no-compute")
    alone.add(JOBS / "noop.wasm")
    done = alone.cli("submit", str(JOBS / "noop.yaml"))
    assert done.returncode == 3
    assert "no peer can take it" in done.stderr or "no compute peer is known" in done.stderr


def test_a_node_alone_runs_its_own_jobs(nodes: Nodes) -> None:
    alone = nodes.start("alone")
    alone.add(JOBS / "noop.wasm")
    done = alone.cli("submit", str(JOBS / "noop.yaml"))
    assert done.returncode == 0, done.stderr


def test_two_nodes_do_not_share_a_directory(nodes: Nodes) -> None:
    first = nodes.start("first")
    second = Node("second", first.data_dir, first.arguments, first.log).start(ready=False)
    assert second.process is not None
    assert second.process.wait(20) == 1
    assert f"p2pnode: {first.data_dir} is in use by another node\n" in first.printed()
    assert first.client.identity()["name"] == "first"


def test_a_taken_port_is_named(nodes: Nodes) -> None:
    first = nodes.start("first")
    for name, arguments, wanted in (
        ("network", ["--listen", f"{LOOPBACK}{first.port}"], str(first.port)),
        ("door", ["--api-port", first.client.url.rpartition(":")[2]], first.client.url.rpartition(":")[2]),
    ):
        other = nodes.new(name).start(*arguments, ready=False)
        assert other.process is not None
        assert other.process.wait(20) == 1
        (line,) = other.printed().splitlines()
        assert line.startswith("p2pnode: ") and wanted in line


def test_a_directory_that_cannot_be_made_is_named(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    node = nodes.new("below")
    node.start("--data-dir", str(tmp_path / "file" / "below"), ready=False)
    assert node.process is not None
    assert node.process.wait(20) == 1
    assert node.printed() == f"p2pnode: {tmp_path / 'file' / 'below'}: Not a directory\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", SMALL_DISK_BYTES) as place:
        yield place


@pytest.fixture
def disk_that_fills(tmp_path: Path) -> Iterator[Path]:
    """A file system on which a node lends as yet: just above what it keeps in reserve."""
    with mounted(tmp_path / "filling", LENT_DISK_BYTES) as place:
        yield place


def test_a_node_on_a_nearly_full_disk_lends_nothing_and_says_why(nodes: Nodes, small_disk: Path) -> None:
    node = nodes.new("small", place=small_disk).start()
    assert "the disk" in node.printed() and "nearly full" in node.printed()
    (own,) = node.client.nodes()
    assert own["engines"] == []


def test_a_node_whose_journal_cannot_be_written_ends_with_one_sentence(
    nodes: Nodes, small_disk: Path
) -> None:
    a = nodes.start("a", "--no-compute")
    node = nodes.new("small", peers=(a,), place=small_disk).start()
    fill(small_disk)
    refused = node.cli("submit", str(JOBS / "noop.yaml"))
    assert refused.returncode in (5, 6), refused.stderr
    assert node.process is not None
    assert node.process.wait(20) == 1
    last = node.printed().splitlines()[-1]
    assert last.startswith("p2pnode: cannot write the journal") and "full" in last


def test_a_job_goes_on_after_the_disk_of_its_peer_was_full(nodes: Nodes, disk_that_fills: Path) -> None:
    a = nodes.start("a", "--no-compute")
    b = nodes.new("b", peers=(a,), place=disk_that_fills).start()
    know_each_other(a, b)
    job = a.submit(wasm_job(waiting(a, nodes.directory)))
    execution = a.execution(job, "Running")
    b.begun(execution["id"])
    ballast = fill(disk_that_fills)
    b.finish(execution["id"])
    assert b.process is not None
    assert b.process.wait(20) == 1
    *_, last = b.printed().splitlines()
    assert last.startswith("p2pnode: cannot write the journal") and "full" in last

    ballast.unlink()
    # The end of the program could not be noted for want of room, so it runs again.
    b.begins_again(execution["id"])
    b.start().begun(execution["id"])
    b.finish(execution["id"])
    ended = a.ended(job)
    assert ended["state"] == "Completed", ended["reason"]
    assert [one["id"] for one in ended["executions"]] == [execution["id"]]
