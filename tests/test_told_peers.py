"""Peers in what people are told: by their names, but for addresses that would not work any more."""

from __future__ import annotations

import pytest

from p2pnode.service.lookup import name_peers

PEER = "12D3KooWJv6tFmrcpa5WV5ZYRpaL1RuuSeo2YPhaZS4Uq4mN6UnE"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{PEER} did not take the award: no", "NAME did not take the award: no"),
        (f"asked {PEER}, {PEER}; then ({PEER}).", "asked NAME, NAME; then (NAME)."),
        (f"s3://results/{PEER}/e-1.tar.gz: 1 MB", f"s3://results/{PEER}/e-1.tar.gz: 1 MB"),
        (f"s3://results/{PEER}: 404", f"s3://results/{PEER}: 404"),
        (f"s3://results/a-{PEER}-b", f"s3://results/a-{PEER}-b"),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}"),
        (f"{PEER}.tar.gz", f"{PEER}.tar.gz"),
    ],
)
def test_a_peer_is_named_where_it_is_a_word_of_its_own(text: str, shown: str) -> None:
    assert name_peers(text, lambda peer: "NAME") == shown
