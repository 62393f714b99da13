"""A node on whose disk is what an attack or a bad disk left, and what users and jobs give it.

It starts, says what it has set aside, and a person tries that again or drops it.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import WhoOwns
from p2pnode.node.journal import FILE_NAME

from .docker_engine import BUSYBOX, require_docker
from .misdeeds.honest import Network, completes, on, problems, running_network
from .misdeeds.records import a_job, an_execution
from .nodes import alive, environment, know_each_other, until
from .programs import docker_job, wasm_job

NO_PEER = "0OIl"
JUNK = b"\xff junk"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with running_network(tmp_path) as network:
        yield network


def plant(node_dir: Path, statement: str, *row: Any) -> None:
    with sqlite3.connect(node_dir / FILE_NAME) as db:
        db.execute(statement, row)
    db.close()


def restarts_with(network: Network, *planted: tuple[str, tuple[Any, ...]]) -> None:
    """SIGKILL, then a start on a journal with more rows than were in it; and all is well but for them."""
    network.b.kill()
    for statement, row in planted:
        plant(network.b.data_dir, statement, *row)
    network.b.start()
    know_each_other(*network.all)
    completes(network)


def test_an_outbox_for_what_is_no_peer_is_thrown_away_at_the_start(network: Network) -> None:
    poison = codec.encode(WhoOwns(job=a_job(), owner=NO_PEER, whole=True))
    insert = "INSERT INTO outbox VALUES (?,?,?)"
    restarts_with(network, (insert, (NO_PEER, 1, poison)), (insert, ("", 1, JUNK)))
    assert problems(network.b) == []
    assert "is no peer id" in network.b.printed()


def test_an_outbox_of_junk_for_an_honest_peer_holds_up_nothing(network: Network) -> None:
    """The peer refuses it, and what comes behind it arrives."""
    peer = network.a.peer
    network.b.kill()
    with sqlite3.connect(network.b.data_dir / FILE_NAME) as db:
        (sent,) = db.execute("SELECT sent FROM links WHERE peer=?", (peer,)).fetchone() or (0,)
        db.execute("INSERT INTO outbox VALUES (?,?,?)", (peer, sent + 1, JUNK))
        db.execute("UPDATE links SET sent=? WHERE peer=?", (sent + 1, peer))
    db.close()
    network.b.start()
    know_each_other(*network.all)
    until("it was refused", lambda: "has discarded a message" in network.b.printed())
    job = network.a.submit(wasm_job(network.waiting, Constraints=on("b")))
    network.b.finish(network.a.execution(job, "Running")["id"])
    assert network.a.ended(job)["state"] == "Completed"
    assert [problems(node) for node in network.all] == [[], [], []]


RECORDS: list[tuple[str, Callable[[], tuple[str, tuple[Any, ...]]]]] = [
    ("job", lambda: ("INSERT INTO jobs VALUES (?,1.0,0,'default','planted',?)", (a_job(), JUNK))),
    ("job", lambda: ("INSERT INTO jobs VALUES (?,1.0,0,'default','planted',?)", (a_job(), b""))),
    ("execution", lambda: ("INSERT INTO reservations VALUES (?,?)", (an_execution(), JUNK))),
    (
        "execution",
        lambda: ("INSERT INTO reservations VALUES (?,?)", (an_execution(), codec.encode({"a": 1}))),
    ),
]


@pytest.mark.parametrize(("kind", "make"), RECORDS)
def test_a_record_that_cannot_be_read_is_set_aside_until_a_person_drops_it(
    network: Network, kind: str, make: Callable[[], tuple[str, tuple[Any, ...]]]
) -> None:
    statement, row = make()
    restarts_with(network, (statement, row))
    (problem,) = problems(network.b)
    assert (problem["kind"], problem["subject"], problem["aside"]) == (kind, row[0], True)
    number = str(problem["number"])
    shown = network.b.cli("node", "problems", "--show", number)
    assert shown.returncode == 0 and row[0] in shown.stdout
    tried = network.b.cli("node", "problems", "--retry", number)
    assert tried.returncode != 0 and "Traceback" not in tried.stderr, tried
    (problem,) = problems(network.b)
    assert (problem["subject"], problem["aside"]) == (row[0], True)
    # The subject stays aside over another crash, and is not tried.
    network.b.kill()
    network.b.start()
    assert [one["subject"] for one in problems(network.b)] == [row[0]]
    dropped = network.b.cli("node", "problems", "--drop", str(problems(network.b)[0]["number"]))
    assert dropped.returncode == 0, dropped.stderr
    assert problems(network.b) == []
    network.b.kill()
    network.b.start()
    assert problems(network.b) == []
    assert [problems(node) for node in (network.a, network.c)] == [[], []]


def test_a_job_that_was_set_aside_goes_on_when_it_is_tried_again(network: Network) -> None:
    """Its record was spoilt for a while: what is read again is as it was."""
    job = network.a.submit(wasm_job(network.waiting, Constraints=on("c")))
    execution = network.a.execution(job, "Running")
    network.a.kill()
    with sqlite3.connect(network.a.data_dir / FILE_NAME) as db:
        (record,) = db.execute("SELECT record FROM jobs WHERE id=?", (job,)).fetchone()
        db.execute("UPDATE jobs SET record=? WHERE id=?", (JUNK, job))
    db.close()
    network.a.start()
    (problem,) = problems(network.a)
    assert (problem["kind"], problem["subject"], problem["aside"]) == ("job", job, True)
    completes(network)
    network.a.end()
    plant(network.a.data_dir, "UPDATE jobs SET record=? WHERE id=?", record, job)
    network.a.start()
    retried = network.a.cli("node", "problems", "--retry", str(problem["number"]))
    assert retried.returncode == 0, retried.stderr
    assert problems(network.a) == []
    network.c.finish(execution["id"])
    assert network.a.ended(job)["state"] == "Completed", network.a.history(job)


@pytest.mark.parametrize("reason", [b"\xff", b"\xed\xb3\xbf", b"\x1b[2J\r\n"])
def test_a_reason_that_is_no_text_is_refused_and_changes_nothing(network: Network, reason: bytes) -> None:
    job = network.a.submit(wasm_job(network.waiting))
    execution = network.a.execution(job, "Running")
    command: list[str | bytes] = [sys.executable, "-m", "p2pnode", "job", "stop", job, "--reason", reason]
    stopped = subprocess.run(
        command, capture_output=True, check=False, env=environment(network.a.data_dir), timeout=30
    )
    assert stopped.returncode == 2, stopped.stderr
    assert b"text" in stopped.stderr
    network.a.kill()
    network.a.start()
    know_each_other(*network.all)
    by_peer = {node.peer: node for node in network.all}
    by_peer[execution["peer"]].finish(execution["id"])
    assert network.a.ended(job)["state"] == "Completed"
    completes(network)
    assert [problems(node) for node in network.all] == [[], [], []]


def test_a_result_of_deep_folders_with_names_that_are_no_text_ends_its_job_alone(network: Network) -> None:
    require_docker()
    script = "cd /outputs; n=$(printf '\\377'); for i in $(seq 70); do mkdir $n; cd $n; done; touch x"
    until("Docker is offered", lambda: any("docker" in str(one) for one in network.a.client.nodes()))
    before = [node.process.pid for node in network.all if node.process]
    job = network.a.submit(docker_job(BUSYBOX, script))
    ended = network.a.ended(job, 60)
    assert ended["state"] == "Failed"
    assert len({one["peer"] for one in ended["executions"]}) == 1, network.a.history(job)
    assert [node.process.pid for node in network.all if node.process and alive(node)] == before
    network.b.kill()
    network.c.kill()
    network.b.start()
    network.c.start()
    know_each_other(*network.all)
    completes(network)
    assert [problems(node) for node in network.all] == [[], [], []]
