"""Programs that are begun through the API: their stream, their input, and who may give it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from p2pnode.api.exec_sessions import EXEC_SESSIONS_MAX, INPUT_TIMEOUT_S, Talk
from p2pnode.api.shapes import Code, ServiceError
from p2pnode.api.token_shapes import TokenKind
from p2pnode.client.calls import Client
from p2pnode.client.exec import PIECE_SIZE_BYTES_MAX, EnteredProgram
from p2pnode.client.finding import find
from p2pnode.core.wire.exec import ARGUMENTS_MAX, Terminal
from p2pnode.service.exec import ExecSession
from p2pnode.system.audit_log import FILE_NAME
from tests import raw_http
from tests.fake_exec import EXECUTION, FLOOD, Begun
from tests.fake_node import Served
from tests.fake_program import FakeProgram

from .nodes import until

JOB = b"Name: web\nType: service\nCount: 1\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"
TERMINAL = {"columns": 80, "rows": 24, "type": "xterm"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


@pytest.fixture
def client(served: Served) -> Client:
    return find(served.node.data_dir, {})


@pytest.fixture
def job(client: Client) -> str:
    return client.submit(JOB, "job.yaml")


def only(served: Served) -> Begun:
    [begun] = served.node.exec.begun
    return begun


def audited(served: Served) -> list[dict[str, Any]]:
    lines = (served.node.data_dir / FILE_NAME).read_text().splitlines()
    return [one for one in map(json.loads, lines) if one["action"].startswith("exec")]


def as_token(served: Served, client: Client, kind: TokenKind, name: str = "other") -> Client:
    return Client(served.url, client.create_token(name, kind, None))


def refused(session: str, client: Client) -> Code:
    with pytest.raises(ServiceError) as error:
        client.exec_input(session, b"x")
    return error.value.code


def session_of(program: EnteredProgram) -> str:
    return program._session


def test_a_program_s_output_comes_in_order_and_its_exit_code_last(
    served: Served, client: Client, job: str
) -> None:
    with client.exec(job, ["hello", "you"], execution="e-e") as program:
        assert list(program) == [("stdout", b"out \xff\x1b[2J\n"), ("stderr", b"err\n")]
        assert (program.execution, program.exit_code, program.reason) == (EXECUTION, 7, "")
    begun = only(served)
    assert (begun.job, begun.execution, begun.command) == (job, "e-e", ("hello", "you"))
    assert (begun.terminal, begun.stdin) == (None, False)
    [line] = audited(served)
    assert line.pop("at") and line == {
        "caller": "owner",
        "action": "exec",
        "job": job,
        "execution": EXECUTION,
        "command": "hello you",
        "terminal": False,
        "result": "done",
    }


def test_input_reaches_the_program_in_its_order_and_can_end(served: Served, client: Client, job: str) -> None:
    sent = bytes(range(256)) * 1024
    with client.exec(job, ["cat"], terminal=TERMINAL, stdin=True) as program:
        program.resize(100, 50)

        def give() -> None:
            program.send(sent)
            program.end_input()

        giving = threading.Thread(target=give)
        giving.start()
        got = b"".join(data for _, data in program)
        giving.join()
        assert got == sent and program.exit_code == 0
        # Too late, so dropped.
        program.send(b"more")
        program.resize(1, 1)
    assert only(served).terminal == Terminal(columns=80, rows=24, type="xterm")
    assert only(served).program.sizes == [(100, 50)]
    assert len(audited(served)) == 1, "keys and sizes are not noted one by one"


def test_all_of_a_large_output_arrives(client: Client, job: str) -> None:
    with client.exec(job, ["flood"]) as program:
        assert b"".join(data for _, data in program) == FLOOD


def test_what_is_refused_has_a_status_and_is_noted(served: Served, client: Client, job: str) -> None:
    served.node.exec.refusal = ServiceError(Code.CONFLICT, "bob: not today")
    token = (served.node.data_dir / "api.token").read_text()
    body = b'{"command": ["sh"]}'
    status, answer = raw_http.answer(
        served.url, token, f"POST /api/v1/jobs/{job}/exec HTTP/1.1", "Host: 127.0.0.1", body=body
    )
    assert (status, json.loads(answer)["message"]) == (409, "bob: not today")
    assert [(one["command"], one["result"]) for one in audited(served)] == [("sh", "conflict")]


@pytest.mark.parametrize(
    ("command", "terminal", "said"),
    [
        ([], None, "command"),
        (["x"] * (ARGUMENTS_MAX + 1), None, "command"),
        (["sh"], {**TERMINAL, "rows": 0}, "terminal.rows"),
        (["sh"], {**TERMINAL, "columns": 65_536}, "terminal.columns"),
        (["sh"], {**TERMINAL, "type": "xterm\n"}, "terminal.type: expected a TERM"),
        (["sh"], {**TERMINAL, "type": "x" * 65}, "terminal.type: expected a TERM"),
        (["a\x1bb"], None, r"command\[0\] holds the control character"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    served: Served, client: Client, job: str, command: list[str], terminal: Any, said: str
) -> None:
    with pytest.raises(ServiceError, match=f"the field {said}") as error:
        client.exec(job, command, terminal=terminal)
    assert error.value.code is Code.BAD_REQUEST and served.node.exec.begun == []


def test_a_session_is_its_caller_s_alone(served: Served, client: Client, job: str) -> None:
    writer = as_token(served, client, TokenKind.WRITE)
    reader = as_token(served, client, TokenKind.READ, "reader")
    with client.exec(job, ["cat"], stdin=True) as program:
        session = session_of(program)
        assert refused(session, writer) is Code.NOT_FOUND
        assert refused(session, reader) is Code.FORBIDDEN
        assert refused("A" * len(session), client) is Code.NOT_FOUND
        with pytest.raises(ServiceError, match="no such session"):
            writer.exec_size(session, 1, 1)
        with writer.exec(job, ["cat"], stdin=True) as other:
            assert session_of(other) != session
        client.exec_input(session, b"mine")
        assert next(program.output()) == ("stdout", b"mine")
    with pytest.raises(ServiceError, match="write token"):
        reader.exec(job, ["cat"])
    assert refused(session, client) is Code.NOT_FOUND, "it has ended with its stream"


def test_a_program_ends_with_its_client_and_with_its_token(served: Served, client: Client, job: str) -> None:
    with client.exec(job, ["cat"], stdin=True):
        assert not only(served).has_ended
    until("the program has ended", lambda: only(served).has_ended)
    writer = as_token(served, client, TokenKind.WRITE)
    with writer.exec(job, ["cat"], stdin=True):
        client.revoke_token("other")
        until("the program has ended", lambda: served.node.exec.begun[-1].has_ended)


def test_input_that_nothing_asked_for_or_that_is_too_much_is_refused(client: Client, job: str) -> None:
    with client.exec(job, ["busy"]) as program:
        assert refused(session_of(program), client) is Code.CONFLICT
    with client.exec(job, ["cat"], stdin=True) as program:
        with pytest.raises(ServiceError, match="over the limit"):
            client.exec_input(session_of(program), bytes(PIECE_SIZE_BYTES_MAX + 1))
        client.exec_input(session_of(program), bytes(PIECE_SIZE_BYTES_MAX), end=True)
        assert refused(session_of(program), client) is Code.CONFLICT


def test_so_many_go_on_at_once_and_one_more_when_one_has_ended(
    served: Served, client: Client, job: str
) -> None:
    with ExitStack() as stack:
        programs = [
            stack.enter_context(client.exec(job, ["cat"], stdin=True)) for _ in range(EXEC_SESSIONS_MAX)
        ]
        with pytest.raises(ServiceError, match="end some") as error:
            client.exec(job, ["cat"])
        assert error.value.code is Code.UNAVAILABLE
        programs[0].close()
        until("it has ended", lambda: served.node.exec.begun[0].has_ended)
        until("its place is free", lambda: _begins(client, job))


def _begins(client: Client, job: str) -> bool:
    try:
        client.exec(job, ["exits", "0"]).close()
    except ServiceError:
        return False
    return True


async def test_input_that_a_program_does_not_read_is_refused_whole_and_can_come_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(FakeProgram):
        async def write(self, data: bytes) -> None:
            await trio.sleep(INPUT_TIMEOUT_S * 1.5)
            await super().write(data)

    program = Slow()
    talk = Talk(("token", ""), ExecSession(program, EXECUTION), takes_input=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.feed)
        await talk.give(b"one ", end=False)
        with pytest.raises(ServiceError, match="read nothing") as error:
            await talk.give(b"two", end=True)
        assert error.value.code is Code.TIMEOUT
        await talk.give(b"two", end=True)
    assert program.got == b"one two"


async def test_who_waits_with_input_learns_that_the_program_is_gone() -> None:
    talk = Talk(("token", ""), ExecSession(FakeProgram(takes=False), EXECUTION), takes_input=True)
    async with trio.open_nursery() as nursery:
        feeding = trio.CancelScope()

        async def feed() -> None:
            with feeding:
                await talk.feed()

        nursery.start_soon(feed)
        await talk.give(b"taken", end=False)
        nursery.start_soon(_end_when_blocked, feeding)
        with pytest.raises(ServiceError) as error:
            await talk.give(b"not taken", end=False)
        assert error.value.code is Code.CONFLICT


async def _end_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
