"""All checks in their order, on this machine and the node that is meant here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from p2pnode import __version__
from p2pnode.api.shapes import IdentityJson
from p2pnode.config import ConfigError, loading, place_of, policy
from p2pnode.config.settings import NodeConfig
from p2pnode.core.link.port_mapping import UpnpMode
from p2pnode.core.wire import addresses

from . import checks, probes
from .findings import Finding


def examine(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """The findings as they are made; raises `ConfigError` where no node is meant."""
    place, user = place_of(environ), os.geteuid()
    yield checks.python(probes.python(), f"p2pnode {__version__}")
    data = probes.path_facts(place.data_dir)
    yield checks.data_directory(data, user)
    yield checks.disk("disk", str(place.data_dir), data.free_bytes)
    config, problem = NodeConfig(data_dir=place.data_dir), ""
    try:
        config = loading.load({}, environ)
    except ConfigError as error:
        problem = str(error)
    yield checks.config_file(probes.path_facts(place.config_file), problem, user)
    yield from _policy(config)
    if quota := checks.store_quota(config.store_quota, data.total_bytes):
        yield quota
    if config.compute:
        yield from _engines(config, environ)
    yield checks.open_files(probes.open_files_max())
    node = probes.node(place.data_dir, environ)
    clock = probes.clock()
    yield checks.clock(clock, node)
    yield from _ports(config, node)
    yield checks.node(node, __version__)
    yield checks.network(probes.network(place.data_dir, clock.now), node, clock.now)
    if node.identity is not None:
        yield from checks.peers(node)
        yield checks.own_addresses(node.identity)
        if reach := checks.reach(node):
            yield reach
        yield from _router(config, node.identity)
        if finding := checks.finding(node):
            yield finding
        yield checks.problems(node)
    if config.ipfs_api:
        yield checks.kubo(*probes.kubo(config.ipfs_api))


def _policy(config: NodeConfig) -> Iterator[Finding]:
    try:
        found = policy.load(config)
    except ConfigError as error:
        yield checks.policy(str(error), "")
    else:
        if found.exists:
            yield checks.policy("", str(found.path))


def _engines(config: NodeConfig, environ: Mapping[str, str]) -> Iterator[Finding]:
    engine = probes.container_engine(config.docker_host)
    yield checks.containers(engine, chosen=bool(config.docker_host or environ.get("DOCKER_HOST")))
    if engine.images:
        yield checks.disk("images", engine.images, engine.images_free_bytes)
    yield checks.wasm(probes.wasm_problem())


def _router(config: NodeConfig, identity: IdentityJson) -> Iterator[Finding]:
    """The router, where one stands before a node that nobody dials."""
    if config.upnp is UpnpMode.OFF or identity.get("reach") not in ("relay", "none"):
        return
    if (router := probes.router(identity["addresses"])) is not None:
        yield checks.router(router)


def _ports(config: NodeConfig, node: probes.NodeFacts) -> Iterator[Finding]:
    wanted = [("api_port", "127.0.0.1", config.api_port)]
    for text in config.listen:
        address = addresses.parse(text)
        wanted.append((f"listen {text}", address.host, address.port))
    for what, host, number in wanted:
        problem = probes.tcp_problem(host, number) if number else ""
        yield checks.port(f"{what} {number}" if what == "api_port" else what, number, problem, node.ports)
