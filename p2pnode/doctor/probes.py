"""Looks at this machine, its engines and its node: facts, and no judgement."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from p2pnode import own_network
from p2pnode.api.shapes import IdentityJson, NodeJson, ProblemJson, ServiceError, UnreachedJson
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find, running_node
from p2pnode.core.link.port_mapping import Behind
from p2pnode.core.records import membership
from p2pnode.core.records.membership import OPEN_NETWORK
from p2pnode.core.wire import addresses
from p2pnode.engines.docker import api, discovery, limits
from p2pnode.engines.docker.answers import Info
from p2pnode.engines.docker.api import EngineGone, EngineRefused
from p2pnode.engines.wasm import engine as wasm_engine
from p2pnode.ipfs.kubo import KuboDaemon, KuboFailed
from p2pnode.network.gateway import NoGateway, find_gateway
from p2pnode.network.port_mapper import behind_here

# An engine may neither answer nor refuse; a person waits so long for one line.
ENGINE_ANSWERS_S = 15.0


@dataclass(frozen=True, slots=True)
class PathFacts:
    """A directory or file: "" for no kind is nothing there; `free_bytes` are of its disk."""

    path: Path
    kind: str = ""
    owner: int = 0
    mode: int = 0
    free_bytes: int = 0
    total_bytes: int = 0
    # Why it cannot be looked at.
    problem: str = ""


def path_facts(path: Path) -> PathFacts:
    try:
        place = next(one for one in (path, *path.parents) if one.exists())
        disk = shutil.disk_usage(place)
        if place != path:
            return PathFacts(path, free_bytes=disk.free, total_bytes=disk.total)
        found = path.stat()
    except OSError as error:
        return PathFacts(path, problem=error.strerror or str(error))
    kind = "directory" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"
    return PathFacts(path, kind, found.st_uid, stat.S_IMODE(found.st_mode), disk.free, disk.total)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """The container engine that a node here would use."""

    address: str
    why: str
    # Why it runs nothing; "": it answers, and holds containers to their limits.
    problem: str = ""
    version: str = ""
    # The place of its images; free bytes of None: it is not on this machine's disks, or not to be seen.
    images: str = ""
    images_free_bytes: int | None = None


def container_engine(docker_host: str) -> EngineFacts:
    host = discovery.find(docker_host)
    if host.problem:
        return EngineFacts(host.address, host.why, host.problem)
    found = trio.run(_asked, host.address, host.why, host.socket_path)
    # From inside a container, or over TCP, the engine's disk is not seen.
    images = Path(found.images or "/nonexistent")
    return replace(found, images_free_bytes=shutil.disk_usage(images).free) if images.is_dir() else found


async def _asked(address: str, why: str, socket_path: str) -> EngineFacts:
    with trio.move_on_after(ENGINE_ANSWERS_S):
        if problem := await api.unavailable(socket_path):
            return EngineFacts(address, why, problem)
        try:
            info = await api.ask(socket_path, "/info", Info)
            problem = await limits.missing(socket_path)
        except (EngineGone, EngineRefused) as error:
            return EngineFacts(address, why, str(error))
        version = f"{'Podman' if info.buildah_version else 'Docker'} {info.server_version}"
        return EngineFacts(address, why, problem, version, info.docker_root_dir)
    return EngineFacts(address, why, f"the engine did not answer within {ENGINE_ANSWERS_S:g} s")


def wasm_problem() -> str | None:
    """Why no module runs here; None: one did."""
    return trio.run(wasm_engine.probe)


def tcp_problem(host: str, port: int) -> str:
    """Why nothing can listen at this address now; "": it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen()
    except OSError as error:
        return "taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ""


def open_files_max() -> int | None:
    """The descriptors that a node here may have; None: any number. It raises its own limit to that."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The time, as Unix seconds."""

    now: float
    # Time went on between two looks.
    monotonic: bool


def clock() -> ClockFacts:
    before = time.monotonic()
    return ClockFacts(time.time(), time.monotonic() >= before)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The node that runs, as its API tells; an identity of None: none answers."""

    identity: IdentityJson | None = None
    nodes: tuple[NodeJson, ...] = ()
    unreached: tuple[UnreachedJson, ...] = ()
    problems: tuple[ProblemJson, ...] = ()
    # The TCP ports that it holds.
    ports: frozenset[int] = frozenset()
    # Why none answers where one should; "": none runs.
    problem: str = ""


def node(data_dir: Path, environ: Mapping[str, str]) -> NodeFacts:
    try:
        if not environ.get("P2PNODE_API") and not _lives(data_dir):
            return NodeFacts()
        client = find(data_dir, environ)
        client.alive()
        identity = client.identity()
        listened = {addresses.parse(one).port for one in identity["addresses"]}
        return NodeFacts(
            identity,
            tuple(client.nodes()),
            tuple(client.unreached()),
            tuple(client.problems()),
            frozenset({*listened, client.port}),
        )
    except (NodeUnreachable, ServiceError) as error:
        return NodeFacts(problem=str(error))


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """The private network that a data directory is in; `text` says it as a line. No name: the open one."""

    name: str = ""
    operator: str = ""
    text: str = OPEN_NETWORK
    expires: float | None = None
    # Why the file cannot be read.
    problem: str = ""
    # A line where the membership ends soon, or has ended, with what to do.
    ends: str = ""
    # A line where it is of another identity, with what to do.
    of_another: str = ""


def network(data_dir: Path, now: float) -> NetworkFacts:
    try:
        own = own_network.load(data_dir)
        if own is not None:
            own_network.expelled(data_dir, own)
            of_another = own_network.why_of_another(data_dir, own)
    except own_network.OwnNetworkError as error:
        return NetworkFacts(problem=str(error))
    if own is None:
        return NetworkFacts()
    member = own.member
    text = own_network.description(own, now)
    ends = membership.ends_soon(member, now) or ""
    return NetworkFacts(
        member.network,
        member.operator,
        text,
        member.expires,
        ends=ends,
        of_another=of_another or "",
    )


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """The router of this machine; `external` is its own address, where it speaks UPnP and gives one."""

    gateway: str
    external: str = ""
    # Why it gives none.
    problem: str = ""


def router(listened: Iterable[str]) -> RouterFacts | None:
    """The router of a node that listens there; None where it is behind none."""
    behind = behind_here(listened)
    return trio.run(_asked_router, behind) if behind else None


async def _asked_router(behind: Behind) -> RouterFacts:
    try:
        found = await find_gateway(behind.gateway, behind.own[0].host)
        return RouterFacts(behind.gateway, await found.external_host())
    except NoGateway as error:
        return RouterFacts(behind.gateway, problem=str(error))


def _lives(data_dir: Path) -> bool:
    """Whether the process of the node that wrote its address there is alive."""
    if (told := running_node(data_dir)) is None:
        return False
    try:
        os.kill(int(told["pid"]), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        # Another user's: alive.
        return True
    return True


def kubo(address: str) -> tuple[str, str]:
    """The version of the Kubo daemon there, or why it does not answer."""
    try:
        return KuboDaemon(address).version(), ""
    except (KuboFailed, ValueError) as error:
        return "", str(error)


def python() -> tuple[int, int, int]:
    return sys.version_info[:3]
