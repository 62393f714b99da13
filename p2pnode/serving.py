"""Runs a node from its start to its end: opens its parts in order, and closes them in reverse.

The node ends on SIGINT or SIGTERM: it stops what it runs for others and tells their owners, says
goodbye in an advert, and closes its links; a second signal ends it without all that. With
`live_restore` SIGTERM ends the node alone: containers run on, and the next start on the same data
directory goes on with them. It also ends when its journal can't be written.
"""

from __future__ import annotations

import logging
import os
import signal
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from p2pnode.api.server import ApiAddress, open_api
from p2pnode.config import CONFIG_FILE
from p2pnode.config.policy import PolicyFile
from p2pnode.config.policy import load as load_policy
from p2pnode.config.settings import NodeConfig
from p2pnode.core.records import membership
from p2pnode.core.records.keyring import Keyring
from p2pnode.core.records.membership import Right
from p2pnode.core.records.roster import Roster
from p2pnode.core.wire.addresses import BadAddress
from p2pnode.core.wire.bootstrap import is_dnsaddr
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.signing import Signed
from p2pnode.faults.problems import JournalError
from p2pnode.ipfs.bitswap import open_bitswap
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.result_store import default_quota_bytes
from p2pnode.network.bootstrap import Bootstrap
from p2pnode.network.discovery import Discovery
from p2pnode.network.dns_addresses import DnsAddresses
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.network.gossip import open_gossip
from p2pnode.network.host import open_host
from p2pnode.network.protocols import exec, logs
from p2pnode.network.protocols.adverts import serve_table
from p2pnode.network.protocols.jobs import serve_jobs
from p2pnode.network.streams import NetworkError
from p2pnode.node.capacity import CapacityWatch
from p2pnode.node.engines import engines_of
from p2pnode.node.journal import Journal
from p2pnode.node.node import Node
from p2pnode.service.assembly import describer_of, services_of

from . import identity, own_network
from .identity import Identity
from .own_network import OwnNetwork, OwnNetworkError
from .system import descriptors, log_lines, memory

log = logging.getLogger(__name__)

# Exit statuses of `serve`.
STATUS_OK = 0
STATUS_FAILED = 1
# In the data directory, whoever makes them.
PRIVATE_FOLDERS = ("blocks", "executions", "input-cache", "kubo", "log-orders", "published", "wasm-cache")


def serve(config: NodeConfig) -> int:
    """Run a node until it is told to end; its exit status. Raises `ConfigError` for a wrong policy."""
    policy = load_policy(config)
    log_lines.set_up(config.log_level, config.log_format)
    status = STATUS_OK
    descriptors.raise_limit()
    memory.give_back()
    try:
        trio.run(_run, config, policy)
    except* (
        JournalError,
        NetworkError,
        BadAddress,
        identity.IdentityError,
        OwnNetworkError,
        OSError,
    ) as group:
        log_lines.tell(config.log_format, logging.ERROR, f"p2pnode: {_sentence(_first(group))}")
        status = STATUS_FAILED
    return status


@dataclass(slots=True)
class _End:
    """Whether and how this node is told to end."""

    told: trio.Event = field(default_factory=trio.Event)
    # Programs that run here go on without the node.
    alone: bool = False


async def _run(config: NodeConfig, policy: PolicyFile) -> None:
    end = _End()
    # Before anything is opened: a signal that comes while the node starts must not tear it.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                async for number in signals:
                    leaves_running = config.live_restore and number == signal.SIGTERM
                    if not end.told.is_set():
                        end.alone = leaves_running
                    elif not (end.alone and leaves_running):
                        nursery.cancel_scope.cancel()
                    end.told.set()

            nursery.start_soon(end_on_signal)
            await _run_node(config, policy, end)
            nursery.cancel_scope.cancel()


async def _run_node(config: NodeConfig, policy: PolicyFile, end: _End) -> None:
    make_private(config.data_dir)
    network = own_network.load(config.data_dir)
    journal = Journal(config.data_dir)
    me = identity.load_or_create(config.data_dir)
    door = doorkeeper_of(config, network, me)
    config = as_role_may(config, network)
    blocks = BlockStore(
        config.data_dir / "blocks", config.store_quota or default_quota_bytes(config.data_dir)
    )
    level = logging.DEBUG if config.log_level == "debug" else None
    well = False
    try:
        async with (
            open_host(
                me,
                config.listen,
                has_room=has_room,
                dependency_log_level=level,
                network_keys=door.network_keys if door else None,
                door=door,
            ) as host,
            open_bitswap(host, blocks) as bitswap,
            trio.open_nursery() as effects,
        ):
            engines = engines_of(config, me.peer_id)
            node = Node(config, me, journal, host, blocks, bitswap, engines, effects, policy, door)
            async with open_gossip(host, node.adverts.heard) as node.adverts.gossip:
                await _work(node, end, network)
            effects.cancel_scope.cancel()
            well = True
    finally:
        journal.close(well=well)


def doorkeeper_of(config: NodeConfig, network: OwnNetwork | None, me: Identity) -> Doorkeeper | None:
    """Make the doorkeeper of a private network; raises `OwnNetworkError` for files that cannot be read."""
    if network is None:
        return None
    if (wrong := own_network.why_of_another(config.data_dir, network)) is not None:
        log.warning("%s", wrong)
    roster = Roster(me.peer_id, network.membership, me, Keyring(network.key))
    if (before := own_network.expelled(config.data_dir, network)) is not None:
        roster.hear_untrusted(before)
    if network.keyring is not None:
        roster.take_own_keyring(network.keyring)
    return Doorkeeper(roster, lambda: int(time.time() * 1000), _OnDisk(config.data_dir, network))


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """The operator's records in the data directory; where the operator's key is, the command line writes."""

    data_dir: Path
    network: OwnNetwork

    def expulsion(self) -> Signed | None:
        return self._found(lambda: own_network.expelled(self.data_dir, self.network))

    def keyring(self) -> Signed | None:
        return self._found(lambda: own_network.keyring_of(self.data_dir, self.network))

    def _found(self, find: Callable[[], Signed | None]) -> Signed | None:
        try:
            return find() if self.network.operator_seed else None
        except OwnNetworkError as exc:
            log.warning("%s", exc)
            return None

    def keep_expulsion(self, signed: Signed) -> None:
        try:
            if signed != own_network.expelled(self.data_dir, self.network):
                own_network.keep_expelled(self.data_dir, signed)
        except OwnNetworkError as exc:
            log.warning("%s", exc)

    def keep_keyring(self, signed: Signed) -> None:
        try:
            own_network.keep_keyring(self.data_dir, self.network, signed)
        except OwnNetworkError as exc:
            log.warning("%s", exc)


def as_role_may(config: NodeConfig, network: OwnNetwork | None) -> NodeConfig:
    """The settings without what this node's role in its network does not let it do."""
    if network is None:
        return config
    may = membership.RIGHTS[network.member.role]
    return replace(
        config,
        compute=config.compute and Right.COMPUTE in may,
        deputy=config.deputy and Right.LOOK_AFTER in may,
    )


def make_private(data_dir: Path) -> None:
    """Make the data directory and its folders, or take from others what they may do there.

    Results, inputs and secrets of strangers lie there. No umask: what containers read and write is made
    for any user, below a directory that only this one enters. Raises `OSError`.
    """
    for directory in (data_dir, *(data_dir / name for name in PRIVATE_FOLDERS)):
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The data directory may be a link to another disk; what is in it is ours.
        status = directory.stat() if directory == data_dir else directory.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{directory} is not a directory: move it away")
        if status.st_uid != os.geteuid():
            raise PermissionError(
                f"{directory} belongs to user {status.st_uid}, and the node runs as user {os.geteuid()}:"
                " give it to that user (chown -R), or name another --data-dir"
            )
        if stat.S_IMODE(status.st_mode) != 0o700:
            directory.chmod(0o700)
    # The settings may name buckets and peers. The other files are made for their owner alone.
    settings = data_dir / CONFIG_FILE
    if settings.is_file() and not settings.is_symlink() and settings.stat().st_uid == os.geteuid():
        settings.chmod(0o600)


async def _work(node: Node, end: _End, network: OwnNetwork | None) -> None:
    config, host = node.config, node.host
    named = (*config.peers, *own_network.peers_of(network, node.me.peer_id))
    discovery = Discovery(
        host,
        given=[one for one in named if not is_dnsaddr(one)],
        known=node.adverts.peers_to_join,
        reached=node.adverts.remember,
        mdns=config.mdns,
        operator=network.member.operator if network else None,
        grown=node.changes.peers,
        heard=node.adverts.peers_heard,
        needed=node.peers_needed,
        remembered=node.adverts.peers_remembered,
    )
    node.finding.given = discovery.given_at
    begin = _bootstrap(node, discovery, named)
    node.reaching.own_addresses.watch(discovery.moved)
    serve_table(host, node.adverts.table_for)
    serve_jobs(host, node.own_jobs)
    host.handle(logs.PROTOCOL, node.serve_logs, time_limit_s=logs.SERVE_TIME_S_MAX)
    host.handle(exec.PROTOCOL, node.entering.serve, time_limit_s=exec.SERVE_TIME_S_MAX)
    node.log_orders.serve(host)
    host.keep(lambda peer: peer in discovery.given or node.strangers.knows(peer))
    host.watch(node.adverts.on_connection)
    host.watch_doubles(node.adverts.on_double, node.adverts.on_double_gone)

    capacity = CapacityWatch(
        config,
        node.driver.core.worker,
        node.engines,
        node.inputs,
        node.publishers,
        node.results,
        node.changes,
        node.tell,
    )

    async def shed_peers() -> None:
        relays = node.reaching.relays()
        await host.shed(node.driver.core.partners | discovery.given | set(relays))

    async with trio.open_nursery() as nursery:
        if node.door is not None:
            await nursery.start(node.door.run, host, node.forget_members)
        await nursery.start(node.run)
        keep_running = node.guards.keep_running
        with node.guards.guard(Compartment.TASK, "capacity"):
            await capacity.look()
        nursery.start_soon(keep_running, "capacity", capacity.run)
        nursery.start_soon(keep_running, "discovery", discovery.run)
        nursery.start_soon(keep_running, "bootstrap", begin.run)
        nursery.start_soon(keep_running, "spare", node.engines.keep_ready)
        address = ApiAddress(config.api_host, config.api_port, config.api_cert, config.api_key)
        async with open_api(services_of(node, discovery, network), config.data_dir, address, has_room) as api:
            shed = partial(descriptors.watch, api.shed, shed_peers)
            nursery.start_soon(keep_running, "descriptors", shed)
            tell_ends = partial(node.teller.run, describer_of(node), api.url)
            nursery.start_soon(keep_running, "job ends", tell_ends)
            memory.settle()
            _say_ready(node, network, api.url)
            async with trio.open_nursery() as waiting:

                async def end_when_empty() -> None:
                    await node.scheduling.until_empty()
                    end.told.set()

                waiting.start_soon(end_when_empty)
                await end.told.wait()
                waiting.cancel_scope.cancel()
            # All parts still work: the others are to hear of it.
            if end.alone:
                await node.send_what_waits()
            else:
                await node.say_goodbye()
        if end.alone:
            _end_alone(node)
        nursery.cancel_scope.cancel()


def _bootstrap(node: Node, discovery: Discovery, named: Sequence[str]) -> Bootstrap:
    """Makes what looks up the names among the peers to join through, and reads the file of them."""

    def give(source: str, peers: Mapping[str, Sequence[str]], reason: str) -> None:
        discovery.give(source, peers, reason)
        node.strangers.know(peers)

    def is_connected(peer: str) -> bool:
        return peer in node.host.connected()

    file = Path(node.config.peers_file) if node.config.peers_file else None
    return Bootstrap(list(filter(is_dnsaddr, named)), file, give, is_connected, DnsAddresses())


def _end_alone(node: Node) -> None:
    """End this process as a crash would, for which the next start is made; but nothing is left half-said."""
    node.journal.close(well=True)
    logging.shutdown()
    os._exit(STATUS_OK)


def has_room() -> bool:
    """Whether strangers may have more connections."""
    return not descriptors.are_tight()


def _say_ready(node: Node, network: OwnNetwork | None, api: str) -> None:
    role = network.member.role if network else None
    barred = [membership.why_role_may_not(role, one) for one in (Right.COMPUTE, Right.LOOK_AFTER) if role]
    lines = [
        f"p2pnode {node.config.name} is ready: {node.me.peer_id}",
        *(f"  listens at {one}" for one in node.host.addresses()),
        f"  in {own_network.description(network, time.time())}",
        *(f"  {why}" for why in barred if why is not None),
        f"  API {api}",
    ]
    log_lines.tell(node.config.log_format, logging.INFO, *lines)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
