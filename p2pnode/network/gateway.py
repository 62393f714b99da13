"""The router of this machine, asked by UPnP: found on the LAN, and nothing of it believed.

Only the machine to which packets for the world go is asked. All requests are plain HTTP on the LAN, with
limits; miniupnpc, which does the same, blocks, and takes whatever says that it is a router, at whatever URL.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import h11
import trio

from p2pnode.core.wire import upnp
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.upnp import GatewayControl

from .streams import NetworkError

# A router answers a search within a second.
SEARCH_S_MAX = upnp.SEARCH_ANSWER_S_MAX + 1.0
# Routers are slow computers.
REQUEST_S_MAX = 5.0
ROUTES = Path("/proc/net/route")
_IS_GATEWAY = 0x2


class NoGateway(NetworkError):
    """No router does what was asked; the message says why."""


def default_gateway(routes: Path = ROUTES) -> str:
    """The address of IPv4 to which this machine sends what is for the world; "" where none is known."""
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:
        return ""
    found = []
    for fields in map(str.split, lines):
        destination, gateway, flags, metric = fields[1], fields[2], int(fields[3], 16), int(fields[6])
        if int(destination, 16) == 0 and flags & _IS_GATEWAY:
            # As the kernel has it in memory.
            found.append((metric, str(ipaddress.IPv4Address(struct.pack("=I", int(gateway, 16))))))
    return min(found, default=(0, ""))[1]


def own_host_towards(gateway: str) -> str:
    """This machine's address on the network of a router; "" where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent.
            probe.connect((gateway, upnp.SEARCH_PORT))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


class Gateway:
    """A router that has been found."""

    def __init__(self, control: GatewayControl) -> None:
        self._control = control

    async def external_host(self) -> str:
        """The router's own address; raises `NoGateway`."""
        try:
            return upnp.external_host_untrusted(await self._call("GetExternalIPAddress", {}))
        except (upnp.GatewayRefused, BadMessage) as exc:
            raise NoGateway(str(exc)) from exc

    async def add_mapping(self, outer: int, own_host: str, own_port: int, lease_s: int) -> bool:
        """Have the router pass a port on; False where that is another machine's. Raises `NoGateway`."""
        try:
            await self._call(
                "AddPortMapping",
                {
                    "NewRemoteHost": "",
                    "NewExternalPort": str(outer),
                    "NewProtocol": "TCP",
                    "NewInternalPort": str(own_port),
                    "NewInternalClient": own_host,
                    "NewEnabled": "1",
                    "NewPortMappingDescription": "p2pnode",
                    "NewLeaseDuration": str(lease_s),
                },
            )
        except upnp.GatewayRefused as exc:
            if exc.code in upnp.TAKEN:
                return False
            raise NoGateway(str(exc)) from exc
        return True

    async def remove_mapping(self, outer: int) -> None:
        """Raises `NoGateway`."""
        arguments = {"NewRemoteHost": "", "NewExternalPort": str(outer), "NewProtocol": "TCP"}
        with suppress(upnp.GatewayRefused):
            await self._call("DeletePortMapping", arguments)

    async def _call(self, action: str, arguments: Mapping[str, str]) -> bytes:
        body = upnp.call(self._control.service, action, arguments)
        headers = [
            ("Content-Type", 'text/xml; charset="utf-8"'),
            ("SOAPAction", f'"{self._control.service}#{action}"'),
            ("Content-Length", str(len(body))),
        ]
        status, data = await _ask("POST", self._control.url, headers, body)
        if status == 200:
            return data
        try:
            error = upnp.error_untrusted(data)
        except BadMessage as exc:
            raise NoGateway(str(exc)) from exc
        raise error


async def find_gateway(gateway: str, own_host: str) -> Gateway:
    """The router at this address, by what it says on the LAN; raises `NoGateway`."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            await asked.bind((own_host, 0))
            asked.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_host))
            for device in upnp.DEVICES:
                # Some answer the one alone, and some the other.
                await asked.sendto(upnp.search(device, gateway), (gateway, upnp.SEARCH_PORT))
                # Not every network has multicast.
                with suppress(OSError):
                    search = upnp.search(device, upnp.SEARCH_HOST)
                    await asked.sendto(search, (upnp.SEARCH_HOST, upnp.SEARCH_PORT))
            with trio.fail_after(SEARCH_S_MAX):
                url = await _description_url(asked, gateway)
        except OSError as exc:
            raise NoGateway(f"the router at {gateway} cannot be asked: {exc.strerror}") from exc
        except trio.TooSlowError as exc:
            raise NoGateway(f"the router at {gateway} does not answer by UPnP") from exc
    status, data = await _ask("GET", url)
    if status != 200:
        raise NoGateway(f"the router at {gateway} does not describe itself: HTTP {status}")
    try:
        return Gateway(upnp.control_untrusted(data, url, gateway))
    except BadMessage as exc:
        raise NoGateway(str(exc)) from exc


async def _description_url(asked: trio.socket.SocketType, gateway: str) -> str:
    while True:
        data, (host, *_) = await asked.recvfrom(upnp.FOUND_SIZE_BYTES_MAX)
        # Whatever else is on the LAN, and says that it is a router.
        if host == gateway:
            with suppress(BadMessage):
                return upnp.description_url_untrusted(data, gateway)


async def _ask(
    method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> tuple[int, bytes]:
    """The status and the body of a router's response; raises `NoGateway`."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    request = h11.Request(
        method=method, target=target, headers=[("Host", parts.netloc), ("Connection", "close"), *headers]
    )
    try:
        with trio.fail_after(REQUEST_S_MAX):
            async with await trio.open_tcp_stream(str(parts.hostname), parts.port or 80) as stream:
                return await _exchange(stream, request, body)
    except trio.TooSlowError as exc:
        raise NoGateway(f"the router at {parts.netloc} gave no answer within {REQUEST_S_MAX:.0f} s") from exc
    except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as exc:
        raise NoGateway(f"the router at {parts.netloc} gave no answer: {exc}") from exc


async def _exchange(stream: trio.SocketStream, request: h11.Request, body: bytes) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    sent = [connection.send(one) for one in (request, h11.Data(data=body), h11.EndOfMessage())]
    await stream.send_all(b"".join(filter(None, sent)))
    status, received = 0, b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(upnp.ANSWER_SIZE_BYTES_MAX))
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                received += data
                if len(received) > upnp.ANSWER_SIZE_BYTES_MAX:
                    raise NoGateway(f"the router's answer is over {upnp.ANSWER_SIZE_BYTES_MAX:,} bytes")
            case h11.EndOfMessage():
                return status, received
            case h11.ConnectionClosed():
                raise NoGateway("the router ended its answer early")
            case _:
                pass
