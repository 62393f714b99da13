"""Executions as users enter them: which one is meant, who may not, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.records.lifecycle import Execution, ExecutionState
from p2pnode.core.wire.exec import ARGUMENTS_MAX, Terminal
from p2pnode.core.worker.entering import vet_untrusted
from p2pnode.identity import Identity
from p2pnode.network.host import Host, Unreachable, open_host
from p2pnode.network.protocols import exec as exec_streams
from p2pnode.node.entering import Entering
from p2pnode.node.fetching import Fetching
from p2pnode.node.journal import Journal
from p2pnode.service.exec import Exec, ExecSession
from p2pnode.service.lookup import Lookup

from .core_support import JOB, new_record, spec
from .fake_program import FakeEngine, FakeProgram
from .network_support import LOOPBACK, WAIT_S, new_identity

A, B, OTHER = ("e-" + one * 32 for one in "abc")


class Dialler:
    """Connects to the one peer there is, as `Fetching.join` does."""

    def __init__(self, host: Host, peer: Host) -> None:
        self._host, self._peer = host, peer

    async def join(self, peer: str, timeout_s: float) -> None:
        if peer != self._peer.peer_id:
            raise Unreachable(f"{peer} has no address")
        await self._host.connect(peer, self._peer.addresses(), timeout_s)


class Parts:
    """A node's service, and a peer that serves `far`; `near` is what runs on the node itself."""

    def __init__(self, me: Identity, host: Host, peer: Host, journal: Journal) -> None:
        self.me, self.host, self.peer, self.journal = me, host, peer, journal
        self.near, self.far = FakeEngine(FakeProgram()), FakeEngine(FakeProgram())
        peer.handle(exec_streams.PROTOCOL, partial(exec_streams.serve, enter=self._enter_far))
        lookup = Lookup(journal, AdvertTable(), host.peer_id, "me")
        dialler = cast(Fetching, Dialler(host, peer))
        self.exec = Exec(lookup, me, host, dialler, cast(Entering, self.near))

    def _enter_far(self, sender: str, signed: Any) -> Any:
        self.asked = vet_untrusted(signed, sender, self.peer.peer_id, self.me)
        return self.far.enter(sender, signed)

    def job(self, *executions: tuple[str, str, ExecutionState], requester: str = "") -> None:
        record = new_record(JOB, requester or self.host.peer_id, spec(), 0)
        for id, peer, state in executions:
            record.executions[id] = Execution(id=id, peer=peer, round=1, state=state, created=0, modified=0)
        self.journal.save_job(record)

    async def refused(self, execution: str | None = None, *command: str) -> ServiceError:
        with pytest.raises(ServiceError) as refused:
            async with self.exec.open(JOB, execution, command or ("sh",), None, stdin=True):
                pytest.fail("it began")
        return refused.value


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    me, journal = new_identity(), Journal(tmp_path)
    async with open_host(me, [LOOPBACK]) as host, open_host(new_identity(), [LOOPBACK]) as peer:
        yield Parts(me, host, peer, journal)
    journal.close()


async def talk(session: ExecSession) -> bytes:
    await session.send(b"hello")
    await session.end_input()
    return b"".join([data async for _, data in session])


@pytest.mark.parametrize("place", ["far", "near"])
async def test_a_program_is_spoken_with_wherever_it_runs(parts: Parts, place: str) -> None:
    peer = parts.peer.peer_id if place == "far" else parts.host.peer_id
    parts.job((A, peer, ExecutionState.RUNNING), (B, peer, ExecutionState.COMPLETED))
    with trio.fail_after(WAIT_S):
        terminal = Terminal(columns=80, rows=24, type="xterm")
        async with parts.exec.open(JOB, None, ["sh", "-c", "cat"], terminal, stdin=True) as session:
            assert await talk(session) == b"hello"
            assert (session.exit_code, session.reason) == (7, "")
    if place == "far":
        assert (parts.asked.execution, parts.asked.command) == (A, ("sh", "-c", "cat"))
        assert parts.asked.terminal == terminal


async def test_a_peer_that_vanishes_ends_the_output_with_a_reason(parts: Parts) -> None:
    parts.job((A, parts.peer.peer_id, ExecutionState.RUNNING))
    with trio.fail_after(WAIT_S):
        async with parts.exec.open(JOB, None, ["sh"], None, stdin=True) as session:
            await parts.peer.close()
            assert [piece async for piece in session] == []
            assert session.exit_code is None and "lost" in session.reason


async def test_the_peers_reason_comes_with_its_name(parts: Parts) -> None:
    parts.job((A, parts.peer.peer_id, ExecutionState.RUNNING))
    parts.far = FakeEngine(refusal="not today")
    refused = await parts.refused()
    assert (refused.code, refused.message) == (Code.CONFLICT, f"{parts.peer.peer_id}: not today")


async def test_a_peer_that_cannot_be_reached_is_told_of(parts: Parts) -> None:
    parts.job((A, OTHER, ExecutionState.RUNNING))
    refused = await parts.refused()
    assert refused.code is Code.UNAVAILABLE and "does not answer" in refused.message


async def test_of_several_that_run_one_is_named(parts: Parts) -> None:
    peer = parts.peer.peer_id
    parts.job((A, peer, ExecutionState.RUNNING), (B, peer, ExecutionState.RUNNING))
    refused = await parts.refused()
    assert refused.code is Code.AMBIGUOUS and A[:14] in refused.message and B[:14] in refused.message
    with trio.fail_after(WAIT_S):
        async with parts.exec.open(JOB, B[:6], ["sh"], None, stdin=True):
            assert parts.asked.execution == B


@pytest.mark.parametrize(
    ("execution", "code", "words"),
    [
        (None, Code.CONFLICT, "nothing of it runs"),
        (A, Code.CONFLICT, f"{A} is Completed"),
        (OTHER, Code.NOT_FOUND, "has no execution"),
    ],
)
async def test_what_does_not_run_is_not_entered(
    parts: Parts, execution: str | None, code: Code, words: str
) -> None:
    parts.job((A, parts.peer.peer_id, ExecutionState.COMPLETED))
    refused = await parts.refused(execution)
    assert refused.code is code and words in refused.message


async def test_users_of_a_node_without_a_say_are_told_who_has_one(parts: Parts) -> None:
    parts.job((A, parts.peer.peer_id, ExecutionState.RUNNING), requester="stranger")
    refused = await parts.refused()
    assert refused.code is Code.FORBIDDEN and "do not enter it" in refused.message


async def test_a_command_that_nothing_could_run_is_refused_at_once(parts: Parts) -> None:
    for command in (("",), ("x" * 9_000,), ("x",) * (ARGUMENTS_MAX + 1), ("a\0b",)):
        assert (await parts.refused(None, *command)).code is Code.BAD_REQUEST
