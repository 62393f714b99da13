"""The stream of an exec between two real hosts, whose other end may be anybody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing

from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import Record
from p2pnode.core.wire.exec import ExecEnd, ExecInput, ExecOutput, ExecRequest, ExecTaken
from p2pnode.core.wire.signing import Signed
from p2pnode.core.worker.entering import CannotEnter
from p2pnode.network.host import Host, open_host
from p2pnode.network.protocols import exec, frames
from p2pnode.network.streams import NetworkError, Stream, StreamBroken

from .fake_program import FakeEngine, FakeProgram
from .network_support import LOOPBACK, WAIT_S, new_identity

SIGNED = Signed(body=b"who and what", signature=bytes(64))


def framed(record: Record) -> bytes:
    data = codec.encode(record)
    return len(data).to_bytes(4, "big") + data


@asynccontextmanager
async def hosts(engine: FakeEngine) -> AsyncIterator[tuple[Host, Host]]:
    """A controller's host, connected to one that serves `engine`."""
    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(exec.PROTOCOL, partial(exec.serve, enter=engine.enter))
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        with trio.fail_after(WAIT_S):
            yield a, b


async def asked(a: Host, b: Host, *frames_sent: bytes) -> Stream:
    stream = await a.open_stream(b.peer_id, [exec.PROTOCOL], exec.OPEN_TIMEOUT_S)
    for data in frames_sent:
        await stream.write(data, WAIT_S)
    return stream


async def read_all(host: Host, peer: str) -> None:
    async with exec.entered(host, peer, SIGNED) as remote:
        while await remote.read():
            continue


async def is_over(stream: Stream) -> bool:
    """Whether the peer ends the stream, and says no more on it than that a program began."""
    said = b""
    with suppress(StreamBroken):
        while data := await stream.read_some(65_536, WAIT_S):
            said += data
    return said in (b"", framed(ExecOutput(stream="stdout", data=b"")))


async def test_input_goes_there_and_output_and_the_exit_code_come_back() -> None:
    large = bytes(range(256)) * 1024
    program = FakeProgram(("stderr", b"ready\n"))
    engine = FakeEngine(program)
    async with hosts(engine) as (a, b), exec.entered(a, b.peer_id, SIGNED) as remote:
        assert engine.asked == [(a.peer_id, SIGNED)]
        assert await remote.read() == ("stderr", b"ready\n")
        await remote.resize(132, 43)
        await remote.write(large)
        await remote.end_input()
        got = b""
        while piece := await remote.read():
            got += piece[1]
        assert got == program.got == large
        assert program.sizes == [(132, 43)]
        assert await remote.ended() == ExecEnd(exit_code=7, reason="")
        await program.ended_by_session.wait()


async def test_a_refusal_comes_with_its_reason() -> None:
    async with hosts(FakeEngine(refusal="not today")) as (a, b):
        with pytest.raises(CannotEnter, match=r"^not today$"):
            async with exec.entered(a, b.peer_id, SIGNED):
                pytest.fail("it did not begin")


async def test_a_controller_that_leaves_has_its_program_ended() -> None:
    program = FakeProgram()
    async with hosts(FakeEngine(program)) as (a, b):
        async with exec.entered(a, b.peer_id, SIGNED):
            assert not program.ended_by_session.is_set()
        await program.ended_by_session.wait()


async def test_a_program_that_takes_no_input_holds_the_sender_back_and_is_ended_with_the_stream() -> None:
    program = FakeProgram(takes=False)
    async with hosts(FakeEngine(program)) as (a, b):
        async with exec.entered(a, b.peer_id, SIGNED) as remote:
            with trio.move_on_after(1) as scope:
                await remote.write(bytes(4 * 2**20))
            assert scope.cancelled_caught
        await program.ended_by_session.wait()


async def test_who_does_not_read_holds_the_program_back_and_then_gets_all() -> None:
    written = [("stdout", bytes([number]) * 50_000) for number in range(20)]
    program = FakeProgram(*written)
    async with hosts(FakeEngine(program)) as (a, b), exec.entered(a, b.peer_id, SIGNED) as remote:
        await trio.testing.wait_all_tasks_blocked(0.3)
        assert program.left >= 14
        assert [await remote.read() for _ in written] == written


async def test_a_flood_that_nobody_asked_for_ends_the_session_alone() -> None:
    program, other = FakeProgram(takes=False), FakeProgram()
    async with hosts(FakeEngine(other, program)) as (a, b), exec.entered(a, b.peer_id, SIGNED) as remote:
        stream = await asked(a, b, framed(ExecRequest(signed=SIGNED)))
        with pytest.raises(StreamBroken):
            await stream.write(framed(ExecInput(data=bytes(65_536), end=False)) * 1_000, WAIT_S)
        await program.ended_by_session.wait()
        await remote.write(b"unharmed")
        assert await remote.read() == ("stdout", b"unharmed")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\0\0\0\x05hello", id="no CBOR"),
        pytest.param(b"\xff\xff\xff\xff", id="a frame of 4 GiB"),
        pytest.param(b"\0\0\0\0", id="an empty frame"),
        pytest.param(framed(ExecInput(data=b"x", end=False)), id="input first"),
        pytest.param(framed(ExecOutput(stream="stdout", data=b"")), id="a frame of peers"),
        pytest.param(framed(ExecRequest(signed=SIGNED, extensions={"must-x": b""})), id="what it must know"),
    ],
)
async def test_what_is_no_request_begins_nothing_and_costs_the_stream(sent: bytes) -> None:
    engine = FakeEngine(FakeProgram())
    async with hosts(engine) as (a, b):
        assert await is_over(await asked(a, b, sent))
        assert engine.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\0\0\0\x05hello", id="no CBOR"),
        pytest.param(b"\xff\xff\xff\xff", id="a frame of 4 GiB"),
        pytest.param(framed(ExecInput(data=bytes(65_537), end=False)), id="too much at once"),
        pytest.param(framed(ExecRequest(signed=SIGNED)), id="another request"),
        pytest.param(framed(ExecTaken(size_bytes=1)), id="more taken than was sent"),
        pytest.param(framed(ExecInput(data=b"x", end=False)) * 1_100, id="more pieces than the window"),
        pytest.param(framed(ExecEnd(exit_code=0, reason="")), id="a frame of peers"),
    ],
)
async def test_garbage_after_the_request_ends_the_program_and_the_stream(sent: bytes) -> None:
    program = FakeProgram(takes=False)
    async with hosts(FakeEngine(program, FakeProgram())) as (a, b):
        assert await is_over(await asked(a, b, framed(ExecRequest(signed=SIGNED)), sent))
        await program.ended_by_session.wait()
        async with exec.entered(a, b.peer_id, SIGNED):
            pass


async def test_a_stream_that_ends_within_a_frame_ends_the_program() -> None:
    program = FakeProgram()
    async with hosts(FakeEngine(program)) as (a, b):
        stream = await asked(
            a, b, framed(ExecRequest(signed=SIGNED)), framed(ExecInput(data=b"x", end=False))[:9]
        )
        await stream.close_write()
        await program.ended_by_session.wait()


async def test_silence_ends_the_stream_before_a_request_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = FakeProgram()
    async with hosts(FakeEngine(program)) as (a, b):
        for name in ("REQUEST_TIMEOUT_S", "READ_TIMEOUT_S"):
            monkeypatch.setattr(exec, name, 0.2)
        assert await is_over(await asked(a, b))
        assert await is_over(await asked(a, b, framed(ExecRequest(signed=SIGNED))))
        await program.ended_by_session.wait()


async def test_signs_of_life_keep_a_silent_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec, "KEEP_ALIVE_INTERVAL_S", 0.1)
    monkeypatch.setattr(exec, "READ_TIMEOUT_S", 0.5)
    program = FakeProgram()
    async with hosts(FakeEngine(program)) as (a, b), exec.entered(a, b.peer_id, SIGNED) as remote:
        # Three times as long as a side is silent at most.
        with trio.move_on_after(1.5) as scope:
            await remote.read()
        assert scope.cancelled_caught and not program.ended_by_session.is_set()
        await remote.write(b"still here")
        assert await remote.read() == ("stdout", b"still here")


async def test_more_streams_than_a_peer_may_have_are_not_served_and_the_others_go_on() -> None:
    programs = [FakeProgram() for _ in range(100)]
    engine = FakeEngine(*programs)
    async with hosts(engine) as (a, b):
        streams = []
        with suppress(NetworkError):
            for _ in range(100):
                streams.append(await asked(a, b, framed(ExecRequest(signed=SIGNED))))
        assert len(engine.asked) <= 32
        for stream in streams:
            await stream.reset()
        for program in programs[: len(engine.asked)]:
            await program.ended_by_session.wait()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([b"\0\0\0\x05hello"], id="garbage"),
        pytest.param(
            [framed(ExecOutput(stream="stdout", data=b"")), b"\xff\xff\xff\xff"], id="a frame of 4 GiB"
        ),
        pytest.param(
            [framed(ExecOutput(stream="stdout", data=b"")), b"\0\0\0\x09abc"], id="a part of a frame"
        ),
        pytest.param([framed(ExecOutput(stream="stdout", data=b""))], id="the end without an end"),
        pytest.param([framed(ExecEnd(exit_code=0, reason=""))], id="an end before it began"),
        pytest.param([framed(ExecInput(data=b"x", end=True))], id="a frame of controllers"),
        pytest.param([], id="nothing"),
    ],
)
async def test_a_dishonest_peer_costs_its_session_and_a_reason(said: list[bytes]) -> None:
    async def lie(stream: Stream) -> None:
        await frames.read_frame_untrusted(stream, ExecRequest, exec.FRAME_SIZE_BYTES_MAX, WAIT_S)
        for data in said:
            await stream.write(data, WAIT_S)
        await stream.close()

    async with open_host(new_identity(), [LOOPBACK]) as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(exec.PROTOCOL, lie)
        await a.connect(b.peer_id, b.addresses(), WAIT_S)
        with trio.fail_after(WAIT_S), pytest.raises(CannotEnter, match=r"lost|does not say why"):
            await read_all(a, b.peer_id)
