"""UPnP: what a router may say, when its ports are mapped, and a router on loopback that is slow or lies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from p2pnode.core.link.port_mapping import (
    FAILED_AGAIN_S,
    FAILED_AGAIN_S_MAX,
    LEASE_S,
    RENEW_S,
    Behind,
    RouterMapping,
    is_double_nat,
    outer_ports,
)
from p2pnode.core.wire import upnp
from p2pnode.core.wire.addresses import parse
from p2pnode.core.wire.codec import BadMessage
from p2pnode.network.gateway import NoGateway, default_gateway, find_gateway

from .fake_gateway import DESCRIPTION, DEVICE, SERVICE, envelope, fault, found

ROUTER, OWN = "192.168.1.1", "192.168.1.2"
URL = f"http://{ROUTER}:5000/description.xml"
LISTENED = [
    f"/ip4/127.0.0.1/tcp/1/p2p/{'1' * 30}",
    f"/ip4/{OWN}/tcp/2/ws",
    f"/ip4/{OWN}/tcp/1",
    "/ip6/::1/tcp/1",
]
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]><root>&c;</root>'


# A router's words


def test_a_router_is_found_and_asked_where_it_says() -> None:
    assert upnp.description_url_untrusted(found(URL), ROUTER) == URL
    control = upnp.control_untrusted(DESCRIPTION.encode(), URL, ROUTER)
    assert control == upnp.GatewayControl(f"http://{ROUTER}:5000/control", SERVICE)
    assert upnp.error_untrusted(fault("718").encode()).code == "718"
    external = envelope("<NewExternalIPAddress> 8.8.8.8 </NewExternalIPAddress>")
    assert upnp.external_host_untrusted(external.encode()) == "8.8.8.8"


def test_what_is_asked_is_written_as_xml() -> None:
    assert b"<a>&lt;b&gt;&amp;</a>" in upnp.call(SERVICE, "Do", {"a": "<b>&"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"HTTP/1.1 404 no\r\n" + found(URL).partition(b"\r\n")[2],
        found(URL).replace(DEVICE.encode(), b"urn:schemas-upnp-org:device:MediaServer:1"),
        found("http://10.0.0.9/description.xml"),
        found(f"http://{ROUTER}@10.0.0.9/"),
        found(f"https://{ROUTER}/"),
        found(f"file://{ROUTER}/etc/passwd"),
        found(f"http://{ROUTER}:99999/"),
        found(f"http://{ROUTER}/a b"),
        found(f"http://{ROUTER}/{'a' * upnp.URL_LENGTH_MAX}"),
        found("http://[::1/"),
    ],
)
def test_no_other_is_taken_for_the_router(data: bytes) -> None:
    with pytest.raises(BadMessage):
        upnp.description_url_untrusted(data, ROUTER)


@pytest.mark.parametrize(
    "read",
    [
        partial(upnp.control_untrusted, url=URL, gateway=ROUTER),
        upnp.error_untrusted,
        upnp.external_host_untrusted,
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<root>",
        BOMB,
        "<root/>",
        DESCRIPTION.replace("/control", "http://10.0.0.9/control"),
        fault("a" * 9),
        fault("<a/>"),
        envelope("<NewExternalIPAddress>fe80::1</NewExternalIPAddress>"),
        envelope("<NewExternalIPAddress/>"),
    ],
)
def test_other_documents_are_refused(read: Callable[[bytes], object], text: str) -> None:
    with pytest.raises(BadMessage):
        read(text.encode())


# Deciding


@pytest.mark.parametrize(
    ("gateway", "own", "ports"),
    [
        (ROUTER, OWN, [1, 2]),
        ("", "", None),
        ("8.8.8.1", "8.8.8.2", None),
        (ROUTER, "8.8.8.2", None),
        ("8.8.8.1", OWN, None),
        (ROUTER, "192.168.1.3", None),
        (ROUTER, "", None),
    ],
)
def test_ports_are_mapped_where_node_and_router_have_private_addresses(
    gateway: str, own: str, ports: list[int] | None
) -> None:
    behind = Behind.of(gateway, own, LISTENED)
    assert (behind and [one.port for one in behind.own]) == ports


def test_other_ports_are_asked_for_where_the_own_one_is_taken_and_none_that_is_no_port() -> None:
    assert list(outer_ports(4001)) == [4001, 4002, 4003]
    assert list(outer_ports(65_535)) == [65_535]


@pytest.mark.parametrize(
    ("external", "is_double"), [("8.8.8.8", False), ("100.64.0.1", True), ("10.0.0.1", True)]
)
def test_a_router_with_a_private_address_outside_is_behind_another(external: str, is_double: bool) -> None:
    assert is_double_nat(external) is is_double


def test_a_mapping_is_renewed_at_half_of_its_time_and_ends_where_that_fails() -> None:
    behind, mapping = Behind(ROUTER, (parse(LISTENED[2]),)), RouterMapping()
    assert mapping.is_due(behind, 0)
    mapping.mapped(["outside"], 0)
    assert not mapping.is_due(behind, RENEW_S - 1)
    assert mapping.is_due(behind, RENEW_S)
    mapping.failed(RENEW_S)
    assert not mapping.is_due(behind, RENEW_S + FAILED_AGAIN_S - 1)
    assert mapping.is_due(behind, RENEW_S + FAILED_AGAIN_S)
    assert mapping.outside(LEASE_S - 1) == ("outside",)
    assert mapping.outside(LEASE_S) == ()


def test_a_router_that_fails_is_asked_ever_more_rarely() -> None:
    behind, mapping = Behind(ROUTER, (parse(LISTENED[2]),)), RouterMapping()
    now, waits = 0.0, []
    for _ in range(20):
        assert mapping.is_due(behind, now)
        mapping.failed(now)
        wait_s = next(s for s in range(int(FAILED_AGAIN_S_MAX) + 1) if mapping.is_due(behind, now + s))
        waits.append(wait_s)
        now += wait_s
    assert waits[:3] == [60, 120, 240] and waits[-1] == FAILED_AGAIN_S_MAX


def test_on_another_network_the_router_there_is_asked_at_once_and_the_old_address_is_none() -> None:
    mapping = RouterMapping()
    mapping.is_due(Behind(ROUTER, (parse(LISTENED[2]),)), 0)
    mapping.mapped(["outside"], 0)
    assert not mapping.is_due(None, 1)
    assert mapping.outside(1) == ()
    assert mapping.is_due(Behind("10.0.0.1", (parse("/ip4/10.0.0.2/tcp/1"),)), 2)


# A router on loopback

HERE, THERE = "127.0.0.1", "127.7.9.1"


@asynccontextmanager
async def gateway(*responses: bytes | None) -> AsyncIterator[None]:
    """A router that gives these responses, one a connection; None: it is silent. The description is first."""
    left = list(responses)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        response = left.pop(0)
        if response is None:
            await trio.sleep_forever()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(response)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=THERE)
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        url = f"http://{THERE}:{listener.socket.getsockname()[1]}/"
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as searches:
            await searches.bind((THERE, upnp.SEARCH_PORT))

            async def answer() -> None:
                while True:
                    _, sender = await searches.recvfrom(2048)
                    await searches.sendto(b"noise", sender)
                    await searches.sendto(found(url), sender)

            nursery.start_soon(answer)
            yield
            nursery.cancel_scope.cancel()


def _response(text: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


DESCRIBED = _response(DESCRIPTION)


async def test_a_router_maps_and_says_where_another_has_the_port() -> None:
    external = _response(envelope("<NewExternalIPAddress>8.8.8.8</NewExternalIPAddress>"))
    refused, taken = (_response(fault(code), "500 Error") for code in ("725", "718"))
    done = b"HTTP/1.0 200 OK\r\n\r\n" + envelope("").encode()
    async with gateway(DESCRIBED, external, taken, refused, done, refused):
        asked = await find_gateway(THERE, HERE)
        assert await asked.external_host() == "8.8.8.8"
        assert not await asked.add_mapping(1, OWN, 1, LEASE_S)
        with pytest.raises(NoGateway, match="725"):
            await asked.add_mapping(1, OWN, 1, LEASE_S)
        assert await asked.add_mapping(1, OWN, 1, LEASE_S)
        await asked.remove_mapping(1)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (_response("", "404 no"), "404"),
        (_response(BOMB), "declares"),
        (b"SSH-2.0-a\r\n", "no answer"),
        (b"", "no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "no answer"),
        (_response("a" * (upnp.ANSWER_SIZE_BYTES_MAX + 1)), "over"),
        (b"HTTP/1.1 301 a\r\nLocation: http://10.0.0.9/\r\nContent-Length: 0\r\n\r\n", "301"),
    ],
)
async def test_a_router_that_describes_itself_otherwise_is_none(response: bytes, why: str) -> None:
    async with gateway(response):
        with pytest.raises(NoGateway, match=why):
            await find_gateway(THERE, HERE)


async def test_a_silent_router_is_left(autojump_clock: MockClock) -> None:
    with pytest.raises(NoGateway, match="does not answer by UPnP"):
        await find_gateway(THERE, HERE)


def test_the_router_is_the_one_of_the_kernel_s_table(tmp_path: Path) -> None:
    table = tmp_path / "route"
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    lines = [
        "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
        "wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n",
        "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n",
    ]
    table.write_text(head + "".join(lines))
    assert default_gateway(table) == ROUTER
    table.write_text(head + lines[2])
    assert default_gateway(table) == default_gateway(tmp_path / "nothing") == ""
