"""Peers that send garbage, break the protocols or lie, against real nodes that run a job."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pytest
import trio

from p2pnode import log_streams
from p2pnode.advertiser import DOMAIN as ADVERT_DOMAIN
from p2pnode.core import spec as specs
from p2pnode.core import wire
from p2pnode.core.matching import requirements_of
from p2pnode.core.messages import (
    Advert,
    Ask,
    Award,
    Bid,
    Cancel,
    Ended,
    Fault,
    Message,
    Offer,
    Receipt,
    Refusal,
    Refusing,
    Signed,
    Stage,
    Update,
    decode_message_untrusted,
)
from p2pnode.identity import RECEIPT_DOMAIN, Identity
from p2pnode.ipfs import bitswap
from p2pnode.network import links, pull
from p2pnode.network.streams import NetworkError

from . import network_support
from .network_support import new_identity
from .nodes import Node, alive, answers, know_each_other, known, running_nodes, until
from .programs import waiting_module, wasm_job

T = TypeVar("T")
WAIT_S = 20.0
GOSSIP = "/meshsub/1.1.0"
PROTOCOLS = (
    links.PROTOCOL,
    pull.PROTOCOL,
    log_streams.PROTOCOL,
    GOSSIP,
    "/ipfs/id/1.0.0",
    *bitswap.PROTOCOLS,
)
# What a stream is sent at once: nothing, noise, lengths that lie, and frames that are cut off.
GARBAGE = (
    b"",
    os.urandom(100_000),
    b"\0\0\0\0",
    b"\xff" * 12,
    b"\0\x10\0\0" + bytes(1000),
    b"\0\0\0\x04\xff\xff\xff\xff",
    b"\0\0\0\x64" + b"\x9f" * 100,
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + bytes(10),
    b"\x05hello",
)
ANOTHERS = "e-" + "0" * 32


@dataclass
class Network:
    """`a` submits and does not compute; `b` runs."""

    a: Node
    b: Node
    waiting: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("nodes")
    with running_nodes(directory) as nodes:
        a = nodes.start("a", "--no-compute")
        b = nodes.start("b", peers=(a,))
        know_each_other(a, b)
        module = directory / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(a, b, a.add(module))


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """The nodes are other processes; the enemy must go on meanwhile."""
    return await trio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)


@dataclass
class Enemy:
    """A peer of our making: a real host and real links, with no node behind them."""

    identity: Identity
    inner: network_support.Node
    heard: list[Message] = field(default_factory=list)

    @property
    def peer(self) -> str:
        return self.identity.peer_id

    async def meet(self, node: Node) -> str:
        peer = await in_thread(lambda: node.peer)
        self.inner.known[peer] = [await in_thread(lambda: node.address)]
        await self.inner.host.connect(peer, self.inner.known[peer], WAIT_S)
        return peer

    def send(self, peer: str, message: Message) -> None:
        self.inner.links.send(peer, wire.encode(message))

    async def hears(self, kind: type[T]) -> T:
        """Waits for the next message of a kind, and takes it."""
        await network_support.until(lambda: any(isinstance(one, kind) for one in self.heard), WAIT_S)
        found = next(one for one in self.heard if isinstance(one, kind))
        self.heard.remove(found)  # type: ignore[arg-type]
        return found

    def sign(self, domain: bytes, record: Any) -> Signed:
        body = wire.encode(record)
        return Signed(body=body, signature=self.identity.sign(domain, body))


@asynccontextmanager
async def open_enemy() -> AsyncIterator[Enemy]:
    identity = new_identity()
    async with network_support.open_node(identity) as inner:
        enemy = Enemy(identity, inner)

        async def hear(peer: str, payload: bytes) -> None:
            enemy.heard.append(decode_message_untrusted(payload))

        inner.on_message = hear
        yield enemy


async def running_job(network: Network) -> tuple[str, str]:
    job = await in_thread(network.a.submit, wasm_job(network.waiting))
    execution = await in_thread(network.a.execution, job, "Running")
    await in_thread(network.b.begun, execution["id"])
    return job, execution["id"]


async def completes(network: Network, job: str, execution: str) -> None:
    await in_thread(network.b.finish, execution)
    ended = await in_thread(network.a.ended, job)
    assert ended["state"] == "Completed", ended["reason"]
    assert [one["id"] for one in ended["executions"]] == [execution]
    assert alive(network.a) and alive(network.b)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_garbage_on_a_stream_costs_the_stream_only(network: Network, protocol: str) -> None:
    job, execution = await running_job(network)
    async with open_enemy() as enemy:
        for node in (network.a, network.b):
            peer = await enemy.meet(node)
            for garbage in GARBAGE:
                try:
                    await enemy.inner.host.connect(peer, enemy.inner.known[peer], WAIT_S)
                    stream = await enemy.inner.host.open_stream(peer, [protocol], WAIT_S)
                    await stream.write(garbage, WAIT_S)
                    await stream.close_write()
                    await stream.reset()
                except NetworkError:
                    # It is refused by now, which is its right.
                    continue
        for node in (network.a, network.b):
            assert await in_thread(answers, node)
        await completes(network, job, execution)


def a_spec(module: str, **changes: Any) -> specs.JobSpec:
    source = specs.Source(type="ipfs", params={"CID": module})
    task = specs.Task(
        engine=specs.WasmEngine(entry_module="/program.wasm"),
        inputs=(specs.InputSource(source=source, target="/program.wasm"),),
        resources=specs.Resources(cpu_millis=100, memory_bytes=64_000_000),
        results=(specs.ResultPath(name="outputs", path="/outputs"),),
    )
    return specs.JobSpec(type=specs.JobType.BATCH, task=task, **changes)


async def test_an_award_of_another_job_than_was_asked_about_is_refused(network: Network) -> None:
    job, execution = await running_job(network)
    asked = a_spec(network.waiting)
    async with open_enemy() as enemy:
        peer = await enemy.meet(network.b)
        id = "e-" + os.urandom(16).hex()
        ask = Ask(
            execution=id,
            job="j-" + "1" * 32,
            round=1,
            spec_hash=wire.digest(asked),
            priority=0,
            requirements=requirements_of(asked),
        )
        enemy.send(peer, ask)
        assert (await enemy.hears(Bid)).execution == id
        other = a_spec(network.waiting, name="something else")
        enemy.send(peer, Award(execution=id, round=1, replica=0, epoch=1, deputies=(), spec=other))
        refusal = await enemy.hears(Refusal)
        assert (refusal.execution, refusal.refusing) == (id, Refusing.UNSUITABLE)
        # The bid is gone with it.
        enemy.send(peer, Award(execution=id, round=1, replica=0, epoch=1, deputies=(), spec=asked))
        assert (await enemy.hears(Refusal)).refusing is Refusing.EXPIRED
        await completes(network, job, execution)


async def test_a_stranger_ends_cancels_and_hears_nothing_of_anothers_execution(network: Network) -> None:
    job, execution = await running_job(network)
    async with open_enemy() as enemy:
        b = await enemy.meet(network.b)
        enemy.send(b, Cancel(execution=execution, round=1, reason="because"))
        request = log_streams.LogsRequest(execution=execution, stdout_offset=0, stderr_offset=0, follow=False)
        assert [piece async for piece in log_streams.read(enemy.inner.host, b, request)] == []

        a = await enemy.meet(network.a)
        receipt = a_receipt(execution, enemy.peer, job)
        enemy.send(
            a, Update(execution=execution, round=1, sequence=99, stage=Stage.PUBLISHING, detail="mine")
        )
        enemy.send(a, Refusal(execution=execution, round=1, refusing=Refusing.BUSY, reason="no"))
        enemy.send(a, Ended(execution=execution, round=1, receipt=enemy.sign(RECEIPT_DOMAIN, receipt)))
        for peer in (a, b):
            await network_support.until(lambda peer=peer: not enemy.inner.links.waiting(peer), WAIT_S)
        found = await in_thread(network.a.job, job)
        assert [one["state"] for one in found["executions"]] == ["Running"]
        await completes(network, job, execution)


def a_receipt(execution: str, peer: str, job: str) -> Receipt:
    return Receipt(
        job=job,
        execution=execution,
        round=1,
        replica=0,
        peer=peer,
        requester=peer,
        spec_hash="0" * 64,
        program="",
        inputs=(),
        exit_code=0,
        fault=None,
        reason="",
        result_cid="bafkreigeud3jwrymzwafqso23lhb3246k4oy5ynntpn5f3f77tclflrcde",
        started_ms=1,
        ended_ms=2,
        cpu_ms=1,
        memory_bytes=1,
    )


def advertise(enemy: Enemy) -> None:
    """Offers a lot, under the label `liar`, to all who ask for the table."""
    resources = specs.Resources(cpu_millis=64_000, memory_bytes=10**12, disk_bytes=10**12)
    advert = Advert(
        peer=enemy.peer,
        number=int(time.time() * 1000),
        issued_ms=int(time.time() * 1000),
        ttl_ms=60_000,
        name="liar",
        version="1",
        offer=Offer(
            engines=("wasm",),
            publishers=("ipfs", "none"),
            sources=("ipfs",),
            networks=(specs.NetworkType.NONE,),
            labels={"liar": "yes"},
            total=resources,
            free=resources,
        ),
        addresses=tuple(enemy.inner.host.addresses()),
    )
    signed = enemy.sign(ADVERT_DOMAIN, advert)
    pull.serve_table(enemy.inner.host, lambda: [(signed, 60_000)])


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("an unsigned receipt", "sent a receipt that does not count: not signed by {peer}"),
        ("the receipt of another execution", "sent a receipt that is not about this execution"),
        ("silence", "did not confirm its award within 5 s"),
    ],
)
async def test_an_execution_on_a_peer_that_lies_is_lost_with_a_reason(
    network: Network, lie: str, reason: str
) -> None:
    constraints = [{"Key": "liar", "Operator": "=", "Values": ["yes"]}]
    async with open_enemy() as enemy:
        advertise(enemy)
        a = await enemy.meet(network.a)
        await in_thread(until, "it is known", lambda: enemy.peer in known(network.a))
        job = await in_thread(network.a.submit, wasm_job(network.waiting, Constraints=constraints))
        ask = await enemy.hears(Ask)
        bid = Bid(execution=ask.execution, round=ask.round, valid_ms=10_000, price_micros=0, start_ms=0)
        enemy.send(a, bid)
        award = await enemy.hears(Award)
        signed = enemy.sign(RECEIPT_DOMAIN, a_receipt(ANOTHERS, enemy.peer, job))
        if lie == "an unsigned receipt":
            signed = wire.replace(signed, signature=bytes(64))
        if lie != "silence":
            enemy.send(a, Ended(execution=award.execution, round=award.round, receipt=signed))
        lost = await in_thread(network.a.execution, job, "Lost")
        assert (lost["reason"], lost["result_cid"]) == (reason.format(peer=enemy.peer), None)
        await in_thread(network.a.client.stop, job, "enough")
    await completes(network, *await running_job(network))


async def test_a_peer_that_bids_and_refuses_at_random_harms_nobody(network: Network) -> None:
    """Every kind of message, about executions that there are not."""
    job, execution = await running_job(network)
    about = {"execution": ANOTHERS, "round": 1}
    async with open_enemy() as enemy:
        receipt = enemy.sign(RECEIPT_DOMAIN, a_receipt(ANOTHERS, enemy.peer, job))
        messages: list[Message] = [
            Bid(**about, valid_ms=10**6, price_micros=0, start_ms=0),
            Refusal(**about, refusing=Refusing.EXPIRED, reason="x" * 2000),
            Update(**about, sequence=10**9, stage=Stage.RUNNING, detail="\x1b[2J"),
            Award(**about, replica=10**3, epoch=1, deputies=(), spec=a_spec(network.waiting, count=1)),
            Cancel(**about, reason=str(Fault.JOB)),
            Ended(**about, receipt=receipt),
        ]
        for node in (network.a, network.b):
            peer = await enemy.meet(node)
            for message in messages:
                enemy.send(peer, message)
            await network_support.until(lambda peer=peer: not enemy.inner.links.waiting(peer), WAIT_S)
        await completes(network, job, execution)
