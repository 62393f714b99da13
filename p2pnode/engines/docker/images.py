"""The images of the engine: those that are there, and bringing one that is not.

An image that is here is run without asking anybody: the operator brought it, or an earlier job's pull
did. An image for another platform is noticed before it is pulled: the registry says which platforms it
has. Nobody can notice it earlier, as an ask does not name the image. What the engine says of a pull
that failed stays in the log: it would tell a job what answers at an address, and how.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import trio

from p2pnode.core.values.images import normal
from p2pnode.core.values.registries import NotAllowed, Registries
from p2pnode.core.wire.states import Fault
from p2pnode.engines.http.upstream import RESOLVE_S_MAX, Resolve

from . import answers, api, pull
from .api import EngineRefused
from .sdk import ContainerFailed, Sdk

# An image with this label says that it writes to its scratch directories only.
READ_ONLY_LABEL = "p2pnode.read-only-root"
# This peer has no login there; another may have one.
NO_LOGIN_ERRORS = ("no basic auth credentials", "unauthorized", "incorrect username or password")
NO_SUCH_IMAGE_ERRORS = (
    "not found",
    "manifest unknown",
    "pull access denied",
    "does not exist",
    "invalid reference",
)


# The one thing said of a pull that failed, by whose fault it is.
FAILED_PULLS = {
    Fault.JOB: "its registry has no such image, or only for those who log in",
    Fault.PEER: "its registry wants a login that this peer does not have, or has it for other platforms only",
    Fault.NETWORK: "its registry does not answer",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here. `id` is that of its content: its configuration's digest, or its manifest's."""

    id: str
    read_only_root: bool


async def cached(socket_path: str) -> dict[str, int]:
    """The names, in `core.values.images.normal` form, of all images that need no pull, and their bytes.

    Raises `EngineGone` and `EngineRefused`.
    """
    found = await api.ask(socket_path, "/images/json", list[answers.Named])
    return {
        normal(name): one.size
        for one in found
        for name in (*(one.repo_tags or ()), *(one.repo_digests or ()))
        if "<none>" not in name
    }


async def obtain(
    sdk: Sdk, image: str, registries: Registries, resolve: Resolve, progress: Callable[[str], None]
) -> Image:
    """The image, which is pulled if it is not here and may be. Raises `ContainerFailed`, `EngineGone`."""
    try:
        found = await _inspect(sdk.socket_path, image)
        is_here = found is not None
        if found is None:
            await _check_registry(image, registries, resolve)
            progress(f"pulling image {image}")
            login = registries.has_login(image)
            await _check_platforms(sdk, image, login)
            if reason := await pull.pull(sdk, image, login, progress):
                log.info("image %s: %s", image, reason)
                fault = pull_fault(reason)
                raise ContainerFailed(fault, f"cannot pull image {image}: {FAILED_PULLS[fault]}")
            found = await _inspect(sdk.socket_path, image)
    except EngineRefused as error:
        raise ContainerFailed(Fault.JOB, f"image {image}: {error}") from error
    if found is None:
        raise ContainerFailed(Fault.PEER, f"image {image} was removed as soon as it had been pulled")
    try:
        _check(image, {f"{found.os}/{found.architecture}"}, await sdk.platform())
    except ContainerFailed:
        # Podman does not tell what a registry has.
        if not is_here:
            await pull.remove(sdk.socket_path, image)
        raise
    return Image(id=found.id, read_only_root=found.labels.get(READ_ONLY_LABEL) == "true")


def pull_fault(reason: str) -> Fault:
    """Whether the image is not there, is not for this peer, or the registry cannot be asked."""
    text = reason.lower()
    if "no matching manifest" in text or any(sign in text for sign in NO_LOGIN_ERRORS):
        return Fault.PEER
    # "lookup registry.example: no such host" also is a thing not found.
    if any(sign in text for sign in ("dial tcp", "lookup ", "timeout", "connection refused")):
        return Fault.NETWORK
    return Fault.JOB if any(sign in text for sign in NO_SUCH_IMAGE_ERRORS) else Fault.NETWORK


async def _inspect(socket_path: str, image: str) -> answers.ImageAnswer | None:
    try:
        path = f"/images/{quote(image, safe='/:@')}/json"
        return await api.ask(socket_path, path, answers.ImageAnswer)
    except EngineRefused as error:
        if error.status == 404:
            return None
        raise


async def _check_registry(image: str, registries: Registries, resolve: Resolve) -> None:
    """Whether the engine may ask the image's registry at all; raises `ContainerFailed`."""
    try:
        registry = registries.to_resolve(image)
        if registry is None:
            return
        with trio.fail_after(RESOLVE_S_MAX):
            registries.check(registry, await resolve(registry.host, registry.port))
    except NotAllowed as error:
        raise ContainerFailed(Fault.PEER, f"image {image}: {error}") from error
    except (OSError, UnicodeError, trio.TooSlowError) as error:
        raise ContainerFailed(Fault.NETWORK, f"image {image}: {registry} cannot be resolved") from error


async def _check_platforms(sdk: Sdk, image: str, login: bool) -> None:
    platforms = await sdk.platforms(image, login)
    if platforms:
        _check(image, platforms, await sdk.platform())


def _check(image: str, platforms: set[str], ours: str) -> None:
    if ours not in platforms:
        have = ", ".join(sorted(platforms))
        raise ContainerFailed(Fault.PEER, f"image {image} is for {have}; this peer is {ours}")
