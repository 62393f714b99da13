"""The parts of libp2p that a node never calls are not loaded, nor what it may never come to need."""

from __future__ import annotations

import subprocess
import sys

UNUSED = {"aioquic", "httpx", "OpenSSL", "dns.resolver", "libp2p.kad_dht", "libp2p.relay", "libp2p.discovery"}
# A client of a Docker engine, and one who looks for peers on the LAN.
NOT_YET = {"docker", "requests", "zeroconf"}


def test_a_node_does_not_load_the_parts_of_libp2p_that_it_never_calls() -> None:
    code = f"import sys, p2pnode.serving; print(*({UNUSED | NOT_YET} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_a_part_of_libp2p_that_is_left_out_says_so_when_it_is_called() -> None:
    code = "import p2pnode.network; from libp2p.host import basic_host; basic_host.MDNSDiscovery()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "MDNSDiscovery of libp2p is called" in done.stderr
