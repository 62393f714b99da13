"""Public addresses, and hosts that an operator allows."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from p2pnode.core.values.internet import (
    NOT_PUBLIC_IPV4,
    AllowedHost,
    is_allowed,
    is_public,
)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1"),
        *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::127.0.0.1"),
    ],
)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(address)


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
