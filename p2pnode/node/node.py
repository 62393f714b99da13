"""One node, put together from its parts: what the core decides is carried out here.

    adverts, messages --> Driver (core + journal) --> links, gossip, executor
    API --> services ----------^

Everything here is wiring; `serving` opens the parts and ends them. Decisions are in `core`; no
part knows of the others.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from p2pnode import identity
from p2pnode.config.policy import PolicyFile
from p2pnode.config.settings import NodeConfig
from p2pnode.core.node import Core
from p2pnode.core.placement.arrival import FetchRate
from p2pnode.core.records import receipts
from p2pnode.core.records.ending import LEAVING_GRACE_S_MAX
from p2pnode.core.records.events import (
    Advertise,
    Event,
    Kill,
    Leaving,
    MembersLeft,
    NeighbourJoined,
    Start,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import bootstrap, codec, protocols
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.compartments import Compartment
from p2pnode.core.wire.messages import Ask, Award, Ended, Message, Release, Replicate, WhoOwns
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.worker import owner_tracking
from p2pnode.data.inputs import Inputs, Ipfs
from p2pnode.data.publishers import Publishers
from p2pnode.faults.caution import Caution
from p2pnode.faults.guards import Guards
from p2pnode.faults.problems import JournalError
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.bitswap import Bitswap
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.ipfs.kubo import KuboDaemon
from p2pnode.ipfs.result_store import ResultStore
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.network.host import Host
from p2pnode.network.link_owner import CannotSend, OutboxFull
from p2pnode.network.links import Links
from p2pnode.network.protocols import jobs, logs
from p2pnode.network.strangers import Strangers
from p2pnode.network.streams import Stream
from p2pnode.notices.probe import Probe
from p2pnode.notices.teller import Teller
from p2pnode.system.audit_log import AuditLog

from .advertiser import Advertiser
from .capacity import access_of
from .changes import Changes
from .clock import Clock
from .deciding import make_core
from .driver import Driver, EventRefused
from .engines import Engines
from .entering import Entering
from .executor import Executor
from .fetching import Fetching
from .finding import Finder
from .intake import Intake
from .journal import Journal
from .log_orders import LogOrders
from .message_needs import MessageNeeds
from .peer_watch import PeerWatch
from .providing import Providing
from .reaching import Reaching
from .scheduling import OperatorScheduling

log = logging.getLogger(__name__)

# At the end: for what runs to end, by its grace, and to store what it leaves. systemd gives a node 90 s.
PROGRAMS_END_S_MAX = LEAVING_GRACE_S_MAX + 15.0
# Then: to have its receipts sent and goodbye said.
SHUTDOWN_TIMEOUT_S = 3.0
# How many frames a peer has to send because it was sent such a message: an acknowledgement, and its answers.
ANSWERS = {Ask: 3, Award: 10, Release: 1, Replicate: 2, WhoOwns: 5}


class Node:
    """A running node's parts, and the effects that the driver asks for."""

    def __init__(
        self,
        config: NodeConfig,
        me: identity.Identity,
        journal: Journal,
        host: Host,
        blocks: BlockStore,
        bitswap: Bitswap,
        engines: Engines,
        nursery: trio.Nursery,
        policy: PolicyFile,
        door: Doorkeeper | None,
    ) -> None:
        """`nursery` is for what an effect begins; it ends with the node."""
        self.config = config
        self.me = me
        self.door = door
        self.journal = journal
        self.host = host
        self.blocks = blocks
        self.bitswap = bitswap
        self.nursery = nursery
        self.clock = Clock()
        self.audit_log = AuditLog(config.data_dir)
        self.changes = Changes()
        self.engines = engines
        kubo = KuboDaemon(config.ipfs_api) if config.ipfs_api else None
        private = host.is_private
        self.finding = Finder(config, host, self.addresses_of, self._is_kept)
        self.providing = Providing(config.provide, blocks.pins, self.finding.provide, is_private=private)
        stored, to_kubo = self.providing.stored, config.data_dir / "kubo"
        self.results = ResultStore(blocks, to_kubo, config.result_retention, kubo, stored, is_private=private)
        rate = FetchRate()
        self.fetching = Fetching(host, blocks, bitswap, self.results, self, rate, self.finding.providers)
        access = access_of(config)
        ipfs = Ipfs(self.fetching.fetch_input, self.fetching.export)
        self.inputs = Inputs(ipfs, access, config.data_dir / "input-cache", rate)
        self.publishers = Publishers(self.results.add_result, access, config.data_dir / "published")
        self.caution = Caution(journal.problems, ended_well=journal.ended_well)
        self.guards = Guards(self.note_problem, lambda error: self.driver.fail(error))
        self.teller = Teller(config, journal.notices, self.clock, self.guards, self.note_hook)
        core = make_core(me, config, policy, self.inputs, door.roster if door else None)
        self.log_orders = LogOrders(config.data_dir / "log-orders", blocks.pins.__contains__)
        self.executor = self._make_executor()
        self.entering = Entering(
            me, engines.by_name, self._reservation, self.audit_log, allow_exec=config.allow_exec
        )
        self.strangers = Strangers()
        self.strangers.know(filter(None, map(bootstrap.peer_of, config.peers)))
        probe = Probe(policy.probe, policy.probe_url, self.note_hook)
        self.needs = MessageNeeds(core, journal, self.inputs, probe, self._keep_receipt_of)
        self.driver = Driver(core, journal, self.clock, self, self._send, self.needs.of_own_end)
        self.adverts = self._make_advertiser(core)
        self.peer_watch = PeerWatch(core, self.changes, self.tell)
        self.intake = Intake(self.driver, journal, self.needs, self.caution, self.audit_log, door)
        self.links = self._make_links()
        # Neighbours are to hear of other addresses, as they would of a neighbour that joined.
        self.reaching = Reaching(config, host, self._at_other_addresses, self.addresses_of)
        self.reaching.own_addresses.watch(self.links.moved)
        self.scheduling = OperatorScheduling(self.driver, journal, self.clock, self.changes)

    def _make_executor(self) -> Executor:
        return Executor(
            self.config.data_dir / "executions",
            self.me.peer_id,
            self.engines.by_name,
            self.inputs,
            self.publishers,
            lambda body: self.me.sign(RECEIPT_DOMAIN, body),
            self._keep_receipt,
            self.log_orders.add,
            self.tell,
            self.guards,
            self.caution,
            lambda execution, error: self.driver.set_aside(Compartment.EXECUTION, execution, error),
            self.engines.remove,
        )

    def _make_advertiser(self, core: Core) -> Advertiser:
        return Advertiser(
            self.config.name,
            protocols.spoken(deputy=self.config.deputy),
            self.me,
            self.host,
            self.journal,
            self.clock,
            core.table,
            self.tell,
            self.guards,
            self.nursery,
            self.strangers,
            self.changes,
            self.door,
        )

    def _make_links(self) -> Links:
        return Links(
            self.host,
            self.journal.journal_id,
            self.journal,
            deliver=self.intake.deliver,
            notify=self.peer_watch.on_link,
            addresses_of=self.adverts.addresses_of,
            guards=self.guards,
            strangers=self.strangers,
            find=self.finding.peer,
        )

    # Events

    def tell(self, event: Event) -> bool:
        """Give an event to the core; whether it is in the journal.

        A journal that fails ends the node through `Driver.run`.
        """
        try:
            self.driver.apply(event)
        except JournalError:
            return False
        except (BadMessage, EventRefused) as exc:
            self.note_problem(Compartment.TASK, f"event {type(event).__name__}", exc)
        return True

    def note_problem(self, kind: Compartment, subject: str, error: Exception) -> None:
        """Keep for people what has failed; it goes on, or is tried again, by itself."""
        detail = "".join(traceback.format_exception(error))
        try:
            self.journal.problems.add(kind, subject, reason_of(error), detail, aside=False)
        except JournalError as exc:
            self.driver.fail(exc)

    def note_hook(self, name: str, reason: str) -> None:
        """Keep for people why a program or URL of the operator's failed."""
        self.journal.problems.add(Compartment.TASK, name, reason, aside=False)

    def forget_members(self, peers: Sequence[str]) -> None:
        """Go on without peers that are in the private network no more."""
        for peer in peers:
            self.adverts.forget(peer)
        self.tell(MembersLeft(tuple(peers)))

    def _at_other_addresses(self) -> None:
        self.tell(NeighbourJoined())

    # Effects

    def start(self, action: Start) -> None:
        self.executor.start(action)

    def kill(self, action: Kill) -> None:
        self.executor.kill(action)

    def advertise(self, action: Advertise) -> None:
        self.adverts.advertise(action)

    def ask_here(self, ask: Ask) -> None:
        ask_here = partial(self._ask_here, ask)
        self.guards.start_soon(self.nursery, Compartment.EXECUTION, ask.execution, ask_here)

    async def _ask_here(self, ask: Ask) -> None:
        self.tell(await self.needs.of_ask(self.me.peer_id, ask))

    def job_changed(self, job: str) -> None:
        self.changes.note(job)

    def handled(self) -> None:
        self.changes.note_any()

    def _send(self, peer: str, message: Message) -> None:
        self.links.send(peer, codec.encode(message))
        self.strangers.expect(peer, ANSWERS.get(type(message), 0))

    def unsend(self, peers: set[str]) -> None:
        self.links.unsend(peers)

    def tell_set_aside(self, reservation: Reservation, reason: str) -> None:
        """Sign and send the receipt of an execution that this node could not go on with."""
        assert reservation.award is not None
        now_ms = int(time.time() * 1000)
        receipt = receipts.given_up(reservation, reservation.award, self.me.peer_id, reason, now_ms)
        body = codec.encode(receipt)
        signed = Signed(body=body, signature=self.me.sign(RECEIPT_DOMAIN, body))
        ended = Ended(execution=reservation.execution, round=reservation.round, receipt=signed)
        if reservation.owner == self.me.peer_id:
            self.tell(self.needs.of_own_end(ended))
            return
        with suppress(OutboxFull, CannotSend):
            self.links.send(reservation.owner, codec.encode(ended))

    async def resume(self) -> None:
        """Go on from the journal, and clean up after executions that it does not know."""
        reservations = {
            reservation.execution
            for reservation in self.journal.reservations(lambda name, error: None)
            if reservation.award is not None
        }
        # An execution that is set aside may be had tried again.
        reservations |= self.journal.problems.aside(Compartment.EXECUTION)
        await self.engines.reap(reservations)
        await self.executor.clear(reservations)
        self.driver.resume()
        scheduling = self.scheduling.before_restart()
        if scheduling is not None:
            self.tell(scheduling)

    # Questions between the parts

    def peers_needed(self) -> set[str]:
        """The peers whose connections must stay."""
        return self.links.wanted | set(self.reaching.relays())

    def _is_kept(self, peer: str) -> bool:
        return peer in self.peers_heard() or peer in self.peers_needed()

    def addresses_of(self, peer: str) -> Sequence[str]:
        return self.adverts.addresses_of(peer)

    def peers_heard(self) -> Collection[str]:
        return self.adverts.peers_heard()

    def owners(self) -> list[str]:
        """The peers for which something runs here."""
        return [reservation.owner for reservation in self.driver.core.worker.held]

    def _keep_receipt(self, signed: bytes) -> str:
        """The CID of a receipt, which is stored where there is room."""
        try:
            cid = self.results.add_receipt(signed)
        except OSError as exc:
            log.warning("a receipt is not kept: %s", reason_of(exc))
            return cids.make(signed, "dag-cbor")
        self.bitswap.blocks_added()
        return cid

    def _keep_receipt_of(self, peer: str, signed: bytes) -> None:
        """Store the receipt of a peer, which has done a work and is no stranger."""
        self._keep_receipt(signed)
        self.strangers.know([peer])

    def log_files_for(self, peer: str, execution: str) -> tuple[Path, Path, Sequence[int]] | None:
        reservation = self._reservation(execution)
        if reservation is None or not owner_tracking.may_read(reservation, peer):
            return None
        return self.executor.log_files(execution)

    def _reservation(self, execution: str) -> Reservation | None:
        return self.driver.core.worker.reservations.get(execution)

    # Tasks

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs the parts until cancelled; started once it has gone on from the journal.

        Raises `JournalError` when the journal cannot be written any more.
        """
        # A peer that is gone is told nothing any more.
        self.host.watch(lambda event: self.changes.note_any())
        async with trio.open_nursery() as nursery:
            await nursery.start(self.executor.run)
            await nursery.start(self.links.run)
            nursery.start_soon(self.driver.run)
            keep_running = self.guards.keep_running
            nursery.start_soon(keep_running, "relays", self.reaching.run)
            nursery.start_soon(keep_running, "block store", self.results.run)
            nursery.start_soon(keep_running, "finding", self.finding.run)
            nursery.start_soon(keep_running, "providing", self.providing.run)
            nursery.start_soon(keep_running, "loop lag", self.driver.counts.watch_lag)
            await self.resume()
            watch_peers = partial(self.peer_watch.run, self.links, self.strangers)
            nursery.start_soon(keep_running, "failure detector", watch_peers)
            task_status.started()

    def own_jobs(self) -> list[JobRecord]:
        """The jobs that this node owns, the newest first."""
        return self.journal.jobs_of(self.me.peer_id, jobs.JOBS_MAX)

    async def serve_logs(self, stream: Stream) -> None:
        await logs.serve(stream, self.log_files_for)

    async def say_goodbye(self) -> None:
        """End what runs for others, tell their owners, and tell everybody not to ask any more."""
        self.tell(Leaving())
        with trio.move_on_after(PROGRAMS_END_S_MAX):
            while self.executor.executions:
                await self.changes.any().wait()
        await self.send_what_waits()

    async def send_what_waits(self) -> None:
        """Wait until what is to be said to the others is on its way, for some time at most."""
        with trio.move_on_after(SHUTDOWN_TIMEOUT_S):
            while self._has_to_say():
                await self.changes.any().wait()

    def _has_to_say(self) -> bool:
        told = not any(map(self.links.waiting, self.host.connected()))
        return bool(self.adverts.on_their_way or not told)
