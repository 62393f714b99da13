"""Addresses of content: forms that mean the same, and paths that are refused with what is wrong with them."""

from __future__ import annotations

import pytest

from p2pnode.core.values import content_paths

CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@pytest.mark.parametrize("prefix", ["", "ipfs://", "/ipfs/"])
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", ()),
        ("/", ()),
        ("/outputs", ("outputs",)),
        ("/outputs/", ("outputs",)),
        ("/a/b c/.hidden", ("a", "b c", ".hidden")),
        ("/...", ("...",)),
        ("/\u00fc/%2e%2e/ipfs:", ("\u00fc", "%2e%2e", "ipfs:")),
    ],
)
def test_an_address_is_a_root_and_the_names_below_it(prefix: str, path: str, names: tuple[str, ...]) -> None:
    assert content_paths.split(prefix + CID + path) == (CID, names)
    assert content_paths.split(content_paths.join(CID, names)) == (CID, names)
    assert content_paths.root_of(CID + path) == CID


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("..", r"the path '..' has the part \.\.;"),
        ("a/../../b", r"has the part \.\.;"),
        ("./a", r"has the part \.;"),
        ("/a", "has an empty part"),
        ("a//b", "has an empty part"),
        ("a/b//", "has an empty part"),
        ("a\0b", "has a control character or a line break"),
        ("a\x1b[31m", "has a control character or a line break"),
        ("a\nb/c", r"the path 'a\\nb/c' has a control character"),
        ("a\u2028b", "has a control character or a line break"),
        ("caf\udce9", "is not UTF-8 text"),
        ("a" * 256, "has a part of more than 255 bytes"),
        ("\u00e9" * 128, "has a part of more than 255 bytes"),
        ("/".join(["a"] * 65), "has 65 parts; at most 64 are allowed"),
        ("/".join(["a" * 255] * 17), "takes more than 4096 bytes"),
    ],
)
def test_a_path_that_is_refused_says_what_is_wrong_with_it(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        content_paths.split(f"{CID}/{path}")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200
