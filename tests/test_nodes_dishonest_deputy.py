"""A deputy that is no friend, against a job whose requester is there: nothing that it says is obeyed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import JobJson
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import ExecutionState, JobState, Outcome
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import CommandAction
from p2pnode.core.wire.messages import Adopt, Cancel, ExecutionCopy, Orphan, Owned, Replicate
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.network.protocols import adverts, logs

from . import network_support
from .job_views import copy_of, deputies_of
from .misdeeds.enemy import WAIT_S, Enemy, in_thread, open_enemy
from .misdeeds.honest import problems
from .misdeeds.records import (
    A_CID,
    a_command,
    a_copy,
    a_receipt,
    a_spec,
    an_advert,
    an_execution,
    an_extension,
    signed_advert,
)
from .network_support import new_identity
from .nodes import Node, alive, know_each_other, known, running_nodes, until
from .programs import waiting_module, wasm_job


@dataclass
class Network:
    """`a` submits and does not compute; `b` runs, and is no deputy; `c` is one, and does not compute."""

    a: Node
    b: Node
    c: Node
    waiting: str

    @property
    def all(self) -> tuple[Node, Node, Node]:
        return self.a, self.b, self.c


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """For one enemy: who was here before it would still be a peer that could be named as a deputy."""
    with running_nodes(tmp_path) as nodes:
        a = nodes.start("a", "--no-compute")
        b = nodes.start("b", "--no-deputy", peers=(a,))
        c = nodes.start("c", "--no-compute", peers=(a,))
        know_each_other(a, b, c)
        module = tmp_path / "waiting.wasm"
        module.write_bytes(waiting_module())
        yield Network(a, b, c, a.add(module))


@dataclass
class Deputy:
    """An enemy that a running job of `a` has as its deputy, beside `c`."""

    enemy: Enemy
    a: str
    b: str
    c: str
    job: str
    # The requester's word on the job, and on its one execution.
    told: Replicate
    execution: ExecutionCopy

    def says(self, **changes: Any) -> Replicate:
        """The job as it was told, but for this, in the voice of its owner."""
        plain = codec.replace(self.told, acts_since_ms=self.told.acts_since_ms + 10**6, revision=1)
        return codec.replace(plain, **changes)

    def ended(self, receipt: Any, **changes: Any) -> Replicate:
        """The job as one that has completed with the enemy's result."""
        copy = codec.replace(
            self.execution,
            state=ExecutionState.COMPLETED,
            exit_code=0,
            result_cid=A_CID,
            receipt=receipt,
            **changes,
        )
        state = {"state": JobState.COMPLETED, "outcome": Outcome.COMPLETED}
        return self.says(executions=(copy,), **state)


@asynccontextmanager
async def open_willing_enemy(network: Network) -> AsyncIterator[Enemy]:
    """An enemy that says in its advert that it looks after jobs, and runs none."""
    async with open_enemy() as enemy:
        plain = an_advert(enemy.peer, tuple(enemy.inner.host.addresses()))
        signed = signed_advert(
            enemy.identity, codec.replace(plain, capacity=codec.replace(plain.capacity, engines=()))
        )
        adverts.serve_table(enemy.inner.host, lambda peer: [(signed, 60_000)])
        for node in network.all:
            await enemy.meet(node)
        await in_thread(until, "it is known", lambda: enemy.peer in known(network.a))
        yield enemy


async def deputy_of_a_new_job(network: Network, enemy: Enemy) -> Deputy:
    a, b, c = [await in_thread(lambda node=node: node.peer) for node in network.all]
    job = await in_thread(network.a.submit, wasm_job(network.waiting))
    execution = await in_thread(network.a.execution, job, "Running")
    await in_thread(network.b.begun, execution["id"])
    assert set(await in_thread(deputies_of, network.a, job)) == {enemy.peer, c}

    def tellings() -> list[Replicate]:
        return [one for one in enemy.heard if isinstance(one, Replicate) and one.job == job]

    def runs(one: Replicate) -> bool:
        return any(copy.state is ExecutionState.RUNNING for copy in one.executions)

    await network_support.until(lambda: any(map(runs, tellings())), WAIT_S)
    (whole, *_), last = tellings(), next(filter(runs, tellings()))
    (copy,) = last.executions
    told = codec.replace(last, full=True, spec=whole.spec, versions=whole.versions)
    return Deputy(enemy, a, b, c, job, told, copy)


Misdeed = Callable[[Deputy], Awaitable[list[str]]]


async def says_to(deputy: Deputy, *messages: Any, to: tuple[str, ...]) -> list[str]:
    """Why it was not taken, where it was refused."""
    before = len(deputy.enemy.rejections)
    for peer in to:
        for message in messages:
            deputy.enemy.send(peer, message)
        await deputy.enemy.sent_all(peer)
    return deputy.enemy.rejections[before:]


async def replicates_as_the_owner(deputy: Deputy) -> list[str]:
    """The deputy says that it has stopped the job, and lost its execution."""
    lost = codec.replace(deputy.execution, state=ExecutionState.LOST, reason="it is mine")
    stopped = {"state": JobState.STOPPED, "outcome": Outcome.STOPPED, "reason": "it is mine"}
    messages = [deputy.says(executions=(lost,)), deputy.says(**stopped), deputy.says(version=1, run=9)]
    return await says_to(deputy, *messages, to=(deputy.a, deputy.c))


async def replicates_a_result_without_a_receipt(deputy: Deputy) -> list[str]:
    reasons = await says_to(deputy, deputy.ended(None), to=(deputy.a, deputy.c))
    assert len(reasons) == 2 and all("without a receipt" in one for one in reasons), reasons
    return []


async def replicates_a_result_with_a_receipt_of_its_own(deputy: Deputy) -> list[str]:
    one = deputy.execution
    receipt = codec.replace(
        a_receipt(one.id, one.peer, deputy.job),
        requester=deputy.a,
        spec_hash=deputy.told.versions[0].spec_hash,
    )
    signed = deputy.enemy.sign(RECEIPT_DOMAIN, receipt)
    reasons = await says_to(deputy, deputy.ended(signed), to=(deputy.a, deputy.c))
    assert len(reasons) == 2 and all("not signed by" in one for one in reasons), reasons
    return []


async def replicates_a_result_of_what_it_awarded_itself(deputy: Deputy) -> list[str]:
    """An execution of its own, with a receipt that is right in itself, while the requester acts."""
    own = an_execution()
    receipt = codec.replace(
        a_receipt(own, deputy.enemy.peer, deputy.job),
        requester=deputy.a,
        spec_hash=deputy.told.versions[0].spec_hash,
    )
    signed = deputy.enemy.sign(RECEIPT_DOMAIN, receipt)
    mine = a_copy(deputy.enemy.peer, id=own)
    whose = {"id": own, "peer": mine.peer, "owner": mine.owner, "round": mine.round, "reason": ""}
    return await says_to(deputy, deputy.ended(signed, **whose), to=(deputy.a, deputy.c))


async def commands_a_stop_and_another_file(deputy: Deputy) -> list[str]:
    enemy = deputy.enemy
    messages = [
        a_command(enemy.identity, deputy.job, CommandAction.STOP),
        a_command(enemy.identity, deputy.job, CommandAction.RERUN),
        a_command(enemy.identity, deputy.job, CommandAction.UPDATE, a_spec()),
        a_command(enemy.identity, deputy.job, CommandAction.STOP, controller=deputy.a),
    ]
    reasons = await says_to(deputy, *messages, to=(deputy.a, deputy.c))
    no_say = [one for one in reasons if f"{enemy.peer} may not command this job" in one]
    assert (len(no_say), len(reasons)) == (6, 8), reasons
    return []


async def adopts_and_cancels_at_the_compute_peer(deputy: Deputy) -> list[str]:
    one, enemy = deputy.execution, deputy.enemy
    adopt = Adopt(execution=one.id, round=one.round, job=deputy.job, mandate=deputy.told.mandate)
    cancel = Cancel(execution=one.id, round=one.round, reason="it is mine")
    reasons = await says_to(deputy, adopt, cancel, to=(deputy.b,))
    assert (await enemy.hears(Owned)).owner == deputy.a
    # An extension is by its rank, and so no help.
    extended = an_extension(deputy.told.mandate, enemy.identity, new_identity().peer_id)
    more = await says_to(deputy, codec.replace(adopt, mandate=extended), cancel, to=(deputy.b,))
    assert (await enemy.hears(Owned)).owner == deputy.a
    return [*reasons, *more]


async def says_that_it_owns_the_job(deputy: Deputy) -> list[str]:
    one, enemy = deputy.execution, deputy.enemy
    owned = Owned(job=deputy.job, owner=enemy.peer, mandate=deputy.told.mandate)
    orphan = Orphan(execution=one.id, round=one.round, job=deputy.job, replica=0, owner=enemy.peer)
    return await says_to(deputy, owned, orphan, to=(deputy.a, deputy.b, deputy.c))


async def signs_a_charter_of_the_job(deputy: Deputy) -> list[str]:
    """With itself as the first, and with the requester as the first."""
    enemy = deputy.enemy
    before = mandate.read(deputy.told.mandate).charter
    for members in ((enemy.peer, deputy.a), (deputy.a, enemy.peer)):
        forged = mandate.chartered(enemy.identity, codec.replace(before, serial=9, members=members))
        one = deputy.execution
        messages = [
            deputy.says(mandate=forged),
            Owned(job=deputy.job, owner=enemy.peer, mandate=forged),
            Adopt(execution=one.id, round=one.round, job=deputy.job, mandate=forged),
        ]
        reasons = await says_to(deputy, *messages, to=(deputy.a, deputy.b, deputy.c))
        assert len(reasons) == 9, reasons
        assert all("not of its requester" in one or "not signed by" in one for one in reasons), reasons
    return []


async def asks_for_live_output(deputy: Deputy) -> list[str]:
    for follow in (False, True):
        request = logs.LogsRequest(
            execution=deputy.execution.id, stdout_offset=0, stderr_offset=0, follow=follow
        )
        assert [piece async for piece in logs.read(deputy.enemy.inner.host, deputy.b, request)] == []
    return []


MISDEEDS: list[Misdeed] = [
    replicates_as_the_owner,
    replicates_a_result_without_a_receipt,
    replicates_a_result_with_a_receipt_of_its_own,
    commands_a_stop_and_another_file,
    adopts_and_cancels_at_the_compute_peer,
    says_that_it_owns_the_job,
    signs_a_charter_of_the_job,
    asks_for_live_output,
]


async def goes_on_as_if_it_were_not(network: Network, enemy: Enemy, misdeed: Misdeed) -> None:
    """A job of which the enemy is a deputy ends as it should, whatever that does."""
    deputy = await deputy_of_a_new_job(network, enemy)
    assert await misdeed(deputy) == [], misdeed.__name__

    def seen(node: Node) -> JobJson:
        found = copy_of(node, deputy.job)
        assert found is not None
        return found

    for node in (network.a, network.c):
        found = await in_thread(seen, node)
        states = [(one["id"], one["state"]) for one in found["executions"]]
        history = await in_thread(network.a.history, deputy.job)
        assert (found["owner"], found["state"]) == (deputy.a, "Running"), (misdeed.__name__, history)
        assert states == [(deputy.execution.id, "Running")], (misdeed.__name__, history)
    await in_thread(network.b.finish, deputy.execution.id)
    ended = await in_thread(network.a.ended, deputy.job)
    assert (ended["state"], ended["owner"]) == ("Completed", deputy.a), (misdeed.__name__, ended)
    (one,) = ended["executions"]
    assert (one["id"], one["peer"]) == (deputy.execution.id, deputy.b), misdeed.__name__
    assert one["result_cid"] != A_CID, misdeed.__name__
    assert (ended["version"], ended["run"]) == (1, 1), misdeed.__name__


async def test_a_job_whose_deputy_is_dishonest_goes_on_as_if_it_were_not(network: Network) -> None:
    async with open_willing_enemy(network) as enemy:
        for misdeed in MISDEEDS:
            await goes_on_as_if_it_were_not(network, enemy, misdeed)
            enemy.heard.clear()
    assert all(map(alive, network.all))
    assert [await in_thread(problems, node) for node in network.all] == [[], [], []]


async def test_what_a_deputy_has_awarded_itself_while_the_owner_acts_does_not_count(network: Network) -> None:
    async with open_willing_enemy(network) as enemy:
        await goes_on_as_if_it_were_not(network, enemy, replicates_a_result_of_what_it_awarded_itself)
