"""Which registries images may be fetched from, and where the operator's login is used."""

from __future__ import annotations

import pytest

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import (
    WELL_KNOWN,
    WELL_KNOWN_ONLY,
    NotAllowed,
    Registries,
    Registry,
    parse_login,
)


@pytest.mark.parametrize("image", ["busybox", "a/b:1", "docker.io/a", "index.docker.io/a/b"])
def test_images_of_dockers_own_registry_are_fetched(image: str) -> None:
    assert WELL_KNOWN_ONLY.to_resolve(image) is None


@pytest.mark.parametrize(
    "host",
    ["ghcr.io", "GHCR.IO", "quay.io", "gcr.io", "eu.gcr.io", "us-central1-docker.pkg.dev", "lscr.io",
     "registry-1.docker.io", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme.azurecr.io",
     "fra.ocir.io", "docker.io:443"],
)  # fmt: skip
def test_a_well_known_registry_is_allowed_if_all_its_addresses_are_public(host: str) -> None:
    registry = Registry(host.lower().removesuffix(":443"), 443)
    assert WELL_KNOWN_ONLY.to_resolve(f"{host}/a/b@sha256:{'0' * 64}") == registry
    WELL_KNOWN_ONLY.check(registry, ["8.8.8.8", "2606:4700::1"])
    for addresses in (["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"], ["169.254.169.254"], []):
        with pytest.raises(NotAllowed, match=r"not public .*serve --allow-registry"):
            WELL_KNOWN_ONLY.check(registry, addresses)


@pytest.mark.parametrize("pattern", WELL_KNOWN)
def test_a_well_known_name_is_matched_by_whole_labels(pattern: str) -> None:
    host = pattern.replace("*", "acme")
    assert WELL_KNOWN_ONLY.to_resolve(f"{host}/a") in (None, Registry(host, 443))
    rest = pattern.removeprefix("*.").replace("*", "acme")
    others = [f"{host}.evil.example", f"a.b.{host}", f"evil-{rest}", f"{host}x", f".{rest}", f"{host}:444"]
    for other in others:
        with pytest.raises(NotAllowed):
            WELL_KNOWN_ONLY.to_resolve(f"{other}/a")


@pytest.mark.parametrize(
    ("image", "flag"),
    [
        ("127.0.0.1:8080/a/b:1", "127.0.0.1:8080"),
        ("10.0.0.1/a", "10.0.0.1"),
        ("169.254.169.254/latest/meta-data:1", "169.254.169.254"),
        ("100.64.0.1:80/a", "100.64.0.1:80"),
        ("localhost/a", "localhost"),
        ("localhost:5000/a", "localhost:5000"),
        ("LocalHost/a", "localhost"),
        ("[::1]:5000/a/b", "[::1]:5000"),
        ("[::ffff:127.0.0.1]:5000/a/b", "[::ffff:7f00:1]:5000"),
        ("[fd00::1]/a", "[fd00::1]"),
        ("registry:5000/a", "registry:5000"),
        ("Registry/a", "registry"),
        ("nas.local/a", "nas.local"),
        ("metadata.google.internal/a", "metadata.google.internal"),
        ("box.lan:5000/a", "box.lan:5000"),
        ("8.8.8.8/a", "8.8.8.8"),
        ("registry.evil.example/a", "registry.evil.example"),
        ("ghcr.io:5000/a", "ghcr.io:5000"),
        ("ghcr.io.evil.example/a", "ghcr.io.evil.example"),
        ("evilghcr.io/a", "evilghcr.io"),
        ("a.b.gcr.io/a", "a.b.gcr.io"),
        ("pkg.dev/a", "pkg.dev"),
        ("1.dkr.ecr.a.b.amazonaws.com/a", "1.dkr.ecr.a.b.amazonaws.com"),
        ("1.s3.eu-west-1.amazonaws.com/a", "1.s3.eu-west-1.amazonaws.com"),
    ],
)
def test_a_registry_that_is_not_well_known_is_refused_with_the_flag_for_it(image: str, flag: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        WELL_KNOWN_ONLY.to_resolve(image)
    assert f"(its operator can allow it with serve --allow-registry {flag})" in str(caught.value)
    assert Registries(allowed=(AllowedHost.parse(flag),)).to_resolve(image) is None


@pytest.mark.parametrize(
    "image",
    ["127.1:80/a", "0x7f.1/a", "2130706433:80/a", "a.example:0/a", "a.example:99999/a", "a b.example/c",
     "user@a.example/b", "http://a.example/b", "[fe80::1%eth0]/a", "*/a", ".:1/a"],
)  # fmt: skip
def test_what_is_no_registry_is_refused(image: str) -> None:
    with pytest.raises(NotAllowed, match="is not the name of a registry"):
        WELL_KNOWN_ONLY.to_resolve(image)


def test_an_allowed_port_is_not_another() -> None:
    registries = Registries(allowed=(AllowedHost.parse("10.0.0.1:5000"),))
    assert registries.to_resolve("10.0.0.1:5000/a") is None
    with pytest.raises(NotAllowed):
        registries.to_resolve("10.0.0.1:5001/a")


@pytest.mark.parametrize(
    ("login", "image", "used"),
    [
        ("ghcr.io", "ghcr.io/acme/tool:1", True),
        ("ghcr.io/acme", "ghcr.io/acme/tool@sha256:" + "0" * 64, True),
        ("ghcr.io/acme/tool", "ghcr.io/acme/tool:1", True),
        ("ghcr.io/acme", "ghcr.io/acme-evil/tool", False),
        ("ghcr.io/acme", "ghcr.io/other/acme", False),
        ("ghcr.io", "ghcr.io.evil.example/a", False),
        ("ghcr.io", "GHCR.io/a", False),
        ("docker.io/acme", "acme/tool", True),
        ("index.docker.io/acme", "docker.io/acme/tool", True),
        ("docker.io/acme", "busybox", False),
        ("docker.io", "Intranet/a", False),
        ("10.0.0.1:5000", "10.0.0.1:5000/a", True),
        ("10.0.0.1:5000", "10.0.0.1:5001/a", False),
    ],
)
def test_a_login_is_used_for_what_the_operator_names_and_nothing_else(
    login: str, image: str, used: bool
) -> None:
    assert Registries(logins=(parse_login(login),)).has_login(image) is used
    assert not WELL_KNOWN_ONLY.has_login(image)


@pytest.mark.parametrize("text", ["", "acme", "https://ghcr.io", "ghcr.io/*", "ghcr.io/a b", "user@ghcr.io"])
def test_what_is_no_registry_gets_no_login(text: str) -> None:
    with pytest.raises(ValueError, match="is no registry"):
        parse_login(text)
