"""Tokens and the page of a real node, by its commands."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from .nodes import running_nodes


def test_a_token_is_made_used_and_revoked_by_commands(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.start("a", "--no-compute")
        made = node.cli("token", "create", "ci", "--read", "--expires", "1h")
        secret = made.stdout.removesuffix("\n")
        assert secret.startswith("p2pn_") and len(secret.split()) == 1
        assert node.cli("id", token=secret).returncode == 0
        refused = node.cli("node", "cordon", token=secret)
        assert (refused.returncode, "needs a write token" in refused.stderr) == (5, True)
        listed = node.cli("token", "list").stdout
        assert "ci" in listed and "read" in listed and secret not in listed
        assert node.cli("token", "revoke", "ci").returncode == 0
        assert node.cli("id", token=secret).returncode == 6
        assert secret not in node.printed()


def test_the_dashboard_s_address_lets_a_browser_in(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.start("a", "--no-compute")
        (address,) = node.cli("dashboard", "--no-open").stdout.splitlines()
        assert address.startswith(f"{node.client.url}/login?code=")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), _Stays())
        assert browser.open(address).status == 303
        assert browser.open(f"{node.client.url}/api/v1/id").status == 200


class _Stays(urllib.request.HTTPRedirectHandler):
    def http_error_303(self, req, fp, code, msg, headers):  # type: ignore[no-untyped-def]
        return fp
