"""Requests that the API refuses before any route sees them, and how many it serves at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pnode.api import connections, streaming
from p2pnode.api.shapes import TOKEN_FILE, Code, ServiceError
from p2pnode.client.finding import find
from tests import raw_http
from tests.fake_node import PEER, Served
from tests.nodes import until
from tests.raw_http import PATHS, STRANGE, TIMEOUT_S, to_end

ENDLESS = b"Name: endless\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


def connected(served: Served) -> socket.socket:
    return raw_http.connected(served.url)


def token(served: Served) -> str:
    return (served.node.data_dir / TOKEN_FILE).read_text()


def answer(served: Served, start: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
    return raw_http.answer(served.url, token(served), start, *headers, body=body)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:80", "localhost", "LOCALHOST:65535", "[::1]", "[::1]:8080",
    ],
)  # fmt: skip
def test_a_local_host_is_served(served: Served, host: str) -> None:
    assert answer(served, "GET /api/v1/id HTTP/1.1", f"Host: {host}")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:80@evil.com", "evil.com@127.0.0.1", "user:pw@localhost:80", "127.0.0.1:", "localhost:http",
        "127.0.0.1:80:80", "127.0.0.1:+80", "127.0.0.1:123456", "127.0.0.1.", "localhost.:80", "[::1", "::1",
        "[::1].evil.com", "[::1%lo]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "127.1", "2130706433",
        "0.0.0.0", "127.0.0.2", "127.0.0.1.evil.com", "evil.com", "evil.com:127.0.0.1", "localhost/", "",
        "127.0.0.1, evil.com", "127.0.0.1\xa0", "loc\xe1lhost", "127.0.0.1#", "127.0.0.1?x",
    ],
)  # fmt: skip
def test_a_host_that_is_not_exactly_a_local_one_is_refused(served: Served, host: str) -> None:
    for path in ("/api/v1/id", "/api/v1/alive"):
        assert answer(served, f"GET {path} HTTP/1.1", f"Host: {host}")[0] in (400, 401)


@pytest.mark.parametrize(
    ("start", "headers"),
    [
        ("GET /api/v1/id HTTP/1.1", ["Host: 127.0.0.1", "Host: evil.com"]),
        ("GET /api/v1/id HTTP/1.1", ["Host: 127.0.0.1", "Host: 127.0.0.1"]),
        ("GET /api/v1/id HTTP/1.1", []),
        ("GET /api/v1/id HTTP/1.0", []),
        ("GET http://evil.com/api/v1/id HTTP/1.1", ["Host: 127.0.0.1"]),
        ("GET http://127.0.0.1/api/v1/id HTTP/1.1", ["Host: 127.0.0.1"]),
        ("GET api/v1/id HTTP/1.1", ["Host: 127.0.0.1"]),
        ("OPTIONS * HTTP/1.1", ["Host: 127.0.0.1"]),
        ("CONNECT 127.0.0.1:80 HTTP/1.1", ["Host: 127.0.0.1"]),
        ("GET /api/v1/id HTTP/1.1", ["Host: 127.0.0.1", "Authorization: Bearer x"]),
        ("GET /api/v1/id HTTP/1.1", ["Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]),
        ("GET /api/v1/alive HTTP/1.1", ["Host: 127.0.0.1", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]),
        ("PRI * HTTP/2.0", []),
        ("GET /api/v1/id HTTP/2.0", ["Host: 127.0.0.1"]),
        ("GET /api/v1/id HTTP/0.9", ["Host: 127.0.0.1"]),
    ],
)
def test_a_request_in_another_form_is_refused(served: Served, start: str, headers: list[str]) -> None:
    status, _ = answer(served, start, *headers)
    assert 400 <= status < 600 and status != 500


def test_http_2_with_prior_knowledge_is_refused(served: Served) -> None:
    with connected(served) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        assert to_end(connection).startswith(b"HTTP/1.1 505 ")


def test_a_connection_without_the_token_is_closed_after_its_first_request(served: Served) -> None:
    request = b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
    with connected(served) as connection:
        connection.sendall(request)
        assert to_end(connection).startswith(b"HTTP/1.1 401 ")


def test_a_request_that_does_not_come_costs_its_connection(served: Served) -> None:
    parts = (b"", b"GET /api/v1/al", b"GET /api/v1/alive HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    started = time.monotonic()
    with ExitStack() as stack:
        by_part = {part: stack.enter_context(connected(served)) for part in parts}
        for part, connection in by_part.items():
            connection.sendall(part)
        for part, connection in by_part.items():
            to_end(connection)
            assert time.monotonic() - started < connections.HEAD_TIMEOUT_S + 1, part


# Each that reads a JSON body.
BODIES = [
    ("/api/v1/jobs/{job}/stop", "reason"),
    ("/api/v1/jobs/{job}/rerun", "reason"),
    ("/api/v1/scheduling", "scheduling"),
    ("/api/v1/scheduling", "other"),
    ("/api/v1/peers", "address"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", ["%ff", "%ED%B3%BF", "a%00b", "%C0%80"])
def test_a_path_or_query_that_is_no_text_is_refused(served: Served, path: str, text: str) -> None:
    status, body = answer(served, f"{path.format(text)} HTTP/1.1", "Host: 127.0.0.1")
    assert (status, json.loads(body)["error"]) == (400, "bad-request")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_path_or_query_never_fails_inside(served: Served, path: str, text: str) -> None:
    assert answer(served, f"{path.format(text)} HTTP/1.1", "Host: 127.0.0.1")[0] in (200, 400, 404, 405, 422)


@pytest.mark.parametrize(("path", "field"), BODIES)
@pytest.mark.parametrize("text", [r"\udcff", r"\ud800", r"a\udfffb", r"\u0000", r"\u001b[2J", r"\u009b"])
def test_a_json_text_that_is_no_text_is_refused_with_its_field(
    served: Served, path: str, field: str, text: str
) -> None:
    job = find(served.node.data_dir, {}).submit(ENDLESS, "job.yaml")
    for value in (f'"{text}"', f'["a", {{"b": "{text}"}}]'):
        body = f'{{"{field}": {value}}}'.encode()
        status, received = answer(
            served, f"POST {path.format(job=job)} HTTP/1.1", "Host: 127.0.0.1", body=body
        )
        said = json.loads(received)
        assert (status, said["error"]) == (400, "bad-request")
        assert f"the field {field}" in said["message"]


def test_a_field_whose_name_is_no_text_is_named_in_ascii(served: Served) -> None:
    status, body = answer(served, "POST /api/v1/peers HTTP/1.1", "Host: 127.0.0.1", body=rb'{"\udcff": 1}')
    assert status == 400 and r"the field \udcff " in json.loads(body)["message"]


@pytest.mark.parametrize("name", [rb'"\uDCFF"', b'"\xff"', b'"\xed\xb3\xbf"', rb'"a\0b"', rb'"\x1b[0m"'])
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/plan"])
def test_a_job_file_that_is_no_text_is_refused(served: Served, path: str, name: bytes) -> None:
    body = ENDLESS.replace(b"endless", name)
    status, received = answer(served, f"POST {path} HTTP/1.1", "Host: 127.0.0.1", body=body)
    assert (status, json.loads(received)["error"]) == (422, "bad-job")


def test_what_fails_inside_costs_its_request_and_gives_a_reference(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(served.node, "pins", fail)
    status, body = answer(served, "GET /api/v1/ipfs/pins HTTP/1.1", "Host: 127.0.0.1")
    said = json.loads(body)
    assert (status, said["error"]) == (500, "internal")
    reference = said["message"].rpartition(" ")[2]
    until("the log says so", lambda: reference in caplog.text)
    assert find(served.node.data_dir, {}).identity()["peer"] == PEER


def test_more_followers_than_there_are_places_are_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "FOLLOWERS_MAX", 2)
    client = find(served.node.data_dir, {})
    job = client.submit(ENDLESS, "job.yaml")
    first, second = client.job_events(job, follow=True), client.job_events(job, follow=True)
    assert next(first)["number"] == next(second)["number"] == 1
    with pytest.raises(ServiceError, match="end some of them") as caught:
        next(client.job_events(job, follow=True))
    assert caught.value.code is Code.UNAVAILABLE
    first.close()
    second.close()


def test_a_new_connection_takes_the_place_of_the_oldest_idle_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    client = find(served.node.data_dir, {})
    job = client.submit(ENDLESS, "job.yaml")
    follower = client.job_events(job, follow=True)
    next(follower)
    with ExitStack() as crowd:
        crowded = [crowd.enter_context(connected(served)) for _ in range(6)]
        started = time.monotonic()
        assert client.identity()["peer"] == PEER
        assert to_end(crowded[0]) == b""
        assert time.monotonic() - started < connections.HEAD_TIMEOUT_S / 2
    # The follower was not idle.
    assert next(follower)["number"] == 2
    follower.close()


def test_where_all_connections_are_in_use_a_new_one_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = find(served.node.data_dir, {})
    job = client.submit(ENDLESS, "job.yaml")
    follower = client.job_events(job, follow=True)
    next(follower)
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 1)

    def refusal() -> ServiceError | None:
        try:
            client.identity()
        except ServiceError as error:
            return error
        return None

    # Connections that were closed a moment ago may still have places to give.
    refused = until("it is refused", refusal)
    assert refused is not None and refused.code is Code.UNAVAILABLE
    assert "connections to this node's API are open" in refused.message
    follower.close()


def test_a_follower_that_does_not_read_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.2)
    job = find(served.node.data_dir, {}).submit(ENDLESS.replace(b"endless", b"talkative"), "job.yaml")
    with connected(served) as connection:
        head = f"GET /api/v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(f"{head}Authorization: Bearer {token(served)}\r\n\r\n".encode())
        assert served.node.dropped.wait(TIMEOUT_S)
