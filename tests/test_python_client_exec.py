"""Programs begun in executions from Python, blocking and on trio; what is left early ends its program."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio

from p2pnode.api.shapes import Code
from p2pnode.client import EnteredProgram, Interrupted, NodeClient, Refused, SubmittedJob
from p2pnode.client import connect as connect_blocking
from p2pnode.client.calls import Client
from p2pnode.client.exec import PIECE_SIZE_BYTES_MAX
from p2pnode.client.trio import TrioProgram, connect
from tests.fake_exec import EXECUTION
from tests.fake_node import Served

from .nodes import until
from .test_python_client import a_job

PROMPT_S = 10.0


@pytest.fixture
def node(served: Served) -> Iterator[NodeClient]:
    with connect_blocking() as node:
        yield node


@pytest.fixture
def job(node: NodeClient) -> SubmittedJob:
    return node.submit(a_job("endless"))


def test_a_program_is_a_loop_over_its_output(job: SubmittedJob) -> None:
    with job.exec(["hello"]) as program:
        assert isinstance(program, EnteredProgram) and program.execution == EXECUTION
        assert [stream for stream, _ in program] == ["stdout", "stderr"]
    assert (program.exit_code, program.reason) == (7, "")


def test_a_program_that_is_left_early_ends(served: Served, job: SubmittedJob) -> None:
    with job.exec(["cat"], stdin=True) as program:
        program.send(b"x")
        for piece in program:
            assert piece == ("stdout", b"x")
            break
    until("it has ended", lambda: served.node.exec.begun[0].has_ended)
    assert list(program) == [] and program.exit_code is None


def test_a_program_that_another_thread_closes_ends_for_who_reads_it(
    served: Served, job: SubmittedJob
) -> None:
    with job.exec(["cat"], stdin=True) as program:
        program.send(b"x")
        output = program.output()
        assert next(output) == ("stdout", b"x")
        threading.Timer(0.1, program.close).start()
        with pytest.raises(Interrupted):
            next(output)
    until("it has ended", lambda: served.node.exec.begun[0].has_ended)


def test_what_does_not_begin_is_refused(job: SubmittedJob) -> None:
    with pytest.raises(Refused, match="command"):
        job.exec([])


class _Busy(Client):
    """A node's API whose program reads nothing for two requests' time."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", "token")
        self.asked: list[bytes] = []

    def exec_input(self, session: str, data: bytes, end: bool = False) -> None:
        self.asked.append(data)
        if len(self.asked) < 3:
            raise Refused(Code.TIMEOUT, "the program has read nothing")


def test_input_that_a_program_does_not_read_is_sent_again_until_it_does() -> None:
    client = _Busy()
    events = (one for one in ({"session": "s", "execution": EXECUTION},))
    EnteredProgram(client, events).send(b"x" * PIECE_SIZE_BYTES_MAX + b"y")
    first = b"x" * PIECE_SIZE_BYTES_MAX
    assert client.asked == [first, first, first, b"y"]


async def test_on_trio_one_task_reads_while_another_sends(served: Served) -> None:
    async with connect() as node:
        job = await node.submit(a_job("endless"))
        with trio.fail_after(PROMPT_S):
            async with job.exec(["cat"], stdin=True) as program, trio.open_nursery() as nursery:
                assert isinstance(program, TrioProgram) and program.execution == EXECUTION

                async def send() -> None:
                    await program.send(b"from ")
                    await program.send(b"trio")
                    await program.resize(5, 6)
                    await program.end_input()

                nursery.start_soon(send)
                got = b"".join([data async for _, data in program.output()])
        assert (got, program.exit_code, program.reason) == (b"from trio", 0, "")
        assert served.node.exec.begun[0].program.sizes == [(5, 6)]


async def test_a_cancelled_reader_ends_its_program_at_once(served: Served) -> None:
    async with connect() as node:
        job = await node.submit(a_job("endless"))
        with trio.fail_after(PROMPT_S):
            async with job.exec(["cat"], stdin=True) as program:
                with trio.move_on_after(0.1) as scope:
                    async for _ in program.output():
                        pytest.fail("nothing was sent")
                assert scope.cancelled_caught
    until("it has ended", lambda: served.node.exec.begun[0].has_ended)


async def test_a_sender_that_is_cancelled_leaves_its_reader_alone(served: Served) -> None:
    async with connect() as node:
        job = await node.submit(a_job("endless"))
        with trio.fail_after(PROMPT_S):
            async with job.exec(["busy"], stdin=True) as program:
                await program.send(b"taken")
                with trio.move_on_after(0.1) as scope:
                    await program.send(b"not taken")
                assert scope.cancelled_caught and not served.node.exec.begun[0].has_ended
