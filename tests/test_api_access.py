"""Callers of the API: named tokens and sessions, what each may do, and how that ends."""

from __future__ import annotations

import http.client
import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from starlette.datastructures import Headers
from trio.testing import MockClock

from p2pnode.api import sessions, tokens
from p2pnode.api.access import SESSION_COOKIE, Door
from p2pnode.api.endpoints import ENDPOINTS, Caller, Endpoint
from p2pnode.api.sessions import CODE_LIFETIME_S, SESSION_LIFETIME_S, SESSIONS_PER_TOKEN_MAX, Sessions
from p2pnode.api.shapes import (
    KEEP_ALIVE_INTERVAL_S,
    TOKEN_FILE,
    Code,
    ServiceError,
)
from p2pnode.api.token_shapes import TokenKind
from p2pnode.api.tokens import TOKENS_FILE, TOKENS_MAX, TokenStore, digest_of
from p2pnode.client.calls import Client
from p2pnode.client.finding import find
from tests.fake_node import Served

ENDLESS = b"Name: endless\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"
NOW = 1_700_000_000.0
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


def owner(served: Served) -> Client:
    return find(served.node.data_dir, {})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(
    served: Served, method: str, path: str, headers: Mapping[str, str], body: str | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(served.url).port or 0, timeout=10)
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    answer = response.status, response.read(), response.headers
    connection.close()
    return answer


def status(served: Served, method: str, path: str, headers: Mapping[str, str]) -> int:
    return ask(served, method, path, headers)[0]


def cookie(served: Served, token: str) -> dict[str, str]:
    """The header of a browser that has logged in."""
    address = Client(served.url, token).begin_session()
    _, _, headers = ask(served, "GET", address.removeprefix(served.url), {})
    return {"Cookie": headers["set-cookie"].partition(";")[0]}


def following(served: Served, job: str, token: str) -> http.client.HTTPResponse:
    """A stream of events that has begun, read with less patience than its signs of life come."""
    port = urlsplit(served.url).port or 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=KEEP_ALIVE_INTERVAL_S / 10)
    connection.request("GET", f"/api/v1/jobs/{job}/events?follow=1", headers=bearer(token))
    response = connection.getresponse()
    assert response.readline() == b"event: message\n"
    return response


def path_of(endpoint: Endpoint) -> str:
    """A path of the endpoint at which there is nothing."""
    return re.sub(r"\{\w+(:\w+)?\}", "7", endpoint.path)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_each_endpoint_is_for_the_callers_that_it_names(served: Served, endpoint: Endpoint) -> None:
    read = owner(served).create_token("reader", TokenKind.READ, None)
    write = owner(served).create_token("writer", TokenKind.WRITE, None)
    by_cookie, method, path = cookie(served, write), endpoint.method, path_of(endpoint)

    anybody = endpoint.caller is Caller.ANYBODY
    changes = endpoint.caller is Caller.WRITE or method not in ("GET", "HEAD")
    assert (status(served, method, path, {}) == 401) is not anybody
    refused = status(served, method, path, bearer(read)) == 403
    assert refused is (endpoint.caller is Caller.WRITE)
    assert status(served, method, path, bearer(write)) not in (401, 403)
    other_page = status(served, method, path, by_cookie | {"Sec-Fetch-Site": "same-site"})
    assert (other_page == 403) is (changes and not anybody)
    own_page = status(served, method, path, by_cookie | OWN_PAGE)
    assert (own_page == 403) is not endpoint.by_session


def test_a_refusal_says_which_kind_is_needed(served: Served) -> None:
    reader = Client(served.url, owner(served).create_token("reader", TokenKind.READ, None))
    assert reader.jobs() == []
    with pytest.raises(ServiceError, match="needs a write token, and yours is a read token") as caught:
        reader.create_token("more", TokenKind.WRITE, None)
    assert caught.value.code is Code.FORBIDDEN


def test_a_token_is_listed_without_its_secret_and_with_its_use_to_the_hour(served: Served) -> None:
    secret = owner(served).create_token("ci", TokenKind.READ, 3600)
    (made,) = owner(served).tokens()
    assert (made["name"], made["kind"], made["last_used"]) == ("ci", "read", None)
    assert made["expires"] == made["created"] + 3600 or made["expires"] == made["created"] + 3601
    Client(served.url, secret).jobs()
    (used,) = owner(served).tokens()
    assert used["last_used"] is not None and used["last_used"] % 3600 == 0
    kept = served.node.data_dir / TOKENS_FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for text in (kept.read_text(), json.dumps(used)):
        assert secret not in text


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "a\n", "a" * 65, "ä"])
def test_a_name_that_cannot_stand_in_a_path_is_refused(served: Served, name: str) -> None:
    with pytest.raises(ServiceError, match="the field name"):
        owner(served).create_token(name, TokenKind.READ, None)


def test_a_revoked_token_lets_nobody_in_and_ends_its_streams_and_sessions(served: Served) -> None:
    client = owner(served)
    job = client.submit(ENDLESS, "job.yaml")
    secret, other = (client.create_token(name, TokenKind.READ, None) for name in ("ci", "other"))
    page = cookie(served, secret)
    follower, stays = (following(served, job, one) for one in (secret, other))
    pending = Client(served.url, secret).begin_session().removeprefix(served.url)

    client.revoke_token("ci")
    with pytest.raises(http.client.IncompleteRead):
        follower.read()
    with pytest.raises(TimeoutError):
        stays.read()
    assert status(served, "GET", "/api/v1/id", bearer(secret)) == 401
    assert status(served, "GET", "/api/v1/id", page) == 401
    assert ask(served, "GET", pending, {})[2]["location"] == "/?login=failed"
    assert status(served, "GET", "/api/v1/id", bearer(other)) == 200
    client.stop(job, "done")

    again = client.create_token("ci", TokenKind.READ, None)
    assert status(served, "GET", "/api/v1/id", bearer(again)) == 200
    assert status(served, "GET", "/api/v1/id", bearer(secret)) == 401
    assert status(served, "GET", "/api/v1/id", page) == 401


def test_a_token_that_revokes_itself_is_answered(served: Served) -> None:
    own = Client(served.url, owner(served).create_token("own", TokenKind.WRITE, None))
    own.revoke_token("own")
    with pytest.raises(ServiceError, match="token is missing or wrong"):
        own.jobs()


def test_tokens_are_there_after_the_next_start_and_revoked_ones_are_not(tmp_path: Path) -> None:
    with Served(tmp_path).running() as served:
        kept, gone = (owner(served).create_token(name, TokenKind.READ, None) for name in ("kept", "gone"))
        owner(served).revoke_token("gone")
    with Served(tmp_path).running() as served:
        assert status(served, "GET", "/api/v1/id", bearer(kept)) == 200
        assert status(served, "GET", "/api/v1/id", bearer(gone)) == 401


DAMAGED = {
    "empty": b"",
    "no JSON": b"\xff\xfe{",
    "no list": b'{"version": 1, "tokens": {}}',
    "another version": b'{"version": 2, "tokens": []}',
    "a kind that is none": b"KIND",
    "the same twice": b"TWICE",
    "a hash of nothing": b"HASH",
    "large": b" " * (tokens.FILE_SIZE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told_lets_nobody_in_and_stays(tmp_path: Path, data: bytes) -> None:
    store = TokenStore(tmp_path / TOKENS_FILE)
    secret = store.create("ci", TokenKind.READ, None, NOW)
    whole = json.loads((tmp_path / TOKENS_FILE).read_bytes())
    (token,) = whole["tokens"]
    made = {
        b"KIND": [token | {"kind": "root"}],
        b"TWICE": [token, token],
        b"HASH": [token | {"sha256": ""}],
    }
    data = json.dumps(whole | {"tokens": made[data]}).encode() if data in made else data
    (tmp_path / TOKENS_FILE).write_bytes(data)
    with Served(tmp_path).running() as served:
        assert status(served, "GET", "/api/v1/id", bearer(secret)) == 401
        assert status(served, "GET", "/api/v1/id", bearer("")) == 401
        for call in (
            lambda: owner(served).tokens(),
            lambda: owner(served).create_token("new", TokenKind.READ, None),
            lambda: owner(served).revoke_token("ci"),
        ):
            with pytest.raises(ServiceError, match=r"api-tokens\.json cannot be used .*: move it away"):
                call()
    assert (tmp_path / TOKENS_FILE).read_bytes() == data


def test_a_token_holds_until_it_expires(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / TOKENS_FILE)
    digest = digest_of(store.create("ci", TokenKind.READ, 60, NOW))
    assert store.find(digest, NOW + 59) is not None
    assert store.find(digest, NOW + 60) is None
    assert [one["name"] for one in store.listed()] == ["ci"]


@pytest.mark.parametrize("by_page", [False, True])
async def test_what_goes_on_by_a_token_ends_when_it_expires(
    tmp_path: Path, autojump_clock: MockClock, by_page: bool
) -> None:
    door = Door("owner", TokenStore(tmp_path / TOKENS_FILE), clock=trio.current_time)
    headers = Headers(bearer(door.create_token("ci", TokenKind.READ, 3600)))
    if by_page:
        headers = Headers({"Cookie": f"{SESSION_COOKIE}={door.log_in(door.code_for(door.admit(headers)))}"})
    began = trio.current_time()
    with door.inside(door.admit(headers)):
        await trio.sleep_forever()
    assert 3600 - 1 <= trio.current_time() - began <= 3600
    with pytest.raises(ServiceError):
        door.admit(headers)


def test_there_are_so_many_tokens_and_each_name_is_there_once(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / TOKENS_FILE)
    for number in range(TOKENS_MAX):
        store.create(f"t{number}", TokenKind.READ, None, NOW)
    assert (tmp_path / TOKENS_FILE).stat().st_size < tokens.FILE_SIZE_BYTES_MAX
    with pytest.raises(ServiceError, match="there are 64 tokens"):
        store.create("more", TokenKind.READ, None, NOW)
    with pytest.raises(ServiceError, match="there is a token t0"):
        store.create("t0", TokenKind.READ, None, NOW)


def test_what_cannot_be_written_makes_no_token_and_is_revoked_all_the_same(tmp_path: Path) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    store = TokenStore(directory / TOKENS_FILE)
    digest = digest_of(store.create("old", TokenKind.READ, None, NOW))
    directory.rename(tmp_path / "gone")
    with pytest.raises(ServiceError, match="no token was made"):
        store.create("new", TokenKind.READ, None, NOW)
    store.revoke("old")
    with pytest.raises(ServiceError, match="revoked until this node ends"):
        store.keep()
    assert store.find(digest, NOW) is None


def test_a_code_works_once_and_for_a_minute() -> None:
    kept = Sessions()
    code = kept.code_for("token", NOW)
    assert kept.redeem(code, NOW + CODE_LIFETIME_S) is None
    code = kept.code_for("token", NOW)
    found = kept.redeem(code, NOW + CODE_LIFETIME_S - 1)
    assert found is not None and found[1] == "token"
    assert kept.redeem(code, NOW) is None


def test_a_session_ends_after_twelve_hours() -> None:
    kept = Sessions()
    found = kept.redeem(kept.code_for("token", NOW), NOW)
    assert found is not None
    digest = digest_of(found[0])
    assert kept.find(digest, NOW + SESSION_LIFETIME_S - 1) is not None
    assert kept.find(digest, NOW + SESSION_LIFETIME_S) is None
    assert sessions.SESSION_LIFETIME_S == 12 * 3600


def test_the_sessions_of_one_token_do_not_take_the_place_of_another_s() -> None:
    kept = Sessions()
    first = kept.redeem(kept.code_for("owner", NOW), NOW)
    others = [kept.redeem(kept.code_for("reader", NOW), NOW) for _ in range(SESSIONS_PER_TOKEN_MAX + 1)]
    there = [one is not None and kept.find(digest_of(one[0]), NOW) is not None for one in (first, *others)]
    assert there == [True, False] + [True] * SESSIONS_PER_TOKEN_MAX


def test_nothing_is_kept_of_the_sessions_of_a_token_that_is_gone() -> None:
    kept = Sessions()
    found, stays = (kept.redeem(kept.code_for(one, NOW), NOW) for one in ("gone", "stays"))
    pending = kept.code_for("gone", NOW)
    kept.end_of("gone")
    assert found is not None and kept.find(digest_of(found[0]), NOW) is None
    assert stays is not None and kept.find(digest_of(stays[0]), NOW) is not None
    assert kept.redeem(pending, NOW) is None


def test_a_browser_logs_in_once_by_an_address_and_out(served: Served) -> None:
    address = owner(served).begin_session().removeprefix(served.url)
    # A look ahead does not use the code up.
    assert ask(served, "HEAD", address, {})[0] == 303
    code, _, headers = ask(served, "GET", address, {})
    assert (code, headers["location"]) == (303, "/")
    value, *flags = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
    assert "Secure" not in flags
    assert ask(served, "GET", address, {})[2]["location"] == "/?login=failed"

    page = {"Cookie": value}
    assert status(served, "GET", "/api/v1/id", page) == 200
    name, _, secret = value.partition("=")
    assert status(served, "GET", "/api/v1/id", {"Cookie": f"{name}=theirs; {value}"}) == 200
    # A node at another port of this host has a cookie of its own beside it.
    assert name == f"{SESSION_COOKIE}_{urlsplit(served.url).port}"
    assert status(served, "GET", "/api/v1/id", {"Cookie": f"{SESSION_COOKIE}_1={secret}"}) == 401
    assert status(served, "DELETE", "/api/v1/sessions", page | OWN_PAGE) == 200
    assert status(served, "GET", "/api/v1/id", page) == 401
    assert status(served, "DELETE", "/api/v1/sessions", bearer_of_owner(served)) == 409


@pytest.mark.parametrize("query", ["", "?code=", "?code=guessed", "?code=a&code=b", "?cod=a"])
def test_a_wrong_code_leads_to_the_page_that_says_so(served: Served, query: str) -> None:
    code, _, headers = ask(served, "GET", f"/login{query}", {})
    assert (code, headers["location"], headers["set-cookie"]) == (303, "/?login=failed", None)


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "OWN"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "OWN"}, True),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
    ],
)
def test_with_a_session_only_the_node_s_own_page_changes_anything(
    served: Served, said: dict[str, str], allowed: bool
) -> None:
    page = cookie(served, (served.node.data_dir / TOKEN_FILE).read_text())
    headers = page | {name: served.url if value == "OWN" else value for name, value in said.items()}
    body = '{"scheduling": "cordoned"}'
    code, _, _ = ask(served, "POST", "/api/v1/scheduling", headers, body)
    assert code == (200 if allowed else 403)


def bearer_of_owner(served: Served) -> dict[str, str]:
    return bearer((served.node.data_dir / TOKEN_FILE).read_text())


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/"])
def test_a_page_is_no_secret(served: Served, path: str) -> None:
    assert status(served, "GET", path, {}) != 401
    assert status(served, "GET", path, {"Host": "evil.example"}) == 401


@pytest.mark.parametrize(
    "path", ["/pages", "/page", "//", "/page/../api/v1/id", "/page/%2e%2e/api/v1/id", "/x"]
)
def test_nothing_beside_the_page_is_told_without_a_token(served: Served, path: str) -> None:
    assert status(served, "GET", path, {}) in (401, 404)
    assert status(served, "GET", path.replace("/page/", "/"), {}) in (401, 404)
