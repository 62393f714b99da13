"""The rules around the network of Bridge containers, and which name servers they are given."""

from __future__ import annotations

import pytest

from p2pnode.engines.docker import bridge

BR = "br-0123456789ab"
POLICIES = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n"


def listed(interface: str = BR) -> list[str]:
    """As `iptables -S` lists the table once all is in place."""
    chains = [f"-N {chain}" for chain in bridge.IPV4]
    jumps = [f"-A INPUT -i {interface} -j P2PNODE-INPUT", f"-A FORWARD -i {interface} -j P2PNODE-FORWARD"]
    return chains + jumps + [f"-A {chain} {rule}" for chain, rules in bridge.IPV4.items() for rule in rules]


def test_the_rules_stand_when_all_of_them_do() -> None:
    assert bridge.stands("\n".join(listed()), bridge.IPV4, BR)


@pytest.mark.parametrize("missing", [one for one in listed() if one.startswith("-A")])
def test_the_fence_is_put_up_again_when_a_rule_is_gone(missing: str) -> None:
    listing = "\n".join(one for one in listed() if one != missing)
    assert not bridge.stands(listing, bridge.IPV4, BR)
    script = bridge.script(listing, bridge.IPV4, BR)
    assert missing in script or missing.replace("-A", "-I", 1) in script


def test_a_rule_that_another_put_before_ours_is_not_kept() -> None:
    lines = listed()
    lines.insert(4, "-A P2PNODE-FORWARD -d 10.0.0.0/8 -j ACCEPT")
    assert not bridge.stands("\n".join(lines), bridge.IPV4, BR)


def test_rules_for_another_bridge_are_none_for_this_one() -> None:
    listing = "\n".join(listed("br-ba9876543210"))
    assert not bridge.stands(listing, bridge.IPV4, BR)
    # The other's stay as they are: the chains are the same for both.
    assert "br-ba9876543210" not in bridge.script(listing, bridge.IPV4, BR)


def test_no_jump_is_made_twice() -> None:
    assert "\n-I " not in bridge.script("\n".join(listed()), bridge.IPV4, BR)
    assert bridge.script(POLICIES, bridge.IPV4, BR).count("\n-I ") == 2


async def test_a_bridge_of_another_machine_cannot_be_fenced_in() -> None:
    """As with a Docker engine that is remote, rootless or in a virtual machine."""
    with pytest.raises(bridge.NoFence, match="br-nowhere is not one of this machine's interfaces"):
        await bridge.put_up("br-nowhere")


async def test_a_machine_without_the_program_cannot_fence_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(bridge, "SYSTEM_PATH", "/nowhere")
    with pytest.raises(bridge.NoFence, match="iptables is not installed"):
        await bridge.put_up("lo")


@pytest.mark.parametrize(
    ("resolv_conf", "servers"),
    [
        ("nameserver 9.9.9.9\nnameserver 10.0.0.1\n", ["9.9.9.9"]),
        ("nameserver 127.0.0.53\nsearch lan\n", ["8.8.8.8", "8.8.4.4"]),
        ("nameserver 192.168.1.1\nnameserver fe80::1%eth0\n", ["8.8.8.8", "8.8.4.4"]),
        ("# nameserver 9.9.9.9\nnameserver\n", ["8.8.8.8", "8.8.4.4"]),
        (
            "".join(f"nameserver 1.1.1.{n}\n" for n in range(1, 9)),
            ["1.1.1.1", "1.1.1.2", "1.1.1.3"],
        ),
    ],
)
def test_names_are_resolved_by_servers_of_the_internet(resolv_conf: str, servers: list[str]) -> None:
    assert bridge.name_servers(resolv_conf) == servers
