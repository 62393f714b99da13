"""The API: who gets in, what it says, and what happens to those who leave early."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from p2pnode.api.shapes import (
    NODE_FILE,
    TOKEN_FILE,
    Code,
    ServiceError,
)
from p2pnode.client.calls import Client
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find
from p2pnode.core import jobfile
from p2pnode.ipfs import cid
from tests.fake_node import PEER, Served

JOB = b"""\
Name: test
Type: batch
Tasks:
- Engine: {Type: docker, Params: {Image: busybox}}
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


def request(served: Served, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(served.url).port or 0, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def bearer(served: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {(served.node.data_dir / TOKEN_FILE).read_text()}"}


def test_the_token_is_for_the_owner_alone(served: Served, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / NODE_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["/api/v1/id", "/api/v1/jobs", "/ipfs/bafy", "/nonsense"])
def test_nothing_is_said_without_the_token(served: Served, path: str) -> None:
    status, body = request(served, path, {"Authorization": "Bearer guessed"})
    assert status == 401
    assert "token" in json.loads(body)["message"]


NO_TOKENS = {
    "empty": b"",
    "short": b"short",
    "odd bytes": b"\xff\xfe" * 20,
    "letters beyond ASCII": "ü".encode() * 20,
    "words": b"two words in a file",
    "long": b"x" * 600,
    "lines": b"a\nb" * 9,
}


@pytest.mark.parametrize("data", NO_TOKENS.values(), ids=NO_TOKENS)
def test_a_file_that_holds_no_token_is_told_by_commands_and_mended_by_the_node(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / TOKEN_FILE).write_bytes(data)
    environ = {"P2PNODE_API": "http://127.0.0.1:1"}
    with pytest.raises(NodeUnreachable, match=r"api\.token holds no token"):
        find(tmp_path, environ)
    with Served(tmp_path).running() as served:
        assert request(served, "/api/v1/id", {"Authorization": "Bearer "})[0] == 401
        assert request(served, "/api/v1/id", bearer(served))[0] == 200


def test_alive_answers_anybody(served: Served) -> None:
    assert request(served, "/api/v1/alive", {}) == (200, b'{"alive":true}')


def test_a_name_that_resolves_to_loopback_is_refused_even_with_the_token(served: Served) -> None:
    status, _ = request(served, "/api/v1/id", bearer(served) | {"Host": "evil.example:80"})
    assert status == 401


def test_an_unknown_route_is_refused_in_json(served: Served) -> None:
    status, body = request(served, "/api/v1/nonsense", bearer(served))
    assert (status, json.loads(body)["error"]) == (404, "not-found")


def test_a_node_is_found_by_its_data_directory_and_only_while_it_runs(tmp_path: Path) -> None:
    with Served(tmp_path).running():
        assert find(tmp_path, {}).identity()["peer"] == PEER
        client = find(tmp_path, {})
    with pytest.raises(NodeUnreachable, match="p2pnode serve"):
        find(tmp_path, {})
    with pytest.raises(NodeUnreachable, match="cannot be reached"):
        client.identity()


def test_a_node_is_found_by_its_address_and_token(served: Served, tmp_path: Path) -> None:
    token = (tmp_path / TOKEN_FILE).read_text()
    assert find(tmp_path / "elsewhere", {"P2PNODE_API": served.url, "P2PNODE_TOKEN": token}).jobs() == []
    with pytest.raises(NodeUnreachable, match="P2PNODE_DATA_DIR"):
        find(tmp_path / "elsewhere", {"P2PNODE_API": served.url})


def client_of(served: Served) -> Client:
    return find(served.node.data_dir, {})


def test_a_version_of_a_file_is_told_as_a_file_too(served: Served) -> None:
    job = client_of(served).submit(JOB, "job.yaml")
    _, body = request(served, f"/api/v1/jobs/{job}/versions/1", bearer(served))
    assert jobfile.parse(json.loads(body)["text"].encode(), "text").spec == served.node.submitted[-1]


def test_what_runs_here_is_listed_by_its_state(served: Served) -> None:
    client = client_of(served)
    assert [one["state"] for one in client.hosted()] == ["running", "waiting"]
    assert [one["state"] for one in client.hosted(["waiting"])] == ["waiting"]
    with pytest.raises(ServiceError, match="the parameter state"):
        client.hosted(["Running"])


def test_a_bad_job_file_comes_back_with_its_problems(served: Served) -> None:
    with pytest.raises(ServiceError, match=r"job\.yaml:1:1: error: ") as caught:
        client_of(served).submit(b"Nonsense: 1", "job.yaml")
    assert caught.value.code is Code.BAD_JOB
    assert served.node.submitted == []


def test_an_oversized_job_file_is_refused(served: Served) -> None:
    with pytest.raises(ServiceError, match="over the limit") as caught:
        client_of(served).submit(b"#" * 300_000, "job.yaml")
    assert caught.value.code is Code.TOO_LARGE


def test_history_goes_on_after_what_is_known(served: Served) -> None:
    client = client_of(served)
    job = client.submit(JOB, "job.yaml")
    assert [event["number"] for event in client.job_events(job, since=4)] == [5, 6]
    assert [event["number"] for event in client.job_events(job, follow=True)] == [1, 2, 3, 4, 5, 6]
    assert client.job(job)["state"] == "Completed"


def test_logs_come_back_byte_for_byte(served: Served) -> None:
    client = client_of(served)
    job = client.submit(JOB, "job.yaml")
    assert [(chunk["stream"], chunk["data"]) for chunk in client.logs(job)] == [
        ("stdout", b"out \xff\n"),
        ("stderr", b"err\n"),
    ]


def test_the_end_of_a_node_is_not_taken_for_the_end_of_a_stream(tmp_path: Path) -> None:
    with Served(tmp_path).running() as served:
        client = client_of(served)
        job = client.submit(JOB.replace(b"test", b"endless"), "job.yaml")
        events = client.job_events(job, follow=True)
        assert [next(events)["number"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(NodeUnreachable):
        next(events)


def test_a_client_that_goes_away_ends_its_stream_and_nothing_else(served: Served) -> None:
    client = client_of(served)
    job = client.submit(JOB.replace(b"test", b"endless"), "job.yaml")
    events = client.job_events(job, follow=True)
    next(events)
    events.close()
    assert client.identity()["peer"] == PEER


def test_a_missing_cid_is_an_error_and_not_an_empty_stream(served: Served) -> None:
    with pytest.raises(ServiceError, match="no peer has") as caught:
        list(client_of(served).export_car(cid.make(b"nowhere", "raw"), []))
    assert caught.value.code is Code.NOT_FOUND


def test_a_car_with_a_wrong_block_is_refused(served: Served) -> None:
    chunks = list(client_of(served).export_car(served.node.result, []))
    damaged = b"".join(chunks)[:-1] + b"?"
    with pytest.raises(ServiceError, match="not the block"):
        client_of(served).import_car([damaged])


def test_garbage_instead_of_http_costs_its_connection_only(served: Served) -> None:
    port = urlsplit(served.url).port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\x00\xff" * 5_000)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert client_of(served).identity()["peer"] == PEER


def test_an_answer_of_something_else_is_no_answer_of_a_node() -> None:
    with pytest.raises(NodeUnreachable, match="no API address"):
        Client("ftp://somewhere", "token")


def test_a_plan_is_made_of_a_job_file_and_runs_nothing(served: Served) -> None:
    plan = client_of(served).plan(JOB, "job.yaml")
    assert (plan["needed"], plan["would_bid"], plan["known"]) == (1, 1, 4)
    assert plan["asked"][0]["peer"] == PEER
    assert served.node.planned[0].name == "test"
    assert served.node.submitted == []
    with pytest.raises(ServiceError, match=r"job\.yaml:1:1: error: "):
        client_of(served).plan(b"Nonsense: 1", "job.yaml")


def test_a_submitted_file_is_answered_with_what_it_led_to(served: Served) -> None:
    client = client_of(served)
    service = JOB.replace(b"batch", b"service")
    first, again = client.submit_job(service, "job.yaml"), client.submit_job(service, "job.yaml")
    assert (first["change"], first["version"], again["change"]) == ("new", 1, "unchanged")
    assert again["id"] == first["id"] != client.submit_job(service, "job.yaml", new=True)["id"]
    assert client.job_named("default", "other") is None


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"scheduling": "some"}',
        b'{"scheduling": "draining", "timeout_s": -1}',
        b'{"scheduling": []}',
        b'{"scheduling": "schedulable", "leave": 1}',
    ],
)
def test_what_a_node_cannot_take_on_is_refused(served: Served, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(served.url).port or 0, timeout=10)
    connection.request("POST", "/api/v1/scheduling", body, bearer(served))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (400, "bad-request")
    connection.close()
    assert client_of(served).scheduling()["scheduling"] == "schedulable"
