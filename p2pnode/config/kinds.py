"""Kinds of settings: how their values are written, as text (flags, environment) or in TOML, and read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from p2pnode.core.link.port_mapping import UpnpMode
from p2pnode.core.link.reach import ReachMode, RelayMode
from p2pnode.core.placement.forwarding import parse_pattern
from p2pnode.core.values import units
from p2pnode.core.values.capabilities import parse_allowed
from p2pnode.core.values.domains import parse_domain
from p2pnode.core.values.finding import DhtMode, ProvideMode
from p2pnode.core.values.images import RULE_FORM, ImageRule
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import parse_login
from p2pnode.core.wire import addresses, bootstrap, peer_ids
from p2pnode.core.wire.spec import NetworkType

LOG_LEVELS = ("error", "warning", "info", "debug")
LOG_FORMATS = ("text", "json")
# As long as an advert's fields may be (core.wire.messages).
NAME_LENGTH_MAX = 64
LABELS_MAX = 32
LABEL_LENGTH_MAX = 256
# A job names all of them, and they may be members of it (core.wire.fields).
PEER_IDS_MAX = 16
# Below this one input of a usual size does not fit.
STORE_QUOTA_BYTES_MIN = 1_000_000_000
# Each job's end is told to all of them, and each may hold up as many tries as the next.
WEBHOOKS_MAX = 8
# Servers and proxies take some 2,000 characters at least, and few more.
URL_LENGTH_MAX = 2_000
# These lead past the node's own gate; a program has none of them unless the operator says so.
LENDABLE_NETWORKS = (NetworkType.BRIDGE, NetworkType.HOST)

T = TypeVar("T")
# Others dial eight addresses of a node, its own among them.
ANNOUNCED_MAX = 4
Mode = TypeVar("Mode", ReachMode, RelayMode, UpnpMode, DhtMode, ProvideMode)


@dataclass(frozen=True, slots=True)
class SettingKind:
    """How the values of a setting are written, and read."""

    # The name of a flag's value in the help; "": the flag has none.
    metavar: str
    # The form that an error says was expected.
    expected: str
    # A value as text; of a list, one entry.
    example: str
    # Gives the value of text or TOML, or raises ValueError, whose words are shown only if it is a BadAddress.
    read: Callable[[object], object]
    # Gives the entries of a list in an environment variable's text.
    split: Callable[[str], list[str]] | None = None
    # Gives what is shown of an entry that may hold a secret; None: all of it.
    shown: Callable[[str], str] | None = None


def _words(text: str) -> list[str]:
    """The entries of a list in the environment."""
    return text.replace(",", " ").split()


def _parts(text: str) -> list[str]:
    """The entries of a list in the environment whose entries may have spaces."""
    return text.split(",")


def _list_of(read: Callable[[str], T]) -> Callable[[object], tuple[T, ...]]:
    """A reader of lists, by that of an entry."""
    return lambda value: tuple(map(read, _texts(value)))


def _set_of(read: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    """A reader of lists in which neither order nor repetition matters."""
    return lambda value: tuple(sorted(set(map(read, _texts(value)))))


def _checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """A reader that keeps the text which another can parse."""

    def read(text: str) -> str:
        parse(text)
        return text

    return read


def _matching(pattern: str) -> Callable[[object], str]:
    """A reader of text that an expression matches."""
    form = re.compile(pattern)

    def read(value: object) -> str:
        if not form.fullmatch(text := _text(value)):
            raise ValueError(text)
        return text

    return read


def _read_listened_at(text: str) -> str:
    address = addresses.parse(text)
    if not addresses.is_listened_at(address):
        raise addresses.BadAddress(
            f"{text!r}: to listen, an IP address is needed, without TLS: a reverse proxy has that before /ws"
        )
    return text


def _read_announced(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        address = addresses.parse(text)
        if address.relay or address.peer or not address.port:
            raise addresses.BadAddress(f"{text!r}: to be announced, an address has a port, and names no peer")
        if address.host in ("0.0.0.0", "::"):
            raise addresses.BadAddress(f"{text!r}: to be announced, an address is one that others can dial")
    if len(texts) > ANNOUNCED_MAX:
        raise ValueError(value)
    return tuple(texts)


def _read_peer_ids(value: object) -> tuple[str, ...]:
    named = sorted(set(_texts(value)))
    if len(named) > PEER_IDS_MAX or not all(map(peer_ids.is_peer_id, named)):
        raise ValueError(value)
    return tuple(named)


def _read_networks(value: object) -> tuple[NetworkType, ...]:
    named = {word.lower() for one in _texts(value) for word in _words(one)}
    if not named <= set(LENDABLE_NETWORKS):
        raise ValueError(named)
    return tuple(sorted(map(NetworkType, named)))


def _read_port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    # Not isinstance: true is no port.
    if type(value) is not int or not 0 <= value < 65536:
        raise ValueError(value)
    return value


def _read_ip_address(value: object) -> str:
    return str(ipaddress.ip_address(_text(value)))


def _read_flag(value: object) -> bool:
    said = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if (read := said.get(str(value).lower())) is None:
        raise ValueError(value)
    return read


def _read_labels(value: object) -> dict[str, str]:
    """A table, or a list of `key=value`."""
    if isinstance(value, list):
        pairs = [one.partition("=") for one in _texts(value)]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError(value)
        value = {key.strip(): text.strip() for key, _, text in pairs}
    if not isinstance(value, dict) or len(value) > LABELS_MAX:
        raise ValueError(value)
    read = {str(key): str(text) for key, text in value.items()}
    if not all(key and len(key) <= LABEL_LENGTH_MAX >= len(text) for key, text in read.items()):
        raise ValueError(value)
    return read


def _read_log_level(value: object) -> str:
    if (level := _text(value).lower()) not in LOG_LEVELS:
        raise ValueError(level)
    return level


def _read_log_format(value: object) -> str:
    if (form := _text(value).lower()) not in LOG_FORMATS:
        raise ValueError(form)
    return form


def _one_of(modes: type[Mode]) -> Callable[[object], Mode]:
    """A reader of the word of one mode."""
    return lambda value: modes(_text(value).lower())


def _read_command(value: object) -> tuple[str, ...]:
    """A program and its arguments, as they are: no shell reads them."""
    words = tuple(_texts(value))
    if not all(word.startswith("/") for word in words[:1]) or any("\0" in word for word in words):
        raise ValueError(value)
    return words


def _read_webhooks(value: object) -> tuple[str, ...]:
    urls = tuple(dict.fromkeys(_texts(value)))
    if len(urls) > WEBHOOKS_MAX:
        raise ValueError(value)
    for url in urls:
        parts = urlsplit(url)
        seen = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in ("http", "https") or parts.fragment or not seen or len(url) > URL_LENGTH_MAX:
            raise ValueError(url)
        parse_domain(parts.hostname or "")
        if parts.port == 0:
            raise ValueError(url)
    return urls


def url_without_secrets(url: str) -> str:
    """The scheme, host and port of a URL: a user, a path or a query may be what lets in."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def _read_quota(value: object) -> int:
    if (size_bytes := units.parse_bytes(_text(value))) < STORE_QUOTA_BYTES_MIN:
        raise ValueError(value)
    return size_bytes


def _read_duration(value: object) -> int:
    return units.parse_duration(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(value)
    return [_text(one) for one in value]


NAME = SettingKind(
    "TEXT",
    "1 to 64 letters, digits, dots and dashes",
    "here",
    _matching(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{NAME_LENGTH_MAX - 2}}}[A-Za-z0-9])?"),
)
PORT = SettingKind("PORT", "a port from 0 to 65535", "4701", _read_port)
IP_ADDRESS = SettingKind("IP", "an IP address such as 127.0.0.1 or 0.0.0.0", "127.0.0.1", _read_ip_address)
FILE = SettingKind(
    "FILE",
    "an absolute path such as /etc/p2pnode/api.pem",
    "/etc/p2pnode/api.pem",
    _matching(r"(?s:/.+)"),
)
FLAG = SettingKind("", "true or false", "true", _read_flag)
SIZE = SettingKind("SIZE", "a size of at least 1GB, such as 50GB", "50GB", _read_quota)
GRACE = SettingKind("TIME", "a duration such as 60s", "60s", _read_duration)
RETENTION = SettingKind("TIME", "a duration such as 168h", "168h", _read_duration)
LOG_LEVEL = SettingKind("LEVEL", f"one of {', '.join(LOG_LEVELS)}", "info", _read_log_level)
LOG_FORMAT = SettingKind("FORM", f"one of {', '.join(LOG_FORMATS)}", "json", _read_log_format)
REACH = SettingKind("MODE", f"one of {', '.join(ReachMode)}", "relay", _one_of(ReachMode))
RELAY = SettingKind("MODE", f"one of {', '.join(RelayMode)}", "off", _one_of(RelayMode))
UPNP = SettingKind("MODE", f"one of {', '.join(UpnpMode)}", "off", _one_of(UpnpMode))
COMMAND = SettingKind(
    "WORD",
    "an absolute path such as /usr/local/bin/tell, then the arguments, one by one",
    "/usr/local/bin/tell",
    _read_command,
    _parts,
)
WEBHOOKS = SettingKind(
    "URL",
    f"at most {WEBHOOKS_MAX} http or https URLs without a fragment, such as https://hooks.example.com/jobs",
    "https://hooks.example.com/jobs",
    _read_webhooks,
    _words,
    url_without_secrets,
)
DOCKER_HOST = SettingKind(
    "ADDR",
    "unix:///PATH or tcp://127.0.0.1:PORT (no ssh://)",
    "unix:///run/docker.sock",
    _matching(r"unix:///[^\s]+|tcp://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]{1,5})?/?"),
)
IPFS_API = SettingKind(
    "ADDR",
    "a Kubo daemon such as /ip4/127.0.0.1/tcp/5001 or http://127.0.0.1:5001",
    "http://127.0.0.1:5001",
    _matching(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s]+/tcp/[0-9]{1,5}(/https?)?|https?://[^/\s@]+/?"),
)
LABELS = SettingKind("K=V", "at most 32 key=value pairs", "zone=north", _read_labels, _parts)
LISTEN = SettingKind(
    "ADDR",
    "multiaddrs such as /ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/tcp/4001",
    _list_of(_read_listened_at),
    _words,
)
ANNOUNCE = SettingKind(
    "ADDR",
    f"at most {ANNOUNCED_MAX} multiaddrs such as /dns4/node.example.org/tcp/443/wss",
    "/dns4/node.example.org/tcp/443/wss",
    _read_announced,
    _words,
)
PEERS = SettingKind(
    "ADDR",
    "multiaddrs such as /ip4/192.0.2.7/tcp/4001/p2p/12D3..., or /dnsaddr/NAME",
    "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu",
    _list_of(bootstrap.parse_given),
    _words,
)
DHT_PEERS = SettingKind(
    "ADDR",
    "multiaddrs such as /ip4/192.0.2.7/tcp/4001/p2p/12D3..., or /dnsaddr/bootstrap.libp2p.io",
    "/dnsaddr/bootstrap.libp2p.io",
    _list_of(bootstrap.parse_given_of_dht),
    _words,
)
DHT = SettingKind("MODE", f"one of {', '.join(DhtMode)}", "client", _one_of(DhtMode))
PROVIDE = SettingKind("WHAT", f"one of {', '.join(ProvideMode)}", "results", _one_of(ProvideMode))
PEER_IDS = SettingKind(
    "PEER",
    f"at most {PEER_IDS_MAX} peer ids of Ed25519 keys, such as 12D3KooW... (p2pnode id prints a node's)",
    "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu",
    _read_peer_ids,
    _words,
)
PATHS = SettingKind(
    "PATH[:rw]",
    "absolute paths, such as /data or /data:rw",
    "/srv/data:rw",
    _list_of(_matching(r"(?s:/.*)")),
    _parts,
)
VARIABLES = SettingKind(
    "NAME", "names of variables, such as TOKEN or APP_*", "APP_*", _list_of(parse_pattern), _words
)
HOSTS = SettingKind(
    "HOST[:PORT]",
    "hosts, such as files.example.lan or 192.0.2.7:9000",
    "files.example.lan:9000",
    _list_of(_checked(AllowedHost.parse)),
    _words,
)
REGISTRIES = SettingKind(
    "HOST[:PORT]",
    "hosts, such as registry.example.lan or 192.0.2.7:5000",
    "registry.example.lan:5000",
    HOSTS.read,
    _words,
)
LOGINS = SettingKind(
    "HOST[/PATH]",
    "registries or parts of them, such as ghcr.io/acme",
    "ghcr.io/acme",
    _list_of(parse_login),
    _words,
)
NETWORKS = SettingKind("TYPE", "bridge, host or both", "bridge", _read_networks, _words)
CAPABILITIES = SettingKind(
    "NAME",
    "names of Linux capabilities, such as NET_RAW, or none to give no usual ones",
    "NET_RAW",
    _set_of(parse_allowed),
    _words,
)
BUCKETS = SettingKind(
    "BUCKET",
    "names of buckets, or * for all",
    "results",
    _list_of(_matching(r"\*|[A-Za-z0-9._-]{3,255}")),
    _words,
)
IMAGE_RULES = SettingKind(
    "IMAGE=WORD", RULE_FORM, "ghcr.io/acme/*=writable-root", _list_of(_checked(ImageRule.parse)), _words
)
