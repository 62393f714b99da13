"""Public addresses, and hosts that an operator allows."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from p2pnode.core.values.internet import (
    NOT_PUBLIC_IPV4,
    AllowedHost,
    is_allowed,
    is_public,
    reachable,
)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((one, True) for one in ("8.8.8.8", "1.1.1.1", "93.184.216.34")),
        *((one, True) for one in ("2606:4700:4700::1111", "2606:2800:220:1::1", "::ffff:8.8.8.8")),
        *((one, False) for one in ("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.0.1")),
        *(
            (one, False)
            for one in ("192.168.0.1", "100.64.0.1", "169.254.169.254", "192.0.2.1", "198.18.0.1")
        ),
        *((one, False) for one in ("192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255")),
        *((one, False) for one in ("::", "::1", "fe80::1%eth0", "fc00::1", "fd00::1", "ff02::1")),
        *((one, False) for one in ("::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1")),
        *((one, False) for one in ("2002:a00:1::", "2002:7f00:1::", "2001:0:7f00:1::")),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("addresses", "host", "port", "usable"),
    [
        pytest.param(["8.8.8.8", "8.8.8.8"], "a.example", 80, ["8.8.8.8"], id="each once"),
        pytest.param(["1.1.1.1", "8.8.8.8"], "a.example", 80, ["1.1.1.1", "8.8.8.8"], id="in their order"),
        pytest.param(["10.0.0.1", "8.8.8.8", "::1"], "a.example", 80, ["8.8.8.8"], id="the public only"),
        pytest.param(["10.0.0.1", "::1"], "a.example", 80, [], id="none"),
        pytest.param([], "files.lan", 80, [], id="no address"),
        pytest.param(["10.0.0.1", "::1"], "Files.lan.", 80, ["10.0.0.1", "::1"], id="all of an allowed host"),
        pytest.param(["10.0.0.1"], "files.lan.example", 80, [], id="a name that begins like it"),
        pytest.param(["10.0.0.1"], "disk.lan", 9000, ["10.0.0.1"], id="an allowed port"),
        pytest.param(["10.0.0.1"], "disk.lan", 80, [], id="another port of it"),
        pytest.param(["10.0.0.1"], "10.0.0.1", 80, [], id="an address, whatever name is allowed"),
    ],
)
def test_a_job_is_connected_to_public_addresses_and_to_what_its_operator_allows(
    addresses: list[str], host: str, port: int, usable: list[str]
) -> None:
    hosts = [AllowedHost.parse(one) for one in ("files.lan", "disk.lan:9000")]
    assert reachable(addresses, hosts, host, port) == usable


@pytest.mark.parametrize(
    ("text", "host", "port", "allowed"),
    [
        ("files.lan", "files.lan", 80, True),
        ("files.lan", "FILES.LAN.", 443, True),
        ("files.lan", "other.lan", 80, False),
        (".lan", "a.b.lan", 80, True),
        ("files.lan:9000", "files.lan", 9000, True),
        ("files.lan:9000", "files.lan", 80, False),
        ("10.0.0.1", "10.0.0.1", 80, True),
        ("10.0.0.1:81", "10.0.0.1", 80, False),
        ("::1", "::1", 1, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]:9000", "::1", 80, False),
    ],
)
def test_a_host_is_allowed_by_name_and_port(text: str, host: str, port: int, allowed: bool) -> None:
    assert is_allowed([AllowedHost.parse(text)], host, port) is allowed


@pytest.mark.parametrize("text", ["", "http://a", "a:0", "a:65536", "a:x", "a b", "*.lan", "10.0.0.0/8"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        AllowedHost.parse(text)


@pytest.mark.parametrize("network", list(map(IPv4Network, NOT_PUBLIC_IPV4)))
def test_the_networks_that_are_not_public_end_where_public_addresses_begin(network: IPv4Network) -> None:
    assert not is_public(str(network[0])) and not is_public(str(network[-1]))
    for beside in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 < beside < 2**32:
            address = IPv4Address(beside)
            inside = any(address in IPv4Network(one) for one in NOT_PUBLIC_IPV4)
            assert is_public(str(address)) is not inside
