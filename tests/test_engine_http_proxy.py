"""The ways out of Network Type HTTP: its decisions by table, its connections on this machine's loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.codec import BadMessage
from p2pnode.engines.http import gate, upstream
from p2pnode.engines.http.policy import Policy, parse_authority_untrusted, same_name

from .docker_engine import cannot_run
from .tls_greetings import ALERT, greeting

# Addresses of the loopback that only these tests use: the made-up internet, and what is not in it.
INTERNET, ELSEWHERE = "127.0.0.79", "127.0.0.80"
NAMES = {
    "allowed.example": INTERNET,
    "sub.wild.example": INTERNET,
    "wild.example": INTERNET,
    "evil.example": INTERNET,
    "inside.example": ELSEWHERE,
}
POLICY = Policy(
    domains=("allowed.example", ".wild.example", "inside.example", "nowhere.example", "10.1.2.3"),
    hosts=tuple(map(AllowedHost.parse, ("allowed.example", ".wild.example"))),
)


@pytest.mark.parametrize(
    ("host", "port", "tunnel", "refusal"),
    [
        ("allowed.example", 80, False, ""),
        ("ALLOWED.example.", 443, True, ""),
        ("sub.wild.example", 443, True, ""),
        ("a.b.wild.example", 443, True, ""),
        ("wild.example", 443, True, ""),
        ("10.1.2.3", 443, True, ""),
        ("sub.allowed.example", 443, True, "not among"),
        ("notwild.example", 443, True, "not among"),
        ("allowed.example.evil.example", 443, True, "not among"),
        ("10.1.2.4", 443, True, "not among"),
        ("0x0a010203", 443, True, "not among"),
        ("169.254.169.254", 80, False, "not among"),
        ("allowed.example", 22, True, "port 22"),
        ("allowed.example", 80, True, "port 80"),
        ("allowed.example", 443, False, "port 443"),
        ("allowed.example", 8080, False, "port 8080"),
    ],
)
def test_a_program_may_ask_for_its_domains_on_the_web_ports_only(
    host: str, port: int, tunnel: bool, refusal: str
) -> None:
    found = POLICY.refusal(host, port, tunnel)
    assert refusal in found
    assert bool(refusal) == bool(found)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::"]
)
async def test_a_name_of_the_job_that_leads_to_this_machine_is_resolved_once_and_refused(
    address: str,
) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return [address] if len(asked) == 1 else ["8.8.8.8"]

    with pytest.raises(upstream.HostRefused, match="is not at a public address"):
        await upstream.connect("rebound.example", 80, False, Policy(domains=("rebound.example",)), resolve)
    assert asked == ["rebound.example"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example", ("a.example", 80)),
        ("A.example:81", ("a.example", 81)),
        ("[::1]:82", ("::1", 82)),
        ("a.example:", ("a.example", 80)),
        ("user@a.example", None),
        ("a.example:x", None),
        ("a.example:99999", None),
        ("a.example/path", None),
        ("[::1", None),
        ("", None),
    ],
)
def test_an_authority_is_a_host_and_a_port(text: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(BadMessage):
            parse_authority_untrusted(text, 80)
    else:
        assert parse_authority_untrusted(text, 80) == expected


def test_a_tunnel_carries_the_name_that_it_was_asked_for() -> None:
    assert same_name("Allowed.example.", "allowed.example")
    assert same_name("10.1.2.3", "")
    assert not same_name("allowed.example", "")
    assert not same_name("allowed.example", "evil.example")


async def resolve(host: str, port: int) -> list[str]:
    if host not in NAMES:
        raise OSError("no such name")
    return [NAMES[host]]


# The gate's sockets in their order.
WAYS = ("proxy", "plain", "tls", "names")
Handler = Callable[[trio.SocketStream], Awaitable[None]]


@contextlib.asynccontextmanager
async def proxied(
    web: Handler, port: int = 80, way: str = "proxy"
) -> AsyncIterator[Callable[[], Awaitable[trio.SocketStream]]]:
    """A gate and a server of the made-up internet; gives a function that connects to one of its ways."""
    try:
        (server,) = await trio.open_tcp_listeners(port, host=INTERNET)
    except PermissionError:
        cannot_run("listening on the web's ports needs root")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    sockets.append(socket.socket(type=socket.SOCK_DGRAM))
    sockets[3].bind(("127.0.0.1", 0))
    for one in sockets:
        one.setblocking(False)
    port = sockets[WAYS.index(way)].getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, web, [server])
        nursery.start_soon(gate.serve, sockets, POLICY, resolve)
        with trio.fail_after(20):
            yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        nursery.cancel_scope.cancel()


async def ask(connect: Callable[[], Awaitable[trio.SocketStream]], request: str) -> str:
    """Everything that comes back for a request."""
    async with await connect() as stream:
        await stream.send_all(request.encode())
        answer = b""
        while some := await stream.receive_some(65_536):
            answer += some
        return answer.decode()


async def show_request(stream: trio.SocketStream) -> None:
    """A web server that answers with the request that it got."""
    async with stream:
        request = b""
        while b"\r\n\r\n" not in request or (b"POST" in request and b"body" not in request):
            request += await stream.receive_some(65_536)
        await stream.send_all(b"HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\nX-Kept: yes\r\n\r\n" + request)


async def test_a_request_is_written_anew_without_what_concerns_one_connection_only() -> None:
    request = (
        "GET http://allowed.example/path?q=1 HTTP/1.1\r\nHost: evil.example\r\nAccept: a\r\n"
        "Proxy-Authorization: secret\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
    )
    async with proxied(show_request) as connect:
        answer = await ask(connect, request)
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    head, _, got = answer.partition("\r\n\r\n")
    assert "x-kept: yes" in head.lower()
    assert "keep-alive" not in head.lower()
    assert "GET /path?q=1 HTTP/1.1\r\nHost: allowed.example\r\nAccept: a\r\nConnection: close\r\n" in got
    assert "evil" not in got
    assert "secret" not in got
    assert "X-Hop" not in got


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Content-Length: 4\r\n\r\nbody", "body"),
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "4\r\nbody"),
    ],
)
async def test_a_body_goes_through(body: str, expected: str) -> None:
    async with proxied(show_request) as connect:
        answer = await ask(connect, f"POST http://wild.example/ HTTP/1.1\r\nHost: wild.example\r\n{body}")
    assert expected in answer.partition("\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("GET http://evil.example/", 403, "evil.example is not among the job's domains"),
        ("GET http://inside.example/", 403, "inside.example is not at a public address"),
        ("GET http://nowhere.example/", 502, "cannot resolve nowhere.example"),
        ("GET http://allowed.example:81/", 403, "port 81 is not allowed"),
        ("GET http://allowed.example@evil.example/", 400, "not a host and port"),
        ("GET /path", 400, "ask for http://host/path"),
        ("GET ftp://allowed.example/", 400, "ask for http://host/path"),
        ("CONNECT evil.example:443", 403, "not among"),
        ("CONNECT allowed.example:22", 403, "port 22"),
        ("CONNECT 127.0.0.1:443", 403, "not among"),
        ("NONSENSE", 400, ""),
    ],
)
async def test_what_is_refused_says_why(line: str, status: int, reason: str) -> None:
    async with proxied(show_request) as connect:
        answer = await ask(connect, f"{line} HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert reason in answer


async def test_a_tunnel_carries_tls_to_the_host_that_was_asked_for(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate, key)

    async def web(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, server_context, server_side=True)
        await tls.send_all(b"hello " + await tls.receive_some(100))
        await tls.aclose()

    async with proxied(web, port=443) as connect:
        stream = await connect()
        await stream.send_all(b"CONNECT allowed.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
        assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200 ")
        context = ssl.create_default_context(cafile=certificate)
        tls = trio.SSLStream(stream, context, server_hostname="allowed.example")
        await tls.send_all(b"there")
        assert await tls.receive_some(100) == b"hello there"
        await trio.aclose_forcefully(tls)


@pytest.mark.parametrize(
    ("first", "answer"), [(greeting("evil.example"), ALERT), (b"SSH-2.0-OpenSSH_9.2\r\n", b"")]
)
async def test_a_tunnel_for_another_name_or_protocol_is_cut(first: bytes, answer: bytes) -> None:
    reached: list[bytes] = []

    async def web(stream: trio.SocketStream) -> None:
        reached.append(bytes(await stream.receive_some(100)))

    async with proxied(web, port=443) as connect:
        async with await connect() as stream:
            await stream.send_all(b"CONNECT allowed.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200 ")
            await stream.send_all(first)
            assert await stream.receive_some(100) == answer
    assert reached in ([], [b""])


async def test_a_plain_request_goes_to_the_host_that_it_names() -> None:
    async with proxied(show_request, way="plain") as connect:
        answer = await ask(connect, "GET /path HTTP/1.1\r\nHost: allowed.example\r\nAccept: a\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    assert "GET /path HTTP/1.1\r\nHost: allowed.example\r\nAccept: a\r\n" in answer


@pytest.mark.parametrize(
    ("request_line", "host", "status", "reason"),
    [
        ("GET /", "evil.example", 403, "evil.example is not among the job's domains"),
        ("GET /", "allowed.example:22", 403, "port 22 is not allowed"),
        ("GET /", "inside.example", 403, "inside.example is not at a public address"),
        ("GET http://evil.example/", "allowed.example", 400, "ask for a path"),
        ("CONNECT allowed.example:443", "allowed.example", 400, "ask for a path"),
        ("GET /", "allowed.example\r\nHost: evil.example", 400, "multiple Host"),
        ("GET /", "evil.example@allowed.example", 400, "not a host and port"),
    ],
)
async def test_a_plain_request_to_elsewhere_is_refused(
    request_line: str, host: str, status: int, reason: str
) -> None:
    async with proxied(show_request, way="plain") as connect:
        answer = await ask(connect, f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert reason in answer


async def test_an_old_request_that_names_no_host_is_refused() -> None:
    async with proxied(show_request, way="plain") as connect:
        assert "no Host header" in await ask(connect, "GET / HTTP/1.0\r\n\r\n")


async def test_tls_goes_to_the_name_in_its_greeting_and_other_names_get_an_alert() -> None:
    async def web(stream: trio.SocketStream) -> None:
        await stream.send_all(b"got " + await stream.receive_some(65_536))
        await stream.aclose()

    hello = greeting("sub.wild.example")
    async with proxied(web, port=443, way="tls") as connect:
        async with await connect() as stream:
            await stream.send_all(hello)
            assert await stream.receive_some(65_536) == b"got " + hello
        for name in ("evil.example", "10.1.2.3", "inside.example"):
            async with await connect() as stream:
                await stream.send_all(greeting(name))
                assert await stream.receive_some(100) == ALERT
        async with await connect() as stream:
            await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
            assert await stream.receive_some(100) == b""


async def test_connections_over_the_limit_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "CONNECTIONS_MAX", 4)
    async with proxied(show_request) as connect:
        idle = [await connect() for _ in range(4)]
        with trio.move_on_after(0.3) as waited:
            await ask(connect, "GET http://allowed.example/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waited.cancelled_caught
        for stream in idle:
            await stream.aclose()
        answer = await ask(connect, "GET http://allowed.example/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK")


async def test_a_connection_that_breaks_leaves_the_proxy_running() -> None:
    async with proxied(show_request) as connect:
        for garbage in (b"\x16\x03\x01", b"\0" * 70_000, b"GET http://allowed.example/ HTTP/1.1\r\n"):
            stream = await connect()
            await stream.send_all(garbage)
            # An abrupt end: the kernel sends a reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        answer = await ask(connect, "GET http://allowed.example/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=allowed.example", "-addext", "subjectAltName=DNS:allowed.example"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return certificate, key
