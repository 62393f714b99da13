"""Where a node is told to begin: peers' addresses, names in DNS that stand for such, and files of both.

`/dnsaddr/NAME[/p2p/PEER]` stands for the addresses in the TXT records `dnsaddr=...` of `_dnsaddr.NAME`
(https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .addresses import ADDRESS_LENGTH_MAX, BadAddress, parse, parse_peer

# A list for a network of some size; each is dialled for as long as it is not reached.
BOOTSTRAP_PEERS_MAX = 256
_PREFIX = "/dnsaddr/"
_RECORD = "dnsaddr="
_FORM = re.compile(
    r"/dnsaddr/(?P<name>[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}))(?:/p2p/(?P<peer>[1-9A-HJ-NP-Za-km-z]{20,64}))?/?"
)


@dataclass(frozen=True, slots=True)
class Dnsaddr:
    """A name in DNS; with `peer` those of its addresses alone that are this peer's."""

    name: str
    peer: str = ""

    def __str__(self) -> str:
        return f"{_PREFIX}{self.name}" + (f"/p2p/{self.peer}" if self.peer else "")


def is_dnsaddr(text: str) -> bool:
    return text.startswith(_PREFIX)


def parse_dnsaddr(text: str) -> Dnsaddr:
    """Raises `BadAddress`."""
    found = _FORM.fullmatch(text)
    if len(text) > ADDRESS_LENGTH_MAX or found is None:
        raise BadAddress(f"{text[:ADDRESS_LENGTH_MAX]!r} is not like /dnsaddr/NAME or /dnsaddr/NAME/p2p/PEER")
    return Dnsaddr(found["name"].lower().rstrip("."), found["peer"] or "")


def parse_given(text: str) -> str:
    """A node's address or a name for such, as it is written; raises `BadAddress`."""
    return str(parse_dnsaddr(text)) if is_dnsaddr(text) else parse_peer(text)


def parse_given_of_dht(text: str) -> str:
    """As `parse_given`, of a peer with a key of any kind; raises `BadAddress`."""
    if is_dnsaddr(text):
        return str(parse_dnsaddr(text))
    if not parse(text).peer:
        raise BadAddress(f"{text!r} does not end in /p2p/ and a peer id")
    return text


def peer_of(text: str) -> str:
    """The peer that an address or name is of; "" where a name does not say."""
    return parse_dnsaddr(text).peer if is_dnsaddr(text) else parse(text).peer


def records_untrusted(texts: Iterable[str], wanted: Dnsaddr) -> tuple[dict[str, list[str]], list[Dnsaddr]]:
    """The addresses by peer in the TXT records of a name, and further names; the rest is passed over."""
    peers: dict[str, list[str]] = {}
    names: list[Dnsaddr] = []
    for text in texts:
        if not text.startswith(_RECORD):
            continue
        text = text.removeprefix(_RECORD)
        try:
            if is_dnsaddr(text):
                further = parse_dnsaddr(text)
                if wanted.peer in ("", further.peer) or not further.peer:
                    names.append(Dnsaddr(further.name, further.peer or wanted.peer))
                continue
            address = parse(text)
        except BadAddress:
            # Another transport than TCP, most often.
            continue
        if address.peer and wanted.peer in ("", address.peer):
            peers.setdefault(address.peer, []).append(address.transport)
    return peers, names


def lines_of_file(text: str, path: str) -> list[str]:
    """The addresses and names in a file, one a line; raises `BadAddress`, which names file and line."""
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not (written := line.partition("#")[0].strip()):
            continue
        try:
            found.append(parse_given(written))
        except BadAddress as exc:
            raise BadAddress(f"{path}:{number}: {exc}") from exc
        if len(found) > BOOTSTRAP_PEERS_MAX:
            raise BadAddress(f"{path}:{number}: more than {BOOTSTRAP_PEERS_MAX} addresses")
    return found
