"""Names of images, and what an operator says of some."""

from __future__ import annotations

import pytest

from p2pnode.core.values.images import (
    ImageRule,
    Say,
    normal,
    said_of,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("ghcr.io/a/b:2", "ghcr.io/a/b:2"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"ghcr.io/a/b:2@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
    ],
)
def test_all_ways_to_write_an_image_are_one_name(written: str, name: str) -> None:
    assert normal(written) == name
    assert normal(name) == name


@pytest.mark.parametrize(
    ("rule", "image", "holds"),
    [
        ("postgres=capabilities", "postgres:16", True),
        ("postgres=capabilities", f"docker.io/library/postgres@{DIGEST}", True),
        ("postgres:16=capabilities", "postgres:17", False),
        ("postgres=capabilities", "postgres-evil", False),
        ("postgres=capabilities", "evil/postgres", False),
        ("postgres=capabilities", "ghcr.io/library/postgres", False),
        ("ghcr.io/our/*=capabilities", "ghcr.io/our/tools/x:3", True),
        ("ghcr.io/our/*=capabilities", "ghcr.io/ours/x", False),
        ("*=capabilities", "anything:1", True),
    ],
)
def test_a_rule_holds_for_the_images_it_names(rule: str, image: str, holds: bool) -> None:
    assert ImageRule.parse(rule).holds_for(image) is holds


def test_what_several_rules_say_adds_up() -> None:
    rules = [
        ImageRule.parse(one)
        for one in ("a/*=capabilities+read-only-root", "a/b=new-privileges", "c=capabilities")
    ]
    assert said_of(rules, "a/b:1") == {Say.CAPABILITIES, Say.READ_ONLY_ROOT, Say.NEW_PRIVILEGES}
    assert said_of(rules, "d") == frozenset()


@pytest.mark.parametrize(
    "text", ["", "postgres", "=capabilities", "postgres=", "postgres=root", "postgres=a+b"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ImageRule.parse(text)
