"""Peers of whole nodes that lie: real links and a real identity, and words of every kind, by seed.

A liar bids for what it is asked, takes awards, and runs nothing. Besides, it sends at random what it has
heard, or honest nodes have, or what it makes up of ids that there are, with some fields changed; and
adverts of any capacity.

Left out is what the design lets a member of a job do, whose word on ownership counts for now: see
`out_of_reach`. So a liar throws away the copies that make it a deputy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import trio

from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import mandate
from p2pnode.core.records.events import Received
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, Mandate, job_id
from p2pnode.core.wire.messages import (
    Adopt,
    Advert,
    Ask,
    Award,
    Bid,
    Ended,
    Message,
    Owned,
    Receipt,
    Replicate,
    Update,
    decode_message_untrusted,
)
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.spec import JobSpec, Resources
from p2pnode.core.wire.states import Fault, Stage
from p2pnode.faults.guards import Guards
from p2pnode.identity import Identity
from p2pnode.network.link_owner import CannotSend, OutboxFull
from p2pnode.network.links import Links
from p2pnode.network.protocols.adverts import serve_table
from p2pnode.network.strangers import Strangers
from p2pnode.network.streams import NetworkError
from p2pnode.node import advertiser
from p2pnode.node.journal import Journal
from tests.fuzz.made_up_messages import MessageMaker

from .specs import sim_offer, sim_spec, valid
from .wires import SimHost

if TYPE_CHECKING:
    from .shell import ShellNode, ShellSimulation

# Heard messages that a liar remembers, to say them again.
HEARD_MAX = 200
JOIN_INTERVAL_S = 1.0
ADVERT_INTERVAL_S = 10.0
# Between two lies; about as many as an honest node sends while it places a job.
LIE_INTERVAL_S = (0.05, 1.5)
# Then it lies no more: what it has begun is over before the horizon.
LIES_UNTIL_S = 150.0
AMOUNTS = (0, 1, 1000, 4000, 10**9, 2**53 - 1)


def out_of_reach(node: ShellNode, event: Any, sim: ShellSimulation) -> bool:
    """Is it the word of a liar on an honest job of which it is a member, and may act some day?"""
    match event:
        case Received(peer, Replicate(job=id) | Owned(job=id) | Adopt(job=id)):
            if peer not in sim.liars or id not in sim.submitted:
                return False
            members = mandate.read(event.message.mandate).members
            return peer in members
    return False


class Liar:
    def __init__(self, sim: ShellSimulation, rng: random.Random, directory: Path) -> None:
        self.identity = Identity(rng.randbytes(32))
        self.peer = self.identity.peer_id
        self._sim = sim
        self._random = rng
        self._directory = directory
        self._links: Links | None = None
        self._heard: list[Message] = []
        self._asked: dict[str, JobSpec] = {}
        self._charters: dict[str, Mandate] = {}
        self.awards: dict[str, tuple[str, Award, str]] = {}
        self._jobs: dict[str, str] = {}
        self._number = 0
        self._advert: Signed | None = None
        self._maker = MessageMaker(self._records, lambda: [*sim.nodes, self.peer], lambda peer: self.identity)

    def _records(self) -> list[JobRecord]:
        """The jobs of all honest nodes: a liar knows more than it could have heard."""
        cores = [node.core for node in self._sim.nodes.values() if node.alive]
        owned = [job.record for core in cores for job in core.jobs.values()]
        return owned + [copy for core in cores for copy in core.replication.copies.values()]

    async def run(self) -> None:
        """Lie for a while, and then stay silent or vanish."""
        self._directory.mkdir()
        journal = Journal(self._directory)
        async with trio.open_nursery() as nursery:
            host = SimHost(self._sim.wires, self.peer, nursery)
            serve_table(host, lambda peer: self._table())  # type: ignore[arg-type]
            self._links = Links(
                host,  # type: ignore[arg-type]
                journal.journal_id,
                journal,
                deliver=lambda peer, number, data: self._hear(journal, peer, number, data),
                notify=lambda event: None,
                addresses_of=lambda peer: (),
                guards=Guards(self._fail, self._end),
                strangers=Strangers(lambda: 0.0),
            )
            self._sim.wires.hosts[self.peer] = host
            await nursery.start(self._links.run)
            nursery.start_soon(self._join, host)
            nursery.start_soon(self._advertise)
            with trio.move_on_at(LIES_UNTIL_S):
                await self._lie()
            if self._random.random() < 0.5:
                self._sim.note(f"{self.peer} vanishes")
                self._sim.troubled_at = self._sim.now
                self._sim.wires.end(host, silent=self._random.random() < 0.5)
                nursery.cancel_scope.cancel()
        journal.close()

    @staticmethod
    def _fail(kind: object, subject: str, error: Exception) -> None:
        raise AssertionError(f"the liar itself failed: {kind} {subject}") from error

    @staticmethod
    def _end(error: Exception) -> None:
        raise AssertionError("the liar itself failed") from error

    async def _join(self, host: SimHost) -> None:
        while True:
            for peer in self._sim.nodes:
                if peer not in host.connected():
                    try:
                        await host.connect(peer, (), JOIN_INTERVAL_S)
                    except NetworkError as exc:
                        self._sim.note(f"{self.peer}: {exc}")
            await trio.sleep(JOIN_INTERVAL_S)

    # Adverts

    def _table(self) -> Iterator[tuple[Signed, int]]:
        if self._advert is not None:
            yield self._advert, self._random.choice([1, 60_000, 2**40])

    async def _advertise(self) -> None:
        """Offer now this and now that; mostly with a number that counts."""
        rng, sim = self._random, self._sim
        while True:
            self._number += rng.choice([0, 1, 1, 1, 5])
            total = Resources(**{name: rng.choice(AMOUNTS) for name in Resources.__struct_fields__[:3]})
            wild = {"total": total, "free": rng.choice([total, Resources()]), "price_micros": 0}
            capacity = codec.replace(sim_offer(rng), sources=("inline", "ipfs"), engines=("wasm",))
            advert = Advert(
                peer=self.peer,
                number=int(sim.now * 1000) + self._number,
                issued_ms=int((sim.now + sim.clock_offset_s) * 1000) + rng.choice([0, 0, 0, 10**6, -(10**6)]),
                ttl_ms=rng.choice([90_000, 90_000, 1, 2**40]),
                name="liar",
                version="0",
                capacity=codec.replace(capacity, **wild) if rng.random() < 0.5 else capacity,
                addresses=(),
                leaving=rng.random() < 0.05,
            )
            body = codec.encode(advert)
            self._advert = Signed(body=body, signature=self.identity.sign(advertiser.DOMAIN, body))
            data = codec.encode(self._advert)
            for other in sim.nodes:
                sim.wires.carry(self.peer, other, lambda other=other, data=data: self._arrive(other, data))  # type: ignore[misc]
            await trio.sleep(rng.uniform(0.5, ADVERT_INTERVAL_S))

    def _arrive(self, other: str, data: bytes) -> None:
        node = self._sim.nodes[other]
        if node.shell is not None:
            node.shell.adverts.heard(data, self.peer)

    # Messages

    async def _hear(self, journal: Journal, peer: str, number: int, data: bytes) -> None:
        """Take in a message, and answer it as a peer would that means to run what it is asked."""
        await trio.lowlevel.checkpoint()
        message = decode_message_untrusted(data)
        self._heard = [*self._heard[-HEARD_MAX:], message]
        if isinstance(message, Replicate):
            raise BadMessage("looks after no jobs")
        journal.mark_received(peer, number)
        rng = self._random
        match message:
            case Ask():
                self._jobs[message.execution] = message.job
                price, valid_ms = rng.choice([0, 0, 10**6]), rng.choice([0, 10_000, 60_000])
                bid = Bid(
                    execution=message.execution,
                    round=message.round,
                    valid_ms=valid_ms,
                    price_micros=price,
                    start_ms=0,
                )
                self._say(peer, bid)
            case Award():
                self.awards[message.execution] = (peer, message, self._jobs.get(message.execution, ""))
                stage = rng.choice(list(Stage))
                if rng.random() < 0.8:
                    self._say(
                        peer,
                        Update(
                            execution=message.execution,
                            round=message.round,
                            sequence=1,
                            stage=stage,
                            detail="",
                        ),
                    )
            case Bid() if message.execution in self._asked and rng.random() < 0.7:
                spec = self._asked[message.execution]
                award = Award(
                    execution=message.execution,
                    round=message.round,
                    replica=0,
                    mandate=self._charters[message.execution],
                    spec=spec,
                    changed_by=None,
                )
                self._say(peer, award)

    async def _lie(self) -> None:
        rng, sim = self._random, self._sim
        while True:
            await trio.sleep(rng.uniform(*LIE_INTERVAL_S))
            to = rng.choice(list(sim.nodes))
            chance = rng.random()
            if chance < 0.15:
                self._ask(to)
            elif chance < 0.25 and self.awards:
                self._end_one()
            else:
                kind = rng.choice(get_args(Message))
                alike = [one for one in (*self._heard, *sim.said) if isinstance(one, kind)]
                pattern = rng.choice(alike) if alike and rng.random() < 0.7 else None
                message = self._maker.message(rng, pattern)
                if message is not None:
                    self._say(to, message)

    def _ask(self, to: str) -> None:
        """Ask for room for a job of its own: what an honest peer runs of it ends by itself."""
        rng = self._random
        spec = valid(sim_spec(rng, 60), rng)
        nonce = rng.randbytes(NONCE_SIZE_BYTES)
        execution, job = f"e-{rng.getrandbits(128):032x}", job_id(self.peer, nonce)
        self._asked[execution] = spec
        charter = mandate.first_charter(job, nonce, self.peer, spec, ANYBODY)
        self._charters[execution] = mandate.chartered(self.identity, charter)
        need = requirements_of(spec)
        self._say(
            to,
            Ask(
                execution=execution,
                round=1,
                job=job,
                spec_hash=codec.digest(spec),
                priority=spec.priority,
                requirements=need,
            ),
        )

    def _end_one(self) -> None:
        """Say of an award how it ended, in a receipt that is signed and partly wrong."""
        rng = self._random
        peer, award, job = rng.choice(list(self.awards.values()))
        receipt = Receipt(
            job=job,
            execution=award.execution,
            round=award.round,
            replica=award.replica,
            peer=self.peer,
            requester=peer,
            spec_hash=codec.digest(award.spec) if rng.random() < 0.5 else "0" * 64,
            program="",
            inputs=(),
            exit_code=rng.choice([None, 0, 1]),
            fault=rng.choice([None, *Fault]),
            reason="",
            result_cid=None,
            started_ms=0,
            ended_ms=0,
            cpu_ms=2**50,
            memory_bytes=0,
        )
        body = codec.encode(receipt)
        signed = Signed(body=body, signature=self.identity.sign(RECEIPT_DOMAIN, body))
        self._say(peer, Ended(execution=award.execution, round=award.round, receipt=signed))

    def _say(self, to: str, message: Message) -> None:
        assert self._links is not None
        self._sim.note(f"{self.peer} lies to {to}: {message}")
        with suppress(OutboxFull, CannotSend):
            self._links.send(to, codec.encode(message))
