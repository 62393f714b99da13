"""Misdeeds with which a stranger once ended a node, done to real nodes: each row was measured.

After each the honest nodes live, and live again after SIGKILL on what is in their journals; a job
completes as always; and people are told of what failed here, not of what was refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from p2pnode.core.link.failure_detector import LinkDown
from p2pnode.core.link.frames import (
    FRAME_SIZE_BYTES_MAX,
    SEQUENCE_MAX,
    Ack,
    Data,
    Hello,
    Reject,
)
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import ExecutionState, JobState, Outcome
from p2pnode.core.values.patience import REFUSALS_MAX
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import COUNTER_MAX, INTEGER_MAX
from p2pnode.core.wire.mandates import CommandAction
from p2pnode.core.wire.messages import (
    Adopt,
    Bid,
    Cancel,
    Message,
    Orphan,
    Owned,
    Refusal,
    Update,
    WhoOwns,
)
from p2pnode.core.wire.states import RefusalKind, Stage
from p2pnode.network import links
from p2pnode.network.link_end import HEADER_SIZE_BYTES
from p2pnode.network.protocols import adverts, exec, logs
from p2pnode.network.streams import NetworkError
from p2pnode.node import log_orders

from . import network_support
from .misdeeds.enemy import WAIT_S, Enemy, RawLink, in_thread, open_enemy
from .misdeeds.honest import Network, running_network, unharmed
from .misdeeds.records import (
    a_command,
    a_copy,
    a_job,
    a_keep,
    a_line,
    a_mandate,
    a_spec,
    an_advert,
    an_ask,
    an_execution,
    job_of,
    signed_advert,
)
from .misdeeds.refused import CONTROLS, NO_PEER, REFUSED
from .network_support import new_identity
from .nodes import known, until
from .programs import wasm_job


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with running_network(tmp_path_factory.mktemp("nodes")) as network:
        yield network


@pytest.fixture
def honest(network: Network) -> Iterator[Network]:
    with unharmed(network):
        yield network


# Refused messages


async def test_what_is_refused_costs_nobody_anything_and_its_sender_is_told(honest: Network) -> None:
    """All rows over one link of an enemy each, so that none hides behind another."""
    for what, make, reason in REFUSED:
        async with open_enemy() as enemy:
            for node in (honest.b, honest.a):
                peer = await enemy.meet(node)
                message = make(enemy, peer)
                before = len(enemy.rejections)
                enemy.send_raw(peer, message if isinstance(message, bytes) else codec.encode(message))
                await enemy.sent_all(peer)
                told = enemy.rejections[before:]
                assert len(told) == 1 and reason in told[0], (what, told)
                # A refused message holds up nothing behind it.
                enemy.send(peer, an_ask(a_spec()))
                assert await heard_of_its_ask(enemy), what


async def heard_of_its_ask(enemy: Enemy) -> bool:
    await network_support.until(lambda: any(isinstance(one, Bid | Refusal) for one in enemy.heard), WAIT_S)
    enemy.heard.clear()
    return True


# Messages that are taken in, or end a stream

Misdeed = Callable[[Enemy, str, str], Awaitable[None]]


async def keep_then_owned_by_nobody(enemy: Enemy, victim: str, other: str) -> None:
    kept = a_keep(enemy.identity, victim)
    enemy.send(victim, kept)
    enemy.send(victim, Owned(job=kept.job, owner=NO_PEER, mandate=kept.mandate))
    await enemy.sent_all(victim)
    (reason,) = enemy.rejections
    assert "peer id" in reason


async def keep_then_silence(enemy: Enemy, victim: str, other: str) -> None:
    """Its deputy takes the job over, and looks after it."""
    enemy.send(victim, a_keep(enemy.identity, victim, other))
    for state in sorted({*ExecutionState} - {"Asked", "Queued", "Bid", "Completed", "Failed"}):
        copies = (a_copy(enemy.peer, state=state, replica=999), a_copy(other, state=state))
        enemy.send(victim, a_keep(enemy.identity, victim, other, executions=copies))
    await enemy.sent_all(victim)
    assert enemy.rejections == []


async def serials_that_grow(enemy: Enemy, victim: str, other: str) -> None:
    """Only the requester can sign them, and it harms its own job alone."""
    kept = a_keep(enemy.identity, victim, other)
    members = (enemy.peer, victim, other)
    first = mandate.read(kept.mandate).charter
    for serial in (2, 1000, 10**6, COUNTER_MAX):
        given = mandate.chartered(enemy.identity, codec.replace(first, serial=serial, members=members))
        enemy.send(victim, codec.replace(kept, mandate=given, revision=serial % 1000 + 1))
        enemy.send(victim, Owned(job=kept.job, owner=other, mandate=given))
    await enemy.sent_all(victim)
    assert enemy.rejections == []


async def two_charters_of_one_serial(enemy: Enemy, victim: str, other: str) -> None:
    """Two nodes are told of other members each."""
    kept = a_keep(enemy.identity, victim, other)
    first = mandate.read(kept.mandate).charter
    for members in ((enemy.peer, other), (enemy.peer, victim), (enemy.peer, other, victim)):
        given = mandate.chartered(enemy.identity, codec.replace(first, members=members))
        enemy.send(victim, codec.replace(kept, mandate=given))
        enemy.send(victim, Owned(job=kept.job, owner=victim, mandate=given))
    await enemy.sent_all(victim)
    assert enemy.rejections == []


async def commands_of_who_is_no_controller(enemy: Enemy, victim: str, other: str) -> None:
    """Signed by a deputy, and brought by the requester, which is believed for none of it."""
    deputy = new_identity()
    kept = a_keep(enemy.identity, victim, deputy.peer_id)
    enemy.send(victim, kept)
    forged = a_command(deputy, kept.job, CommandAction.STOP, controller=enemy.peer)
    for command in (a_command(deputy, kept.job, CommandAction.STOP), forged):
        enemy.send(victim, command)
    await enemy.sent_all(victim)
    no_say, not_signed = enemy.rejections
    assert f"{deputy.peer_id} may not command this job" in no_say
    assert f"not signed by {enemy.peer}" in not_signed


async def a_keep_of_who_is_no_member(enemy: Enemy, victim: str, other: str) -> None:
    """Another's job, whose charter the enemy has: what it says of that has no effect."""
    requester = new_identity()
    kept = a_keep(requester, victim)
    enemy.send(victim, kept)
    told = a_keep(requester, other, mandate=kept.mandate)
    enemy.send(victim, codec.replace(told, state=JobState.STOPPED, outcome=Outcome.STOPPED))
    await enemy.sent_all(victim)
    assert enemy.rejections == []
    enemy.send(victim, WhoOwns(job=kept.job, owner=enemy.peer, whole=True))
    await enemy.sent_all(victim)
    assert not [one for one in enemy.heard if isinstance(one, Owned) and one.owner == enemy.peer]


async def a_hello_that_has_all(enemy: Enemy, victim: str, other: str) -> None:
    async with enemy.raw_link(victim) as link:
        hello = await link.read()
        assert isinstance(hello, Hello)
    for received in (SEQUENCE_MAX, SEQUENCE_MAX - 1, 10**9):
        with pytest.raises(NetworkError):
            async with enemy.raw_link(victim, known=hello.store, received=received) as link:
                await link.read()


async def a_hello_that_begins_at_the_end(enemy: Enemy, victim: str, other: str) -> None:
    async with enemy.raw_link(victim, first=SEQUENCE_MAX) as link:
        await link.read()
        await link.data(SEQUENCE_MAX, codec.encode(an_ask(a_spec())))
        await link.read()


async def frames_that_break_the_rules(enemy: Enemy, victim: str, other: str) -> None:
    frames = [
        codec.encode(Ack(sequence=10**6)),
        codec.encode(Reject(sequence=10**6, reason=CONTROLS)),
        codec.encode(Data(sequence=9, payload=b"")),
        codec.encode(Hello(version=4, store="0" * 32, first=1, known="", received=0)),
        b"\xff" * 100,
    ]
    for frame in frames:
        async with enemy.raw_link(victim) as link:
            await link.write(frame)
            with pytest.raises(NetworkError):
                await reads_to_the_end(link)
    for size in (0, FRAME_SIZE_BYTES_MAX + 1, 2**32 - 1):
        stream = await enemy.open(victim, links.PROTOCOL)
        await stream.write(size.to_bytes(HEADER_SIZE_BYTES, "big") + bytes(100), WAIT_S)
        with pytest.raises(NetworkError):
            await stream.read_exactly(1, WAIT_S)


async def reads_to_the_end(link: RawLink) -> None:
    while True:
        await link.read()


async def text_with_controls(enemy: Enemy, victim: str, other: str) -> None:
    line = a_line(topic=CONTROLS, text=CONTROLS, execution=CONTROLS, peer=CONTROLS, state=CONTROLS)
    copies = (a_copy(enemy.peer, reason=CONTROLS),)
    about = {"execution": an_execution(), "round": 1}
    messages: list[Message] = [
        a_keep(
            enemy.identity,
            victim,
            reason=CONTROLS,
            first_failure=CONTROLS,
            history=(line,),
            executions=copies,
        ),
        a_keep(enemy.identity, victim, spec=a_spec(name=CONTROLS, namespace=CONTROLS)),
        Refusal(**about, refusal_kind=RefusalKind.BUSY, reason=CONTROLS),
        Update(**about, sequence=1, stage=Stage.RUNNING, detail=CONTROLS),
        Cancel(**about, reason=CONTROLS),
        a_command(enemy.identity, a_job(), CommandAction.STOP, reason=CONTROLS),
        an_ask(a_spec(), requirements=codec.replace(an_ask(a_spec()).requirements, engine=CONTROLS)),
    ]
    for message in messages:
        enemy.send(victim, message)
    await enemy.sent_all(victim)
    assert all(reason.isprintable() for reason in enemy.rejections), enemy.rejections


async def claims_of_jobs_that_are_not_its_own(enemy: Enemy, victim: str, other: str) -> None:
    given, execution = a_mandate(enemy.identity, victim), an_execution()
    job = job_of(given)
    messages: list[Message] = [
        Adopt(execution=execution, round=1, job=job, mandate=given),
        Orphan(execution=execution, round=COUNTER_MAX, job=job, replica=999, owner=other),
        WhoOwns(job=job, owner=other, whole=True),
        Owned(job=job, owner=victim, mandate=given),
        Owned(job=job, owner=enemy.peer, mandate=given),
        a_command(enemy.identity, job, CommandAction.RERUN),
        a_command(enemy.identity, job, CommandAction.UPDATE, a_spec()),
    ]
    for message in messages:
        enemy.send(victim, message)
    await enemy.sent_all(victim)


async def silent_streams_and_log_requests(enemy: Enemy, victim: str, other: str) -> None:
    for protocol in (
        *(links.PROTOCOL, adverts.PROTOCOL, logs.PROTOCOL, log_orders.PROTOCOL),
        exec.PROTOCOL,
    ):
        for _ in range(10):
            with suppress(NetworkError):
                stream = await enemy.open(victim, protocol)
                await stream.write(b"\0", WAIT_S)
    request = logs.LogsRequest(
        execution=an_execution(), stdout_offset=INTEGER_MAX, stderr_offset=INTEGER_MAX, follow=True
    )
    with suppress(NetworkError):
        _ = [piece async for piece in logs.read(enemy.inner.host, victim, request)]


async def poison_in_a_row(enemy: Enemy, victim: str, other: str) -> None:
    """The enemy is left alone, and nobody else is."""
    for _ in range(40):
        enemy.send(victim, WhoOwns(job=a_job(), owner=NO_PEER, whole=True))
    down = lambda: any(isinstance(one, LinkDown) for one in enemy.inner.events)  # noqa: E731
    await network_support.until(down, WAIT_S)
    async with open_enemy() as fair:
        fair.inner.known[victim] = enemy.inner.known[victim]
        fair.send(victim, an_ask(a_spec()))
        assert await heard_of_its_ask(fair)
    assert enemy.inner.links.waiting(victim) > 0
    assert len(enemy.rejections) <= REFUSALS_MAX + 1


async def a_refusal_of_all_it_is_sent(enemy: Enemy, victim: str, other: str) -> None:
    """An honest node asks the enemy, which offers much, and goes on without it."""

    async def refuse(peer: str, payload: bytes) -> None:
        refused.append(payload)
        raise BadMessage(CONTROLS)

    refused: list[bytes] = []
    enemy.inner.on_message = refuse
    enemy.send(victim, an_ask(a_spec()))
    await network_support.until(lambda: refused, WAIT_S)


MISDEEDS: list[Misdeed] = [
    keep_then_owned_by_nobody,
    keep_then_silence,
    serials_that_grow,
    two_charters_of_one_serial,
    commands_of_who_is_no_controller,
    a_keep_of_who_is_no_member,
    a_hello_that_has_all,
    a_hello_that_begins_at_the_end,
    frames_that_break_the_rules,
    text_with_controls,
    claims_of_jobs_that_are_not_its_own,
    silent_streams_and_log_requests,
    poison_in_a_row,
    a_refusal_of_all_it_is_sent,
]


@pytest.mark.parametrize("misdeed", MISDEEDS, ids=lambda one: one.__name__)
async def test_a_misdeed_harms_nobody(honest: Network, misdeed: Misdeed) -> None:
    other = await in_thread(lambda: honest.c.peer)
    for node in (honest.b, honest.a):
        async with open_enemy() as enemy:
            await misdeed(enemy, await enemy.meet(node), other)


async def test_a_peer_whose_job_messages_are_all_refused_costs_a_job_nothing(honest: Network) -> None:
    """The peer offers more than all others, so it is asked first."""
    async with open_enemy() as enemy:
        signed = signed_advert(enemy.identity, an_advert(enemy.peer, tuple(enemy.inner.host.addresses())))
        adverts.serve_table(enemy.inner.host, lambda peer: [(signed, 60_000)])

        async def refuse(peer: str, payload: bytes) -> None:
            raise BadMessage(CONTROLS)

        enemy.inner.on_message = refuse
        await enemy.meet(honest.a)
        await in_thread(until, "it is known", lambda: enemy.peer in known(honest.a))
        job = await in_thread(honest.a.submit, wasm_job(honest.waiting))
        execution = await in_thread(honest.a.execution, job, "Running")
        await in_thread(honest.a.client.stop, job, "enough")
        assert execution["peer"] != enemy.peer
        told = await in_thread(honest.a.cli, "job", "history", job)
        assert told.returncode == 0
        assert all(line.isprintable() for line in told.stdout.splitlines())


async def test_what_a_stranger_wrote_moves_no_cursor(network: Network) -> None:
    async with open_enemy() as enemy:
        victim = await enemy.meet(network.b)
        line = a_line(topic=CONTROLS, text=CONTROLS, execution=CONTROLS, peer=CONTROLS, state=CONTROLS)
        kept = a_keep(enemy.identity, victim, reason=CONTROLS, history=(line,))
        enemy.send(victim, kept)
        await enemy.sent_all(victim)
        for command in ("list",), ("describe", kept.job), ("history", kept.job), ("executions", kept.job):
            told = await in_thread(network.b.cli, "job", *command)
            assert all(line.isprintable() for line in (told.stdout + told.stderr).splitlines()), command
