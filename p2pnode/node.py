"""One node, put together from its parts: what the core decides is carried out here.

    adverts, messages --> Driver (core + journal) --> links, gossip, runner
    the local door ----> Service ----^

Everything here is wiring; `serving` opens the parts and ends them. Decisions are in `core`; no
part knows of the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import trio

from p2pnode import identity, job_lists, log_streams, machine
from p2pnode.advertiser import Advertiser
from p2pnode.config import NodeConfig
from p2pnode.core import holdings, jobfile, wire
from p2pnode.core.events import (
    Advertise,
    Event,
    Kill,
    Leaving,
    OfferChanged,
    PeerBack,
    PeerLost,
    Received,
    Start,
    TakingChanged,
)
from p2pnode.core.images import ImageRule
from p2pnode.core.internet import AllowedHost
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.lending_records import LoanState
from p2pnode.core.lifecycle import LIVE, ExecutionState, JobRecord
from p2pnode.core.messages import (
    HOLDINGS_MAX,
    Ask,
    Command,
    Ended,
    Keep,
    Offer,
    Orphan,
    Owned,
    Receipt,
    Taking,
    WhoOwns,
    decode_message_untrusted,
)
from p2pnode.core.participant import Participant
from p2pnode.core.spec import JobSpec, NetworkType, Resources
from p2pnode.core.wire import BadMessage
from p2pnode.data.inputs import Access, Inputs, Ipfs
from p2pnode.data.local import AllowedPath
from p2pnode.data.publishers import Publishers
from p2pnode.data.s3_client import S3Account
from p2pnode.driver import Clock, Driver
from p2pnode.engines import gpus
from p2pnode.engines.docker import DockerEngine
from p2pnode.engines.wasm import WasmEngine
from p2pnode.engines.workload import Engine
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import unixfs
from p2pnode.ipfs.bitswap import FETCH_SIZE_BYTES_MAX, Bitswap
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import CannotExport, export
from p2pnode.ipfs.keeper import Keeper
from p2pnode.ipfs.kubo import KuboDaemon
from p2pnode.network.host import Host
from p2pnode.network.links import LinkDown, LinkEvent, Links, LinkSuspect, LinkUp, OutboxFull, PeerForgot
from p2pnode.network.streams import NetworkError, Stream
from p2pnode.runner import Runner
from p2pnode.store import Store, StoreError

log = logging.getLogger(__name__)

# Engines come and go rarely; Docker answers this question in 2 ms.
ENGINES_LOOK_INTERVAL_S = 5.0
# A peer that is restarted is back within 5 s; one that is not has died (DESIGN: links).
PEER_LOST_AFTER_S = 6.0
LINKS_LOOK_INTERVAL_S = 0.5
# A link that falls silent is suspected after 4 s and down after 6 (core.link): it is lost 2 s later, when
# dialling it anew has failed, too.
SUSPICION_COUNTS_S = 4.0
# At the end: to kill what runs, sign its receipts and say goodbye.
SHUTDOWN_TIMEOUT_S = 3.0
SHUTDOWN_LOOK_S = 0.02
CONNECT_TIMEOUT_S = 5.0
EMPTY_LOOK_INTERVAL_S = 0.2


class Node:
    """A running node's parts, and the effects that the driver asks for."""

    def __init__(
        self,
        config: NodeConfig,
        me: identity.Identity,
        store: Store,
        host: Host,
        blocks: BlockStore,
        bitswap: Bitswap,
        nursery: trio.Nursery,
    ) -> None:
        """`nursery` is for what an effect begins; it ends with the node."""
        self.config = config
        self.me = me
        self.store = store
        self.host = host
        self.blocks = blocks
        self.bitswap = bitswap
        self.nursery = nursery
        self.clock = Clock()
        self.engines: Mapping[str, Engine] = {}
        if config.compute:
            self.docker = DockerEngine(
                me.peer_id,
                hosts=tuple(map(AllowedHost.parse, config.allow_hosts)),
                rules=tuple(map(ImageRule.parse, config.image_rules)),
            )
            self.engines = {"wasm": WasmEngine(config.data_dir / "wasm-cache"), "docker": self.docker}
        kubo = KuboDaemon(config.ipfs_api) if config.ipfs_api else None
        self.keeper = Keeper(blocks, config.data_dir / "kubo", config.result_retention, kubo)
        access = _access(config)
        self.inputs = Inputs(
            Ipfs(self._fetch_input, self._export, (BlockUnavailable, BadMessage, CannotExport, NetworkError)),
            access,
            config.data_dir / "input-cache",
        )
        self.publishers = Publishers(
            self.keeper.add_result, (BadMessage, unixfs.CannotAdd), access, config.data_dir / "published"
        )
        core = Participant(me.peer_id, _why_not_spec, config.preempt)
        self.runner = Runner(
            config.data_dir / "executions",
            me.peer_id,
            self.engines,
            self.inputs,
            self.publishers,
            lambda body: me.sign(identity.RECEIPT_DOMAIN, body),
            self._keep_receipt,
            self.tell,
        )
        self.driver = Driver(
            core, store, self.clock, self, self._send, OutboxFull, lambda data: cids.make(data, "dag-cbor")
        )
        self.adverts = Advertiser(
            config.name, me, host, store, self.clock, core.table, self.tell, self.driver.fail, nursery
        )
        self.links = Links(
            host,
            store.store_id,
            store,
            deliver=self._deliver,
            notify=self._link_event,
            addresses_of=self.adverts.addresses_of,
        )
        # Told whenever a job has changed: those who follow its history wait for it.
        self.changed: dict[str, trio.Event] = {}
        # It ends once nothing runs here any more.
        self.leaves = False
        self._kept: frozenset[str] = frozenset()
        # Of peers whose links are down, since when they count as silent; and when others were suspected.
        self._down_since: dict[str, float] = {}
        self._suspected: dict[str, float] = {}

    # Events

    def tell(self, event: Event) -> None:
        """Give an event to the core; a journal that fails ends the node through `Driver.run`."""
        with suppress(StoreError):
            self.driver.apply(event)

    async def _deliver(self, peer: str, sequence: int, payload: bytes) -> None:
        message = decode_message_untrusted(payload)
        event = Received(peer, message)
        core = self.driver.core
        if isinstance(message, Keep | Owned | WhoOwns | Orphan | Command):
            held = message.job in core.jobs or message.job in core.custody.copies
            event = Received(peer, message, record=None if held else self.store.job(message.job))
        if isinstance(message, Ask) and message.requirements.directories:
            lacks = await self.inputs.lacks(message.requirements.directories)
            event = Received(peer, message, lacks=lacks)
        if isinstance(message, Ended):
            body = identity.verify_untrusted(peer, identity.RECEIPT_DOMAIN, message.receipt)
            receipt = wire.decode_untrusted(body, Receipt)
            signed = wire.encode(message.receipt)
            cid = cids.make(signed, "dag-cbor")
            job = core.owner_of(message.execution)
            one = job.record.executions[message.execution] if job else None
            # Of whom it was given to, and until it has ended: nobody may fill the store with receipts.
            if one is not None and one.peer == peer and one.state in (*LIVE, ExecutionState.LOST):
                self._keep_receipt(signed)
            event = Received(peer, message, receipt, cid)
        self.driver.apply(event, (peer, sequence))

    def _link_event(self, event: LinkEvent) -> None:
        match event:
            case PeerForgot(peer):
                self.tell(PeerLost(peer, "it has lost its journal", forgot=True))
            case LinkUp(peer):
                self._suspected.pop(peer, None)
                if peer in self.driver.core.lost:
                    self.tell(PeerBack(peer))
            case LinkSuspect(peer):
                self._suspected[peer] = trio.current_time()
            case LinkDown(peer):
                # Silence counts from its beginning; a connection that was closed only from then on.
                now = trio.current_time()
                silent = now - self._suspected.pop(peer, -inf) <= SUSPICION_COUNTS_S
                self._down_since[peer] = now - (SUSPICION_COUNTS_S if silent else 0.0)

    # Effects

    def start(self, action: Start) -> None:
        self.runner.start(action)

    def kill(self, action: Kill) -> None:
        self.runner.kill(action)

    def advertise(self, action: Advertise) -> None:
        self.adverts.advertise(action)

    def ask_here(self, ask: Ask) -> None:
        self.nursery.start_soon(self._ask_here, ask)

    async def _ask_here(self, ask: Ask) -> None:
        lacks = await self.inputs.lacks(ask.requirements.directories)
        self.tell(Received(self.me.peer_id, ask, lacks=lacks))

    def job_changed(self, job: str) -> None:
        self.changed.pop(job, trio.Event()).set()

    def _send(self, peer: str, payload: bytes) -> None:
        self.links.send(peer, payload)

    async def resume(self) -> None:
        """Go on from the journal, and clean up after executions that it does not know."""
        loans = {
            loan.execution
            for loan in self.store.loans()
            if loan.award is not None and loan.state is not LoanState.ENDING
        }
        await trio.to_thread.run_sync(self.runner.clear, loans)
        if self.config.compute and await self.docker.available() is None:
            for container in await self.docker.reap(loans):
                log.info("removed the container %s, which nobody waits for", container)
        self.driver.resume()
        taking = Taking(self.store.meta("taking") or Taking.ALL)
        if taking is not Taking.ALL:
            drained_at = self.store.meta("drained_at")
            self.tell(TakingChanged(taking, float(drained_at) if drained_at else None))

    # What the parts ask of each other

    def holders(self, first: Sequence[str]) -> list[str]:
        """The connected peers to ask for blocks, those likely to have them first."""
        connected = self.host.connected()
        return [peer for peer in dict.fromkeys([*first, *connected]) if peer in connected]

    async def fetch(
        self,
        cid: str,
        first: Sequence[str],
        progress: Callable[[int, int], None] = lambda blocks, size: None,
        size_bytes_max: int = FETCH_SIZE_BYTES_MAX,
        listing: bool = False,
    ) -> None:
        """Bring all blocks below a CID into the store, from `first` and from all connected peers.

        With `listing` only a directory's own blocks.
        """
        for peer in first:
            with suppress(NetworkError):
                await self.join(peer, self.adverts.addresses_of(peer), CONNECT_TIMEOUT_S)
        await self.bitswap.fetch_dag(
            cid, self.holders(first), progress=progress, size_bytes_max=size_bytes_max, listing=listing
        )

    async def join(self, peer: str, addresses: Sequence[str], timeout_s: float) -> None:
        """Connect with a peer; raises `NetworkError`."""
        if peer != self.me.peer_id:
            await self.host.connect(peer, addresses, timeout_s)

    async def _fetch_input(self, cid: str, size_bytes_max: int, progress: Callable[[int], None]) -> None:
        owners = [loan.owner for loan in self.driver.core.lending.held]
        try:
            await self.fetch(cid, owners, lambda _, size_bytes: progress(size_bytes), size_bytes_max)
        except BlockUnavailable as exc:
            if not self.keeper.has_kubo:
                raise
            try:
                await self.keeper.fetch_from_kubo(cid, progress, size_bytes_max)
            except BlockUnavailable as from_kubo:
                raise BlockUnavailable(cid, f"{exc.reason}; {from_kubo.reason}") from exc

    def _export(self, cid: str, path: Path, size_bytes_max: int) -> None:
        export(cid, self.get_block, path, size_bytes_max=size_bytes_max)

    def get_block(self, cid: str) -> bytes:
        data = self.blocks.get(cid)
        if data is None:
            raise BlockUnavailable(cid, "it is not in this node's store")
        return data

    def _keep_receipt(self, signed: bytes) -> str:
        cid = self.keeper.add_receipt(signed)
        self.bitswap.blocks_added()
        return cid

    def log_files_for(self, peer: str, execution: str) -> tuple[Path, Path] | None:
        loan = self.driver.core.lending.loans.get(execution)
        if loan is None or peer not in (loan.owner, *loan.deputies):
            return None
        return self.runner.log_files(execution)

    # Tasks

    async def watch_engines(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tells the core what can be lent, whenever that changes."""
        offered: Offer | None = None
        while True:
            offer = await self._offer()
            if offer != offered:
                offered = offer
                self.tell(OfferChanged(offer))
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(ENGINES_LOOK_INTERVAL_S)

    async def _offer(self) -> Offer:
        loans = self.driver.core.lending.held
        lent = sum(loan.requirements.resources.disk_bytes for loan in loans)
        total = await trio.to_thread.run_sync(machine.lendable, self.config.data_dir, lent)
        if total is None:
            log.warning("the disk of %s is nearly full: nothing is lent", self.config.data_dir)
        available = [
            name for name, engine in self.engines.items() if total and await engine.available() is None
        ]
        networks = {NetworkType.NONE}.union(*(self.engines[name].networks() for name in available))
        total = total or Resources(cpu_millis=0, memory_bytes=0)
        cards = await self.docker.gpus() if "docker" in available else ()
        total = wire.replace(total, gpus=len(cards))
        return Offer(
            engines=tuple(available),
            publishers=self.publishers.types,
            sources=self.inputs.types,
            networks=tuple(sorted(networks)),
            labels=machine.labels(self.config.name, {**gpus.labels(cards), **self.config.labels}),
            total=total,
            free=total,
            holds=await self._holds(available),
        )

    async def _holds(self, available: Sequence[str]) -> tuple[int, ...]:
        """Marks of the inputs and images that need no fetching: those of late first, then all others."""
        cached = await self.docker.cached_images() if "docker" in available else ()
        images = {holdings.image_mark(image) for image in cached}
        used = self.driver.core.lending.marks_used
        roots = await trio.to_thread.run_sync(self.keeper.newest_roots, HOLDINGS_MAX)
        return holdings.told(
            [mark for mark in used if mark in images] + sorted(images),
            [mark for mark in used if mark not in images],
            map(holdings.cid_mark, roots),
        )

    async def until_empty(self) -> None:
        """Until this node is told to leave and nothing runs here any more."""
        while not self.leaves or self.driver.core.lending.held:  # noqa: ASYNC110
            await trio.sleep(EMPTY_LOOK_INTERVAL_S)

    async def watch_links(self) -> None:
        """Keeps a link to each peer whose silence concerns this node; reports those that stay away."""
        while True:
            wanted = self.driver.core.partners
            for peer in sorted(wanted - self._kept):
                self.links.keep(peer)
            for peer in sorted(self._kept - wanted):
                self.links.release(peer)
                self._down_since.pop(peer, None)
            self._kept = wanted
            now = trio.current_time()
            for peer in sorted(wanted):
                if self.links.is_up(peer):
                    self._down_since.pop(peer, None)
                elif now - self._down_since.setdefault(peer, now) >= PEER_LOST_AFTER_S:
                    # Told once; until it is heard again it stays lost.
                    self._down_since[peer] = inf
                    self.tell(PeerLost(peer, f"no sign of it for {PEER_LOST_AFTER_S:.0f} s"))
            await trio.sleep(LINKS_LOOK_INTERVAL_S)

    def own_jobs(self) -> list[JobRecord]:
        """The jobs that this node owns, the newest first."""
        records = self.store.jobs(job_lists.JOBS_MAX)
        return [record for record in records if record.owner == self.me.peer_id]

    async def serve_logs(self, stream: Stream) -> None:
        await log_streams.serve(stream, self.log_files_for)

    async def say_goodbye(self) -> None:
        """End what runs for others, tell their owners, and tell everybody not to ask any more."""
        with trio.move_on_after(SHUTDOWN_TIMEOUT_S):
            self.tell(Leaving())
            while self._has_to_say():  # noqa: ASYNC110
                await trio.sleep(SHUTDOWN_LOOK_S)

    def _has_to_say(self) -> bool:
        told = not any(map(self.links.waiting, self.host.connected()))
        return bool(self.runner.executions or self.adverts.on_their_way or not told)


def _access(config: NodeConfig) -> Access:
    """What jobs may reach of this node's surroundings."""
    return Access(
        paths=tuple(map(AllowedPath.parse, config.allow_paths)),
        hosts=tuple(map(AllowedHost.parse, config.allow_hosts)),
        s3=S3Account.of_environment(os.environ, config.s3_buckets),
    )


def _why_not_spec(spec: JobSpec) -> str | None:
    try:
        jobfile.check(spec)
    except JobFileError as exc:
        return f"the job is not valid: {exc.problems[0].message}"
    return None
