"""Where a node begins: names in DNS, looked up from a real server on loopback, and files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio

from p2pnode.api.shapes import ServiceError
from p2pnode.core.wire.addresses import BadAddress
from p2pnode.core.wire.bootstrap import (
    BOOTSTRAP_PEERS_MAX,
    Dnsaddr,
    lines_of_file,
    parse_dnsaddr,
    parse_given,
    parse_given_of_dht,
)
from p2pnode.network import bootstrap, dns_addresses
from p2pnode.network.bootstrap import Bootstrap
from p2pnode.network.discovery import Discovery
from p2pnode.network.dns_addresses import DnsAddresses, NamesNothing
from p2pnode.network.host import open_host
from p2pnode.service.meeting import meet

from .network_support import LOOPBACK, new_identity, until

A = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
B = "12D3KooWJv6tFmrcpa5WV5ZYRpaL1RuuSeo2YPhaZS4Uq4mN6UnE"
RSA = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"


class NameServer:
    """TXT records on loopback: of each name its texts; a name that is not there does not exist."""

    def __init__(self, port: int) -> None:
        self.where = ("127.0.0.1", port)
        self.texts: dict[str, list[str]] = {}
        self.asked: list[str] = []

    def answer(self, data: bytes) -> bytes:
        question = dns.message.from_wire(data)
        name = question.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        answer = dns.message.make_response(question)
        if name not in self.texts:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            quoted = [f'"{text}"' for text in self.texts[name]]
            answer.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "TXT", *quoted))
        return answer.to_wire()


@asynccontextmanager
async def open_names() -> AsyncIterator[NameServer]:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        server = NameServer(socket.getsockname()[1])

        async def serve() -> None:
            while True:
                data, sender = await socket.recvfrom(4096)
                await socket.sendto(server.answer(data), sender)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "text", ["/dnsaddr/", "/dnsaddr/a b", "/dnsaddr/a/p2p/", "/dnsaddr/a/tcp/1", "/dnsaddr/a/p2p/x"]
)
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match="/dnsaddr/NAME"):
        parse_given(text)


def test_a_name_is_read_with_its_peer_and_without() -> None:
    assert parse_dnsaddr("/dnsaddr/Nodes.Example.org") == Dnsaddr("nodes.example.org")
    assert parse_dnsaddr(f"/dnsaddr/a.example/p2p/{A}") == Dnsaddr("a.example", A)
    assert parse_given(f"/dnsaddr/a.example/p2p/{A}") == f"/dnsaddr/a.example/p2p/{A}"


def test_a_peer_of_the_dht_may_have_a_key_of_any_kind_and_a_node_may_not() -> None:
    address = f"/ip4/192.0.2.1/tcp/4001/p2p/{RSA}"
    assert parse_given_of_dht(address) == address
    with pytest.raises(BadAddress, match="p2pnode id"):
        parse_given(address)


async def test_a_name_gives_the_addresses_over_tcp_in_its_records_and_in_those_of_further_names() -> None:
    async with open_names() as server:
        server.texts = {
            "_dnsaddr.nodes.example": [
                f"dnsaddr=/ip4/192.0.2.1/tcp/4001/p2p/{A}",
                f"dnsaddr=/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{A}",
                "dnsaddr=/dnsaddr/more.example",
                "v=spf1 -all",
                "dnsaddr=/ip4/192.0.2.9/tcp/4001",
            ],
            "_dnsaddr.more.example": [
                f"dnsaddr=/dns4/b.example/tcp/4002/p2p/{B}",
                "dnsaddr=/dnsaddr/gone.example",
            ],
        }
        found = await DnsAddresses(server.where).find(Dnsaddr("nodes.example"))
        assert found == {A: ["/ip4/192.0.2.1/tcp/4001"], B: ["/dns4/b.example/tcp/4002"]}
        assert await DnsAddresses(server.where).find(Dnsaddr("nodes.example", B)) == {B: found[B]}


async def test_names_that_lead_on_for_ever_are_followed_so_far_and_no_further() -> None:
    async with open_names() as server:
        for n in range(10):
            server.texts[f"_dnsaddr.n{n}"] = [f"dnsaddr=/dnsaddr/n{n + 1}", "dnsaddr=/dnsaddr/n0"]
        server.texts["_dnsaddr.wide"] = [f"dnsaddr=/dnsaddr/leaf{n}" for n in range(60)]
        with pytest.raises(NamesNothing, match="no TXT record with a peer"):
            await DnsAddresses(server.where).find(Dnsaddr("n0"))
        assert len(server.asked) == dns_addresses.DEPTH_MAX
        server.asked.clear()
        with pytest.raises(NamesNothing):
            await DnsAddresses(server.where).find(Dnsaddr("wide"))
        assert len(server.asked) == dns_addresses.NAMES_MAX


async def test_a_name_that_does_not_exist_is_told_by_its_name() -> None:
    async with open_names() as server:
        with pytest.raises(NamesNothing, match=r"_dnsaddr\.gone\.example has no TXT record"):
            await DnsAddresses(server.where).find(Dnsaddr("gone.example"))


# Files


def test_a_file_has_an_address_a_line_and_comments() -> None:
    text = f"# ours\n\n/ip4/192.0.2.1/tcp/1/p2p/{A}  # the first\n/dnsaddr/nodes.example\n"
    assert lines_of_file(text, "peers") == [f"/ip4/192.0.2.1/tcp/1/p2p/{A}", "/dnsaddr/nodes.example"]


def test_a_wrong_line_is_told_with_file_and_line() -> None:
    with pytest.raises(BadAddress, match=r"^/etc/peers:2: .*does not end in /p2p/"):
        lines_of_file(f"/ip4/192.0.2.1/tcp/1/p2p/{A}\n/ip4/192.0.2.1/tcp/1\n", "/etc/peers")
    with pytest.raises(BadAddress, match=f"peers:{BOOTSTRAP_PEERS_MAX + 1}: more than"):
        lines_of_file("/dnsaddr/a\n" * 300, "peers")


class Given:
    """Keeps who was given, by where."""

    def __init__(self) -> None:
        self.peers: dict[str, Mapping[str, Sequence[str]]] = {}
        self.reasons: dict[str, str] = {}

    def give(self, source: str, peers: Mapping[str, Sequence[str]], reason: str) -> None:
        self.reasons[source] = reason
        if not reason:
            self.peers[source] = peers


def test_a_file_that_is_not_there_is_told_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match=r"peers_file: .*/none: No such file"):
        Bootstrap([], tmp_path / "none", Given().give, lambda peer: False, DnsAddresses())


async def test_a_file_is_read_again_when_it_changes_and_stays_in_force_while_it_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "FILE_LOOK_S", 0.01)
    file, given = tmp_path / "peers", Given()
    file.write_text(f"/ip4/192.0.2.1/tcp/1/p2p/{A}\n")
    begin = Bootstrap([], file, given.give, lambda peer: False, DnsAddresses())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin.run)
        assert given.peers[str(file)] == {A: ["/ip4/192.0.2.1/tcp/1"]}
        _replace(file, "nonsense\n")
        await until(lambda: f"{file}:1:" in given.reasons[str(file)])
        assert A in given.peers[str(file)]
        _replace(file, f"/ip4/192.0.2.2/tcp/1/p2p/{B}\n")
        await until(lambda: list(given.peers[str(file)]) == [B])
        nursery.cancel_scope.cancel()


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


async def test_a_node_joins_through_a_name_that_is_in_dns_later_and_tells_of_it_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "RETRY_S", 0.01)
    async with (
        open_names() as server,
        open_host(new_identity(), [LOOPBACK]) as other,
        open_host(new_identity(), [LOOPBACK]) as host,
        trio.open_nursery() as nursery,
    ):
        discovery = Discovery(host, mdns=False)
        names = DnsAddresses(server.where)
        begin = Bootstrap(["/dnsaddr/lan"], None, discovery.give, lambda peer: False, names)
        nursery.start_soon(discovery.run)
        nursery.start_soon(begin.run)
        await until(discovery.unreached)
        (told,) = discovery.unreached()
        assert (told.peer, told.reason) == ("/dnsaddr/lan", "_dnsaddr.lan has no TXT record")
        own = [f"dnsaddr={one}" for one in host.addresses()]
        server.texts["_dnsaddr.lan"] = [*own, *(f"dnsaddr={one}" for one in other.addresses())]
        await until(lambda: other.peer_id in host.connected())
        assert discovery.unreached() == []
        assert discovery.given == {other.peer_id}
        nursery.cancel_scope.cancel()


async def test_a_user_s_name_for_peers_connects_with_the_first_that_is_there_and_says_why_none_is() -> None:
    async with (
        open_names() as server,
        open_host(new_identity(), [LOOPBACK]) as other,
        open_host(new_identity(), [LOOPBACK]) as host,
    ):
        names = DnsAddresses(server.where)
        with pytest.raises(ServiceError, match=r"to /dnsaddr/lan: _dnsaddr.lan has no TXT record"):
            await meet(host, names, "/dnsaddr/lan")
        gone = new_identity().peer_id
        texts = [f"dnsaddr={one}" for one in host.addresses()]
        server.texts["_dnsaddr.lan"] = texts
        assert await meet(host, names, "/dnsaddr/lan") == host.peer_id
        texts.append(f"dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/{gone}")
        with pytest.raises(ServiceError, match=r"/ip4/127.0.0.1/tcp/1: refused"):
            await meet(host, names, "/dnsaddr/lan")
        texts += [f"dnsaddr={one}" for one in other.addresses()]
        assert await meet(host, names, "/dnsaddr/lan") == other.peer_id
        assert other.peer_id in host.connected()
        with pytest.raises(ServiceError, match="is not like /dnsaddr/NAME"):
            await meet(host, names, "/dnsaddr/")
