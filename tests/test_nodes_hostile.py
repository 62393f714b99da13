"""Peers that send garbage, break the protocols or lie, against real nodes that run a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest

from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Ask, Award, Bid, Cancel, Ended, Message, Refusal, Update
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.core.wire.states import Fault, RefusalKind, Stage
from p2pnode.network.protocols import adverts, logs
from p2pnode.network.streams import NetworkError

from . import network_support
from .misdeeds.acts import PROTOCOLS, garbage
from .misdeeds.enemy import WAIT_S, Enemy, in_thread, open_enemy
from .misdeeds.records import (
    a_mandate,
    a_receipt,
    a_spec,
    an_advert,
    an_ask,
    an_award,
    job_of,
    signed_advert,
)
from .network_support import new_identity
from .nodes import Node, alive, answers, know_each_other, known, running_nodes, until
from .programs import waiting_module, wasm_job

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
            for data in garbage(Random()):
                try:
                    await enemy.inner.host.connect(peer, enemy.inner.known[peer], WAIT_S)
                    stream = await enemy.inner.host.open_stream(peer, [protocol], WAIT_S)
                    await stream.write(data, WAIT_S)
                    await stream.close_write()
                    await stream.reset()
                except NetworkError:
                    # The stranger is refused by now, which is the node's right.
                    continue
        for node in (network.a, network.b):
            assert await in_thread(answers, node)
        await completes(network, job, execution)


async def test_an_award_of_another_job_than_was_asked_about_is_refused(network: Network) -> None:
    job, execution = await running_job(network)
    asked = a_spec(network.waiting)
    async with open_enemy() as enemy:
        peer = await enemy.meet(network.b)
        given = a_mandate(enemy.identity, wanted=asked)
        ask = an_ask(asked, job=job_of(given))
        enemy.send(peer, ask)
        assert (await enemy.hears(Bid)).execution == ask.execution
        other = a_spec(network.waiting, name="something else")
        enemy.send(peer, an_award(ask, other, given))
        refusal = await enemy.hears(Refusal)
        assert (refusal.execution, refusal.refusal_kind) == (ask.execution, RefusalKind.UNSUITABLE)
        # The bid is gone with it.
        enemy.send(peer, an_award(ask, asked, given))
        assert (await enemy.hears(Refusal)).refusal_kind is RefusalKind.EXPIRED
        await completes(network, job, execution)


async def test_an_award_by_a_charter_that_does_not_name_who_awards_is_refused(network: Network) -> None:
    asked = a_spec(network.waiting)
    async with open_enemy() as enemy:
        peer = await enemy.meet(network.b)
        given = a_mandate(new_identity(), wanted=asked)
        ask = an_ask(asked, job=job_of(given))
        enemy.send(peer, ask)
        await enemy.hears(Bid)
        enemy.send(peer, an_award(ask, asked, given))
        refusal = await enemy.hears(Refusal)
        assert (refusal.execution, refusal.refusal_kind) == (ask.execution, RefusalKind.UNSUITABLE)
        assert "charter" in refusal.reason


async def test_a_stranger_ends_cancels_and_hears_nothing_of_anothers_execution(network: Network) -> None:
    job, execution = await running_job(network)
    async with open_enemy() as enemy:
        b = await enemy.meet(network.b)
        enemy.send(b, Cancel(execution=execution, round=1, reason="because"))
        request = logs.LogsRequest(execution=execution, stdout_offset=0, stderr_offset=0, follow=False)
        assert [piece async for piece in logs.read(enemy.inner.host, b, request)] == []

        a = await enemy.meet(network.a)
        receipt = a_receipt(execution, enemy.peer, job)
        enemy.send(
            a, Update(execution=execution, round=1, sequence=99, stage=Stage.PUBLISHING, detail="mine")
        )
        enemy.send(a, Refusal(execution=execution, round=1, refusal_kind=RefusalKind.BUSY, reason="no"))
        enemy.send(a, Ended(execution=execution, round=1, receipt=enemy.sign(RECEIPT_DOMAIN, receipt)))
        for peer in (a, b):
            await network_support.until(lambda peer=peer: not enemy.inner.links.waiting(peer), WAIT_S)
        found = await in_thread(network.a.job, job)
        assert [one["state"] for one in found["executions"]] == ["Running"]
        await completes(network, job, execution)


def advertise(enemy: Enemy) -> None:
    """Offers a lot, under the label `liar`, to all who ask for the table."""
    advert = an_advert(enemy.peer, tuple(enemy.inner.host.addresses()))
    signed = signed_advert(enemy.identity, advert)
    adverts.serve_table(enemy.inner.host, lambda peer: [(signed, 60_000)])


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
            signed = codec.replace(signed, signature=bytes(64))
        if lie != "silence":
            enemy.send(a, Ended(execution=award.execution, round=award.round, receipt=signed))
        lost = await in_thread(network.a.execution, job, "Lost")
        assert (lost["reason"], lost["result_cid"]) == (reason.format(peer="liar"), None)
        await in_thread(network.a.client.stop, job, "enough")
    await completes(network, *await running_job(network))


async def test_a_peer_that_bids_and_refuses_at_random_harms_nobody(network: Network) -> None:
    """Every kind of message, about executions that there are not."""
    job, execution = await running_job(network)
    about = {"execution": ANOTHERS, "round": 1}
    async with open_enemy() as enemy:
        given = a_mandate(enemy.identity)
        receipt = enemy.sign(RECEIPT_DOMAIN, a_receipt(ANOTHERS, enemy.peer, job))
        messages: list[Message] = [
            Bid(**about, valid_ms=10**6, price_micros=0, start_ms=0),
            Refusal(**about, refusal_kind=RefusalKind.EXPIRED, reason="x" * 2000),
            Update(**about, sequence=10**9, stage=Stage.RUNNING, detail="\x1b[2J"),
            Award(**about, replica=10**3, mandate=given, spec=a_spec(network.waiting), changed_by=None),
            Cancel(**about, reason=str(Fault.JOB)),
            Ended(**about, receipt=receipt),
        ]
        for node in (network.a, network.b):
            peer = await enemy.meet(node)
            for message in messages:
                enemy.send(peer, message)
            await network_support.until(lambda peer=peer: not enemy.inner.links.waiting(peer), WAIT_S)
        await completes(network, job, execution)
