"""Nodes as the API has them: this one and what it takes on, and the others that it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from p2pnode import __version__
from p2pnode.api.execution_shapes import HostedJson
from p2pnode.api.exposition import Metric
from p2pnode.api.finding_shapes import FindingJson
from p2pnode.api.shapes import (
    Code,
    DockerJson,
    IdentityJson,
    Json,
    NetworkJson,
    NodeJson,
    ResourcesJson,
    SchedulingJson,
    ServiceError,
    SettingJson,
    UnreachedJson,
)
from p2pnode.config.settings import NodeConfig, standing
from p2pnode.core.link.reach import ReachState
from p2pnode.core.node import Core
from p2pnode.core.records import membership as memberships
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.values.finding import FindingState
from p2pnode.core.values.units import PRICE_MICROS
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import protocols
from p2pnode.core.wire.spec import Resources
from p2pnode.core.wire.states import Scheduling
from p2pnode.faults.problems import JournalError
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.network.discovery import Discovery
from p2pnode.network.dns_addresses import DnsAddresses
from p2pnode.network.host import Host
from p2pnode.node.clock import Clock
from p2pnode.node.driver import EventRefused
from p2pnode.node.engines import Engines
from p2pnode.node.executor import Executor
from p2pnode.node.scheduling import OperatorScheduling
from p2pnode.own_network import OwnNetwork

from .lookup import Lookup
from .meeting import meet
from .metrics import Metrics


class Nodes:
    """Implements `api.services.NodeService`."""

    def __init__(
        self,
        config: NodeConfig,
        lookup: Lookup,
        core: Core,
        host: Host,
        discovery: Discovery,
        engines: Engines,
        executor: Executor,
        blocks: BlockStore,
        scheduling: OperatorScheduling,
        metrics: Metrics,
        network: OwnNetwork | None,
        clock: Clock,
        reach: Callable[[], ReachState],
        finding: Callable[[], FindingState],
    ) -> None:
        self._config = config
        self._lookup = lookup
        self._core = core
        self._host = host
        self._discovery = discovery
        self._engines = engines
        self._executor = executor
        self._blocks = blocks
        self._scheduling = scheduling
        self._metrics = metrics
        self._network = network
        self._clock = clock
        self._names = DnsAddresses()
        self._reach = reach
        self._finding = finding

    def identity(self) -> IdentityJson:
        capacity = self._core.worker.capacity
        return {
            "peer": self._core.me,
            "name": self._config.name,
            "version": __version__,
            "addresses": [*self._host.addresses(), *self._host.relayed_addresses],
            "reach": self._reach().value,
            "finding": finding_json(self._finding()),
            "data_dir": str(self._config.data_dir),
            "engines": list(capacity.engines) if capacity else [],
            "labels": dict(capacity.labels) if capacity else {},
            "docker": self._docker(),
            "network": network_json(self._network),
        }

    def settings(self) -> list[SettingJson]:
        return [cast(SettingJson, one.plain()) for one in standing(self._config)]

    def _docker(self) -> DockerJson | None:
        docker = self._engines.docker
        if docker is None:
            return None
        host = docker.host
        return {"address": host.address, "chosen_by": host.why, "problem": docker.engine.problem}

    def nodes(self) -> list[NodeJson]:
        connected = set(self._host.connected())
        me = self._core.me
        found: list[NodeJson] = []
        for peer, known in self._core.table.known.items():
            advert = known.advert
            # A node knows better of itself than what it has last told.
            own = self._core.worker.available if peer == me else None
            shown = memberships.advertised(advert) if self._network else None
            member = memberships.read(shown) if shown else None
            capacity = own or advert.capacity
            found.append(
                {
                    "peer": peer,
                    "name": advert.name,
                    "engines": list(capacity.engines),
                    "labels": dict(capacity.labels),
                    "total": _resources(capacity.total),
                    "free": _resources(capacity.free),
                    "addresses": list(advert.addresses),
                    "connected": peer in connected or peer == me,
                    "connection": self._connection(peer) if peer in connected else "",
                    "reach": addressing.reach_of(advert.addresses),
                    "issued": advert.issued_ms / 1000,
                    "self": peer == me,
                    "scheduling": capacity.scheduling.value,
                    "price": capacity.price_micros / PRICE_MICROS,
                    "protocols": list(advert.protocols),
                    "problem": protocols.why_no_link(advert.protocols),
                    "role": member.role.value if member else None,
                    "invitation": str(member.invitation) if member else None,
                }
            )
        return sorted(found, key=lambda one: (not one["self"], one["name"], one["peer"]))

    def _connection(self, peer: str) -> str:
        return "direct" if self._host.remote_host(peer) else "relay"

    def hosted(self, states: Sequence[ReservationState]) -> list[HostedJson]:
        wanted = states or [one for one in ReservationState if one is not ReservationState.ENDED]
        found = self._core.worker.reservations.of(*dict.fromkeys(wanted))
        return [self._hosted_json(one) for one in sorted(found, key=lambda one: -one.created)]

    def _hosted_json(self, one: Reservation) -> HostedJson:
        spec = one.award.spec if one.award else None
        return {
            "id": one.execution,
            "job": one.job,
            "name": (spec.name or one.job) if spec else "",
            "type": spec.type if spec else "",
            "engine": one.requirements.engine,
            "state": one.state,
            "owner": one.owner,
            "owner_name": self._lookup.known_name(one.owner),
            "priority": one.priority,
            "resources": _resources(one.requirements.resources),
            "created": round(one.created, 3),
        }

    async def connect(self, address: str) -> str:
        peer = await meet(self._host, self._names, address)
        if peer != self._core.me:
            self._discovery.choose(peer)
        return peer

    def unreached(self) -> list[UnreachedJson]:
        own = self._network
        ended = memberships.why_ended(own.member, self._clock.now()) if own else None
        return [
            {"peer": one.peer, "addresses": list(one.addresses), "reason": ended or one.reason}
            for one in self._discovery.unreached()
        ]

    def scheduling(self) -> SchedulingJson:
        worker = self._core.worker
        return {"scheduling": worker.scheduling, "held": len(worker.held)}

    def schedule(self, scheduling: str, timeout_s: float | None, leave: bool) -> None:
        try:
            self._scheduling.set(Scheduling(scheduling), timeout_s, leave=leave)
        except (JournalError, EventRefused) as exc:
            raise ServiceError(Code.UNAVAILABLE, str(exc)) from exc

    def metrics(self) -> Json:
        core = self._core
        return {
            "peers_known": len(core.table.known),
            "peers_connected": len(self._host.connected()),
            "jobs_live": len(core.jobs),
            "reservations": len(core.worker.held),
            "executions_running": len(self._executor.executions),
            "blocks_size_bytes": self._blocks.size_bytes,
        }

    def prometheus(self) -> list[Metric]:
        return self._metrics.all()


def _resources(one: Resources) -> ResourcesJson:
    return {
        "cpu_millis": one.cpu_millis,
        "memory_bytes": one.memory_bytes,
        "disk_bytes": one.disk_bytes,
        "gpus": one.gpus,
    }


def finding_json(state: FindingState) -> FindingJson:
    return {
        "dht": state.mode.value,
        "peers": state.peers,
        "provided": state.provided,
        "waiting": state.waiting,
    }


def network_json(own: OwnNetwork | None) -> NetworkJson | None:
    """The private network as it may be shown: without its keys."""
    if own is None:
        return None
    member = own.member
    return {
        "name": member.network,
        "operator": member.operator,
        "role": member.role.value,
        "expires": member.expires,
    }
