"""The fence around the network of Bridge containers: they reach the internet, and nothing nearer.

A bridge of Docker's leads to all that its machine reaches: its own services, the operator's network, the
cloud's metadata address. Rules of the kernel's packet filter take that away, for all packets that come in
by this bridge. They stand in the table mangle, which is asked before filter: what is dropped there no rule
of others (Docker's, ufw's) can accept, and none of these programs writes it anew. They outlive the node,
as its containers do; nodes of one machine share them. Names are resolved by servers of the internet, as
the operator's own would be in the operator's network.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import trio

from p2pnode.core.values.internet import NOT_PUBLIC_IPV4, is_public
from p2pnode.engines.workload import first_line

FORWARD, INPUT = "P2PNODE-FORWARD", "P2PNODE-INPUT"
# Answers to whom a published port was opened for, wherever that one is.
_ANSWERS = "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j RETURN"
# As `iptables -S` writes them. The network has no IPv6, which its programs could speak all the same.
IPV4: Mapping[str, tuple[str, ...]] = {
    FORWARD: (_ANSWERS, *(f"-d {network} -j DROP" for network in NOT_PUBLIC_IPV4)),
    INPUT: (_ANSWERS, "-j DROP"),
}
IPV6: Mapping[str, tuple[str, ...]] = {FORWARD: ("-j DROP",), INPUT: ("-j DROP",)}
# Where each chain is gone to from.
_HOOKS = {FORWARD: "FORWARD", INPUT: "INPUT"}
# Another program holds the filter for milliseconds; this is for a machine on its knees.
LOCK_S_MAX = 5
COMMAND_S_MAX = 10.0
# Where system programs are, though the node's PATH may not say so.
SYSTEM_PATH = "/usr/sbin:/sbin"
RESOLV_CONF = Path("/etc/resolv.conf")
# As Docker itself does where the machine's name servers cannot be used.
NAME_SERVERS = ("8.8.8.8", "8.8.4.4")
NAME_SERVERS_MAX = 3


class NoFence(Exception):
    """The rules cannot be put up here; the message says why."""


async def put_up(interface: str) -> None:
    """Make all rules stand for a bridge of this machine, whatever is there of them; raises `NoFence`."""
    try:
        socket.if_nametoindex(interface)
    except OSError as error:
        raise NoFence(f"Docker's bridge {interface} is not one of this machine's interfaces") from error
    await _put_up("iptables", IPV4, interface)
    if _speaks_ipv6():
        await _put_up("ip6tables", IPV6, interface)


def stands(listing: str, chains: Mapping[str, tuple[str, ...]], interface: str) -> bool:
    """Whether all rules are in what `iptables -S` says of the table."""
    lines = listing.splitlines()
    found = {chain: [line for line in lines if line.startswith(f"-A {chain} ")] for chain in chains}
    wanted = {chain: [f"-A {chain} {rule}" for rule in rules] for chain, rules in chains.items()}
    return found == wanted and all(_jump(chain, interface) in lines for chain in chains)


def script(listing: str, chains: Mapping[str, tuple[str, ...]], interface: str) -> str:
    """Return the input for `iptables-restore --noflush` that makes the chains stand, in one step."""
    lines = ["*mangle"]
    # Naming a chain makes it, or empties it.
    lines += [f":{chain} - [0:0]" for chain in chains]
    lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
    jumps = [_jump(chain, interface) for chain in chains]
    lines += [jump.replace("-A", "-I", 1) for jump in jumps if jump not in listing.splitlines()]
    return "\n".join([*lines, "COMMIT", ""])


def name_servers(resolv_conf: str) -> list[str]:
    """The machine's name servers that are of the internet, or others that are."""
    words = [line.split() for line in resolv_conf.splitlines()]
    given = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    usable = [one for one in given if _is_ipv4(one) and is_public(one)]
    return usable[:NAME_SERVERS_MAX] or list(NAME_SERVERS)


def machines_name_servers() -> list[str]:
    """`name_servers` of this machine. Blocking, for a small file."""
    try:
        return name_servers(RESOLV_CONF.read_text(errors="replace"))
    except OSError:
        return list(NAME_SERVERS)


def _speaks_ipv6() -> bool:
    """Whether this kernel has any IPv6 that is to be fenced in."""
    return Path("/proc/net/if_inet6").exists()


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _jump(chain: str, interface: str) -> str:
    return f"-A {_HOOKS[chain]} -i {interface} -j {chain}"


async def _put_up(program: str, chains: Mapping[str, tuple[str, ...]], interface: str) -> None:
    look = (program, "-w", str(LOCK_S_MAX), "-t", "mangle", "-S")
    listing = await _run(*look)
    if stands(listing, chains, interface):
        return
    restore = (f"{program}-restore", "-w", str(LOCK_S_MAX), "--noflush")
    await _run(*restore, stdin=script(listing, chains, interface))
    if not stands(await _run(*look), chains, interface):
        raise NoFence(f"{program} did not keep the rules for {interface}")


async def _run(program: str, *arguments: str, stdin: str = "") -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")
    if path is None:
        raise NoFence(f"{program} is not installed")
    problem, output = f"{program} did not end within {COMMAND_S_MAX:g} s", ""
    with trio.move_on_after(COMMAND_S_MAX):
        try:
            done = await trio.run_process(
                [path, *arguments],
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            output = done.stdout.decode(errors="replace")
            problem = first_line(done.stderr.decode(errors="replace")) if done.returncode else ""
        except* OSError as errors:
            problem = f"{program} cannot be run: {errors.exceptions[0]}"
    if problem:
        raise NoFence(problem)
    return output
