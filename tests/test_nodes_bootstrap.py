"""Names in DNS and a file as peers to join through, as the real program takes them."""

from __future__ import annotations

from pathlib import Path

from .nodes import Node, know_each_other, running_nodes, until


def test_a_node_joins_through_a_file_and_tells_of_a_name_that_gives_nothing(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        a = nodes.start("a", "--no-mdns")
        file = tmp_path / "peers"
        file.write_text(f"{a.address}  # ours\n")
        b = nodes.start("b", "--no-mdns", "--peers-file", str(file), "--peer", "/dnsaddr/nobody.invalid")
        know_each_other(a, b)
        until("the name is told", lambda: "_dnsaddr.nobody.invalid" in b.cli("node", "list").stderr)


def test_a_node_does_not_start_with_a_wrong_line_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "peers"
    file.write_text("\n/ip4/192.0.2.1/tcp/4001\n")
    node = Node("a", tmp_path / "a", [], tmp_path / "a.log")
    done = node.cli("serve", "--peers-file", str(file))
    assert done.returncode == 1
    assert f"{file}:2: " in done.stderr and "does not end in /p2p/" in done.stderr


def test_provide_without_the_dht_is_refused_with_what_to_set(tmp_path: Path) -> None:
    done = Node("a", tmp_path / "a", [], tmp_path / "a.log").cli("serve", "--provide", "results")
    assert done.returncode != 0
    assert "set dht to client or server" in done.stderr
