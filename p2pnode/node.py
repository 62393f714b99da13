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
from pathlib import Path

import trio

from p2pnode import identity, job_lists, log_streams
from p2pnode.advertiser import Advertiser
from p2pnode.config import NodeConfig
from p2pnode.core import jobfile, wire
from p2pnode.core.events import (
    Advertise,
    Event,
    Kill,
    Leaving,
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
    Ask,
    Command,
    Ended,
    Keep,
    Orphan,
    Owned,
    Receipt,
    Taking,
    WhoOwns,
    decode_message_untrusted,
)
from p2pnode.core.participant import Participant
from p2pnode.core.spec import JobSpec
from p2pnode.core.wire import BadMessage
from p2pnode.data.inputs import Access, Inputs, Ipfs
from p2pnode.data.local import AllowedPath
from p2pnode.data.publishers import Publishers
from p2pnode.data.s3_client import S3Account
from p2pnode.driver import Clock, Driver
from p2pnode.engines.docker import DockerEngine
from p2pnode.engines.wasm import WasmEngine
from p2pnode.engines.workload import Engine
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import unixfs
from p2pnode.ipfs.bitswap import FETCH_SIZE_BYTES_MAX, Bitswap
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import ENTRIES_MAX, CannotExport, export
from p2pnode.ipfs.keeper import Keeper
from p2pnode.ipfs.kubo import KuboDaemon
from p2pnode.network.host import Host
from p2pnode.network.links import Links, OutboxFull
from p2pnode.network.streams import NetworkError, Stream
from p2pnode.peer_watch import PeerWatch
from p2pnode.runner import Runner
from p2pnode.store import Store, StoreError
from p2pnode.trees import ENTRY_SIZE_BYTES_MIN

log = logging.getLogger(__name__)

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
        self.peer_watch = PeerWatch(core, self.tell)
        self.links = Links(
            host,
            store.store_id,
            store,
            deliver=self._deliver,
            notify=self.peer_watch.on_link,
            addresses_of=self.adverts.addresses_of,
            journal_failed=StoreError,
        )
        # Told whenever a job has changed: those who follow its history wait for it.
        self.changed: dict[str, trio.Event] = {}
        # It ends once nothing runs here any more.
        self.leaves = False

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
        # Files of no bytes take a block each as well.
        entries_max = min(ENTRIES_MAX, size_bytes_max // ENTRY_SIZE_BYTES_MIN + 1)
        export(cid, self.get_block, path, size_bytes_max=size_bytes_max, entries_max=entries_max)

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

    async def until_empty(self) -> None:
        """Until this node is told to leave and nothing runs here any more."""
        while not self.leaves or self.driver.core.lending.held:  # noqa: ASYNC110
            await trio.sleep(EMPTY_LOOK_INTERVAL_S)

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
