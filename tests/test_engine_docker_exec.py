"""Programs begun in real containers, beside the job's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pnode.core.wire import codec
from p2pnode.core.wire.exec import ExecBody, ExecEnd, Terminal
from p2pnode.core.worker.entering import CannotEnter, Entered
from p2pnode.engines.docker import exec
from p2pnode.engines.docker.engine import DockerEngine
from p2pnode.engines.wasm.engine import WasmEngine

from .docker_engine import BATCH_EXAMPLE, SOCKET, require_docker, shell
from .engine_support import Calls, make_workload, run
from .own_programs import MARK, marked

WAIT_S = 20.0
SIZE = Terminal(columns=132, rows=43, type="xterm")


def wanted(execution: str, *command: str, stdin: bool = False, terminal: Terminal | None = None) -> ExecBody:
    return ExecBody(
        job="j-" + "0" * 32,
        execution=execution,
        peer="node",
        controller="me",
        command=command,
        terminal=terminal,
        stdin=stdin,
    )


@pytest.fixture
def engine() -> DockerEngine:
    require_docker()
    return DockerEngine(f"exec-{os.getpid()}", SOCKET)


@asynccontextmanager
async def container(engine: DockerEngine, directory: Path, image: str = "") -> AsyncIterator[str]:
    """A job's container that runs until the block is left."""
    task = shell("echo only this; sleep 600")
    workload = make_workload(directory, codec.replace(task, image=image or task.image))
    calls = Calls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, engine, workload, calls)
        with trio.fail_after(WAIT_S):
            await calls.started_event.wait()
            yield workload.execution_id
        nursery.cancel_scope.cancel()
    assert workload.stdout.read_bytes() in (b"", b"only this\n"), "what others wrote is no output of the job"


async def everything(program: Entered) -> tuple[dict[str, bytes], ExecEnd]:
    got = {"stdout": b"", "stderr": b""}
    while piece := await program.read():
        got[piece[0]] += piece[1]
    return got, await program.ended()


async def until_running(count: int) -> None:
    with trio.fail_after(WAIT_S):
        while marked() != count:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_input_output_errors_and_the_exit_code_are_the_programs(
    engine: DockerEngine, tmp_path: Path
) -> None:
    async with container(engine, tmp_path) as id:
        body = wanted(id, "sh", "-c", "echo hi; echo oh >&2; cat; exit 7", stdin=True)
        async with engine.enter(body) as program:
            assert await program.read() in (("stdout", b"hi\n"), ("stderr", b"oh\n"))
            await program.read()
            await program.write(b"what comes")
            assert await program.read() == ("stdout", b"what comes")
            await program.end_input()
            await program.end_input()
            assert await program.read() is None
            assert await program.ended() == ExecEnd(exit_code=7, reason="")
            await program.write(b"too late")


async def test_much_input_and_output_pass_whole(engine: DockerEngine, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with container(engine, tmp_path) as id, engine.enter(wanted(id, "cat", stdin=True)) as program:
        async with trio.open_nursery() as nursery:

            async def give() -> None:
                await program.write(data)
                await program.end_input()

            nursery.start_soon(give)
            got, end = await everything(program)
        assert got == {"stdout": data, "stderr": b""} and end.exit_code == 0


async def test_a_program_without_input_finds_its_stdin_empty(engine: DockerEngine, tmp_path: Path) -> None:
    async with container(engine, tmp_path) as id, engine.enter(wanted(id, "cat")) as program:
        assert await everything(program) == ({"stdout": b"", "stderr": b""}, ExecEnd(exit_code=0, reason=""))


async def test_a_terminal_has_its_first_size_and_each_later_one(engine: DockerEngine, tmp_path: Path) -> None:
    tell = "import os; print(tuple(os.get_terminal_size()), os.environ['TERM'], os.isatty(0), flush=True); "
    # An engine before Docker 23 is told a moment after the start.
    wait = "import os\nwhile not os.get_terminal_size().columns: pass\n"
    body = wanted("", "python", "-c", f"{wait}{tell}input(); {tell}", stdin=True, terminal=SIZE)
    async with container(engine, tmp_path, BATCH_EXAMPLE) as id:
        async with engine.enter(codec.replace(body, execution=id)) as program:
            assert await program.read() == ("stdout", b"(132, 43) xterm True\r\n")
            await program.resize(80, 24)
            await program.write(b"\n")
            got, end = await everything(program)
            assert got["stdout"].endswith(b"(80, 24) xterm True\r\n") and end.exit_code == 0


async def test_ctrl_p_is_a_key_like_any_other(engine: DockerEngine, tmp_path: Path) -> None:
    body = wanted("", "sh", "-c", "stty raw -echo; echo; head -c 2 | od -c", stdin=True, terminal=SIZE)
    async with container(engine, tmp_path) as id:
        async with engine.enter(codec.replace(body, execution=id)) as program:
            assert await program.read()
            await program.write(b"\x10\x11")
            got, _ = await everything(program)
            assert b"020 021" in got["stdout"]


async def test_it_may_no_more_than_the_jobs_own_program(engine: DockerEngine, tmp_path: Path) -> None:
    tell = "id; pwd; env | grep P2PNODE_EXECUTION_ID; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/{}/status"
    async with container(engine, tmp_path) as id:
        async with engine.enter(wanted(id, "sh", "-c", tell.format("self"))) as program:
            own, _ = await everything(program)
        async with engine.enter(wanted(id, "sh", "-c", tell.format("1"))) as program:
            jobs, _ = await everything(program)
        assert own == jobs and b"NoNewPrivs:\t1" in own["stdout"] and id.encode() in own["stdout"]


@pytest.mark.parametrize("terminal", [None, SIZE], ids=["pipes", "terminal"])
@pytest.mark.parametrize("script", ["sleep {0} & sleep {0}", "trap '' HUP; sleep {0}; sleep {0}"])
async def test_who_leaves_leaves_no_program_behind_whatever_it_thinks_of_hangups(
    engine: DockerEngine, tmp_path: Path, script: str, terminal: Terminal | None
) -> None:
    async with container(engine, tmp_path) as id:
        body = wanted(id, "sh", "-c", script.format(MARK), stdin=True, terminal=terminal)
        async with engine.enter(body):
            await until_running(2)
        assert marked() == 0
        async with engine.enter(wanted(id, "true")) as program:
            assert (await everything(program))[1].exit_code == 0, "the job's own goes on"


async def test_who_is_cancelled_leaves_no_program_behind(engine: DockerEngine, tmp_path: Path) -> None:
    async with container(engine, tmp_path) as id:
        with trio.CancelScope() as scope:
            async with engine.enter(wanted(id, "sleep", MARK)):
                await until_running(1)
                scope.cancel()
                await trio.sleep_forever()
        assert marked() == 0


async def test_the_end_of_the_execution_is_that_of_the_program(engine: DockerEngine, tmp_path: Path) -> None:
    reached = False
    with trio.fail_after(WAIT_S):
        async with container(engine, tmp_path) as id, engine.enter(wanted(id, "sleep", MARK)) as program:
            await exec.api.remove_container(SOCKET, id)
            end = (await everything(program))[1]
            assert end.exit_code in (None, 137)
            reached = True
    assert reached and marked() == 0


@pytest.mark.parametrize("command", ["/no/such", "no-such", "/etc/passwd", "/tmp"])
async def test_what_cannot_be_run_is_told_in_our_words(
    engine: DockerEngine, tmp_path: Path, command: str
) -> None:
    async with container(engine, tmp_path) as id:
        with pytest.raises(CannotEnter, match=f"^the container cannot run '{command}'"):
            async with engine.enter(wanted(id, command)):
                pytest.fail("it began")


async def test_a_container_that_is_not_there_is_told_of(engine: DockerEngine) -> None:
    with pytest.raises(CannotEnter, match="is not running any more"):
        async with engine.enter(wanted("e-" + "0" * 32, "sh")):
            pytest.fail("it began")


async def test_an_engine_that_is_away_is_told_of_without_its_words(tmp_path: Path) -> None:
    engine = DockerEngine("exec", str(tmp_path / "no.sock"))
    with pytest.raises(CannotEnter) as refused:
        async with engine.enter(wanted("e-" + "0" * 32, "sh")):
            pytest.fail("it began")
    assert str(refused.value) == exec.LOST


async def test_wasm_has_no_shell(tmp_path: Path) -> None:
    with pytest.raises(CannotEnter, match="WASM program has no shell"):
        async with WasmEngine(tmp_path).enter(wanted("e-" + "0" * 32, "sh")):
            pytest.fail("it began")
