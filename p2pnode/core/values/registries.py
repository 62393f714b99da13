"""Which registries images may be fetched from, and for which of them the operator's login is used.

Any job names an image, and the engine asks whatever host that name begins with, and then whatever host
that one names: for its tokens, and by redirects. So who runs a registry can have the engine ask in the
operator's network. Well-known public ones are allowed, others only where the operator names them. A
name's addresses are looked at by `engines.docker.images`, which resolves them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .domains import parse_domain
from .images import DEFAULT_REGISTRY, normal
from .internet import (
    PORT_MAX,
    AllowedHost,
    is_allowed,
    is_public,
)

# Where a registry is if its name has no port.
REGISTRY_PORT = 443
# Their operators are known, and send no engine into a stranger's network, whoever's images they hold: what
# their users may set is an image, not a realm or a redirect. `*` is one label, which only they give out.
WELL_KNOWN = (
    "docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "*.gcr.io",
    "*.pkg.dev",
    "registry.k8s.io",
    "public.ecr.aws",
    "*.dkr.ecr.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com.cn",
    "mcr.microsoft.com",
    "*.azurecr.io",
    "registry.gitlab.com",
    "nvcr.io",
    "registry.access.redhat.com",
    "registry.redhat.io",
    "registry.fedoraproject.org",
    "registry.suse.com",
    "registry.opensuse.org",
    "docker.elastic.co",
    "cgr.dev",
    "codeberg.org",
    "docker.gitea.com",
    "container-registry.oracle.com",
    "*.ocir.io",
    "registry.digitalocean.com",
    "icr.io",
    "*.icr.io",
    "lscr.io",
)
_REGISTRY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LOGIN = re.compile(r"([a-z0-9-]+(\.[a-z0-9-]+)+|localhost|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/[a-z0-9._-]+)*")


class NotAllowed(Exception):
    """An image may not be fetched here; the message says why, and who can change it."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A host and port that an image's name begins with."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == REGISTRY_PORT else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Registries:
    """The registries that an operator allows: by default the well-known ones are asked, as anybody may."""

    allowed: tuple[AllowedHost, ...] = ()
    # As `parse_login` gives them.
    logins: tuple[str, ...] = ()

    def to_resolve(self, image: str) -> Registry | None:
        """The registry whose addresses have yet to be looked at, by `check`; None where none has.

        Raises `NotAllowed` for one that is refused whatever its addresses are.
        """
        name = normal(image).partition("/")[0]
        # Docker's own, often served by the engine's mirrors where its name means nothing.
        if name == DEFAULT_REGISTRY:
            return None
        registry = _parse(name)
        if is_allowed(self.allowed, registry.host, registry.port):
            return None
        if registry.port != REGISTRY_PORT or not _is_well_known(registry.host):
            raise _refusal(registry, "is none of the well-known public registries")
        return registry

    def check(self, registry: Registry, addresses: Sequence[str]) -> None:
        """Look at the addresses of a well-known name: as the engine may take any, all must be public.

        Raises `NotAllowed`.
        """
        if not addresses or not all(map(is_public, addresses)):
            raise _refusal(registry, "has an address that is not public")

    def has_login(self, image: str) -> bool:
        """Whether the operator's own login is used to fetch this image."""
        name = re.split(r"@|:(?=[^/]*\Z)", normal(image), maxsplit=1)[0]
        return any(name.startswith(f"{one}/") or name == one for one in self.logins)


# The default, without a word of the operator.
WELL_KNOWN_ONLY = Registries()


def parse_login(text: str) -> str:
    """A registry, or a part of one, for whose images a login is used; raises `ValueError`."""
    name = text.strip().lower().rstrip("/")
    if not _LOGIN.fullmatch(name):
        raise ValueError(f'"{text[:80]}" is no registry; expected one such as ghcr.io or ghcr.io/acme')
    host, slash, path = name.partition("/")
    return (DEFAULT_REGISTRY if host == f"index.{DEFAULT_REGISTRY}" else host) + slash + path


def _parse(name: str) -> Registry:
    found = _REGISTRY.fullmatch(name)
    try:
        if found is None:
            raise ValueError
        host, port = parse_domain(found[1]), int(found[2] or REGISTRY_PORT)
        if not 0 < port <= PORT_MAX:
            raise ValueError
    except ValueError:
        raise NotAllowed(f'"{name[:80]}" is not the name of a registry') from None
    return Registry(host, port)


def _is_well_known(host: str) -> bool:
    labels = host.split(".")
    return any(_same_labels(pattern.split("."), labels) for pattern in WELL_KNOWN)


def _same_labels(pattern: Sequence[str], labels: Sequence[str]) -> bool:
    return len(pattern) == len(labels) and all(
        label != "" and wanted in ("*", label) for wanted, label in zip(pattern, labels, strict=True)
    )


def _refusal(registry: Registry, why: str) -> NotAllowed:
    return NotAllowed(
        f"this peer takes no images from {registry}, which {why}"
        f" (its operator can allow it with serve --allow-registry {registry})"
    )
