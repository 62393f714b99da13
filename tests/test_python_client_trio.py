"""`p2pnode.client.trio`: the same answers, and calls that end when they are cancelled, with nothing left."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

import pytest
import trio
import trio.testing

from p2pnode.client import JobFailed, NodeUnreachable, SubmittedJob, WaitTimeout
from p2pnode.client.calls import Client
from p2pnode.client.trio import TrioJob, TrioNode, connect
from tests.fake_node import PEER, Served

from .test_python_client import FILES, a_job

# Far more than a thread takes to notice that its socket is shut, and less than any call waits by itself.
PROMPT_S = 3.0
RECORD: Any = {"id": "j-1", "name": "", "state": "Running", "reason": "", "outcome": None, "executions": []}
HEADERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def waits_for_a_node() -> bool:
    """Whether a thread is anywhere in the channel now."""
    for frame in sys._current_frames().values():
        at: Any = frame
        while at is not None:
            if at.f_code.co_filename.endswith("client/channel.py"):
                return True
            at = at.f_back
    return False


async def test_the_answers_are_those_of_the_blocking_client(served: Served) -> None:
    async with connect() as node:
        assert isinstance(node, TrioNode) and (node.peer, node.name, node.url) == (PEER, "fake", served.url)
        job = await node.submit(a_job("works"))
        assert [line.stream async for line in job.logs()] == ["stdout", "stderr"]
        assert [event["number"] async for event in job.history(since=4, follow=True)] == [5, 6]
        result = await job.result(timeout_s=30)
        assert (job.state, job.outcome, job.reason) == ("Completed", "completed", "")
        assert (await result.stdout(), await result.stderr(), result.exit_code) == ("42\n", "", 0)
        assert await result.files() == FILES
        assert await result.read("stdout", size_bytes_max=3) == b"42\n"
        assert (await result.save("out") / "stdout").read_bytes() == b"42\n"
        assert [one.cid for one in await job.results()] == [result.cid]
        assert [one.id for one in await node.jobs()] == [job.id] == [(await node.job(job.id)).id]
        await trio.Path("file").write_bytes(b"x")
        assert (await node.add("file")).startswith("baf")
        assert (await node.plan(a_job("works")))["needed"] == 1 and len(await node.nodes()) == 1
        assert job._repr_html_().startswith("<p>") and repr(result).startswith("<result")
        failed = await node.submit(a_job("exits-3"))
        with pytest.raises(JobFailed, match="exited 3"):
            await failed.result()


async def test_a_deadline_of_the_call_is_kept(served: Served) -> None:
    async with connect() as node:
        job = await node.submit(a_job("endless"))
        with pytest.raises(WaitTimeout):
            await job.wait(timeout_s=0.05)
        assert (await job.stop("enough")).reason == "enough"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [b"", HEADERS], ids=["silent", "streaming"])
async def test_a_cancelled_call_ends_at_once_and_closes_its_connection(scheme: str, answer: bytes) -> None:
    """A node that says nothing, or nothing more; of https not even its part of the handshake."""
    listener = trio.socket.socket()
    with listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = Client(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", "token")
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: TrioJob(SubmittedJob(client, RECORD)).refresh(),
            lambda: anext(TrioJob(SubmittedJob(client, RECORD)).logs(follow=True)),
        ]
        for call in calls:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                connection, _ = await listener.accept()
                assert await connection.recv(65_536)
                await connection.send(answer if scheme == "http" else b"")
                await trio.testing.wait_all_tasks_blocked()
                cancelled_s = trio.current_time()
                nursery.cancel_scope.cancel()
            assert nursery.cancel_scope.cancelled_caught and not waits_for_a_node()
            assert trio.current_time() - cancelled_s < PROMPT_S
            with connection, trio.fail_after(PROMPT_S):
                assert await connection.recv(65_536) == b""
        client.close()


async def test_a_call_that_is_still_connecting_ends_at_once() -> None:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The queue is full: the next one is not answered.
        for _ in range(4):
            one = opened.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(TrioJob(SubmittedJob(client, RECORD)).refresh)
            await until_waiting()
            cancelled_s = trio.current_time()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught and not waits_for_a_node()
        assert trio.current_time() - cancelled_s < PROMPT_S


async def until_waiting() -> None:
    """Return once a thread is in the channel."""
    while not waits_for_a_node():
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("way", ["break", "aclose", "cancel"])
async def test_output_that_is_left_early_takes_its_connection_with_it(served: Served, way: str) -> None:
    async with connect() as node:
        job = await node.submit(a_job("talkative"))
        lines = job.logs(follow=True)
        with trio.CancelScope() as scope:
            async with aclosing(lines) if way == "aclose" else trio.open_nursery():
                async for line in lines:
                    assert line.stream == "stdout"
                    if way == "cancel":
                        scope.cancel()
                    else:
                        break
        del lines
        assert await trio.to_thread.run_sync(served.node.dropped.wait, PROMPT_S)
        assert scope.cancelled_caught == (way == "cancel") and not waits_for_a_node()
        assert (await node.job(job.id)).name == "talkative"


async def test_a_call_of_a_cancelled_task_is_not_made() -> None:
    client = Client("http://127.0.0.1:1", "token")
    with trio.CancelScope() as scope:
        scope.cancel()
        await TrioJob(SubmittedJob(client, RECORD)).refresh()
    assert scope.cancelled_caught
    with pytest.raises(NodeUnreachable):
        await TrioJob(SubmittedJob(client, RECORD)).refresh()


async def test_many_can_follow_while_others_ask(served: Served) -> None:
    async with connect() as node:
        job = await node.submit(a_job("endless"))
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(job.wait)
            await until_waiting()
            with trio.fail_after(PROMPT_S):
                assert (await node.job(job.id)).name == "endless"
            nursery.cancel_scope.cancel()
    assert not waits_for_a_node()
