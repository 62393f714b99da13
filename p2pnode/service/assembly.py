"""The services of one node, each given the parts that it uses."""

from __future__ import annotations

from collections.abc import Callable

from p2pnode.api.services import Services
from p2pnode.api.shapes import JobJson
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.network.discovery import Discovery
from p2pnode.node.node import Node
from p2pnode.own_network import OwnNetwork

from .commands import Commands
from .content import Content
from .exec import Exec
from .jobs import Jobs
from .logs import Logs, Sources
from .lookup import Lookup
from .metrics import Metrics
from .nodes import Nodes
from .problems import FaultReports
from .reach import JobReach


def services_of(node: Node, discovery: Discovery, network: OwnNetwork | None) -> Services:
    """Return the services that the API of this node is answered with; `network` is its private one."""
    core = node.driver.core
    lookup = _lookup(node)
    sources = Sources(
        clock=node.clock,
        changes=node.changes,
        executor=node.executor,
        fetching=node.fetching,
        host=node.host,
        log_orders=node.log_orders,
    )
    return Services(
        jobs=_jobs(node, lookup),
        commands=Commands(lookup, node.journal, node.driver, node.changes, node.links),
        reach=JobReach(lookup, node.journal, node.driver, node.changes, node.clock, node.host),
        logs=Logs(lookup, sources),
        exec=Exec(lookup, node.me, node.host, node.fetching, node.entering),
        nodes=Nodes(
            node.config,
            lookup,
            core,
            node.host,
            discovery,
            node.engines,
            node.executor,
            node.blocks,
            node.scheduling,
            Metrics(node),
            network,
            node.clock,
            node.reaching.state,
            lambda: node.finding.state(*node.providing.figures),
        ),
        content=Content(node.blocks, node.bitswap, node.fetching, node.nursery),
        problems=FaultReports(node.journal, node.driver, node.intake, node.executor),
        audit=node.audit_log,
    )


def describer_of(node: Node) -> Callable[[JobRecord], JobJson]:
    """Return what makes of a record the job as the API gives it."""
    return _jobs(node, _lookup(node)).job_json


def _jobs(node: Node, lookup: Lookup) -> Jobs:
    core = node.driver.core
    return Jobs(lookup, node.journal, core, node.clock, node.changes, node.inputs, node.host)


def _lookup(node: Node) -> Lookup:
    core = node.driver.core
    return Lookup(node.journal, core.table, core.me, node.config.name)
