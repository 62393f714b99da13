"""UPnP's messages for a router's port mappings (IGD): written, and read of a router that may say anything.

(UPnP Device Architecture 1.1, WANIPConnection 1 and 2.) A router is a web server that names itself by UDP,
describes itself in XML, and is asked by SOAP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .codec import BadMessage

SEARCH_HOST, SEARCH_PORT = "239.255.255.250", 1900
# Routers answer after a random time within it.
SEARCH_ANSWER_S_MAX = 1
# A datagram; real ones have 500 bytes.
FOUND_SIZE_BYTES_MAX = 2048
# Real descriptions have up to 20 KiB.
ANSWER_SIZE_BYTES_MAX = 64 * 1024
URL_LENGTH_MAX = 512
# In the order in which they are taken.
SERVICES = tuple(f"urn:schemas-upnp-org:service:{one}" for one in ("WANIPConnection:2", "WANIPConnection:1"))
SERVICES = (*SERVICES, "urn:schemas-upnp-org:service:WANPPPConnection:1")
DEVICES = tuple(f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2))
# The errors after which another port may be taken: it is another machine's, or none of the router's to give.
TAKEN = frozenset({"718", "729"})


@dataclass(frozen=True, slots=True)
class GatewayControl:
    """Where a router is asked for mappings, and by which name."""

    url: str
    service: str


class GatewayRefused(Exception):
    """A router does not do what it was asked; `code` is UPnP's."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the router refuses: UPnP error {code}")
        self.code = code


def search(device: str, host: str) -> bytes:
    """Ask for routers, at the host to which this is sent."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {host}:{SEARCH_PORT}",
        'MAN: "ssdp:discover"',
        f"MX: {SEARCH_ANSWER_S_MAX}",
        f"ST: {device}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def description_url_untrusted(data: bytes, gateway: str) -> str:
    """Where a router that answers a search describes itself; raises `BadMessage`."""
    first, *lines = data[:FOUND_SIZE_BYTES_MAX].decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
    }
    if not first.startswith("HTTP/1.1 200") or headers.get("st") not in DEVICES:
        raise BadMessage("no router's answer to a search")
    return _own_url(headers.get("location", ""), gateway)


def control_untrusted(data: bytes, url: str, gateway: str) -> GatewayControl:
    """Where the router that describes itself so, at this URL, is asked for mappings; raises `BadMessage`."""
    found: dict[str, str] = {}
    for service in _elements(data, "service"):
        fields = {_name(one): (one.text or "").strip() for one in service}
        found.setdefault(fields.get("serviceType", ""), fields.get("controlURL", ""))
    for name in SERVICES:
        if path := found.get(name):
            return GatewayControl(_own_url(urljoin(url, path), gateway), name)
    raise BadMessage("the router has no service of port mappings")


def _own_url(url: str, gateway: str) -> str:
    """The URL, of the router itself: nobody has this node ask another machine."""
    try:
        parts = urlsplit(url)
        is_own = parts.scheme == "http" and parts.hostname == gateway and (parts.port or 80) > 0
    except ValueError as exc:
        raise BadMessage(f"the router names no URL: {exc}") from exc
    if not is_own or len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise BadMessage("the router names a URL that is none of its own")
    return url


def call(service: str, action: str, arguments: Mapping[str, str]) -> bytes:
    """The body of a request by SOAP."""
    given = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
    return (
        '<?xml version="1.0"?>'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service}">{given}</u:{action}>'
        "</s:Body></s:Envelope>"
    ).encode()


def error_untrusted(data: bytes) -> GatewayRefused:
    """The error of a request that has failed; raises `BadMessage`."""
    for code in _elements(data, "errorCode"):
        if (text := (code.text or "").strip()).isdecimal() and text.isascii() and len(text) <= 3:
            return GatewayRefused(text)
    raise BadMessage("the router fails, and does not say why")


def external_host_untrusted(data: bytes) -> str:
    """The router's own address, of IPv4; raises `BadMessage`."""
    for found in _elements(data, "NewExternalIPAddress"):
        try:
            return str(ipaddress.IPv4Address((found.text or "").strip()))
        except ValueError as exc:
            raise BadMessage("the router has no address outside: it is not connected") from exc
    raise BadMessage("the router does not say its address")


def _elements(data: bytes, name: str) -> Iterator[ElementTree.Element]:
    """The elements of a document by this name, in whatever namespace; raises `BadMessage`."""
    try:
        text = data.decode()
        # Entities are declared there alone.
        if "<!DOCTYPE" in text:
            raise BadMessage("the router's XML declares a type")
        root = ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError) as exc:
        raise BadMessage(f"the router's XML cannot be read: {exc}") from exc
    return (one for one in root.iter() if _name(one) == name)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
