"""Runs a program of the operator's: a text on stdin, and the beginning of what it prints.

No shell reads any of it. It runs in a session of its own, so that all it began can be ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio

# A line or two of an error; the rest is thrown away as it comes.
OUTPUT_LENGTH_MAX = 500
# A command that has ended prints nothing more, but a child of it may hold the pipe open for ever.
OUTPUT_END_S_MAX = 1.0
_PIECE_SIZE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class CommandEnd:
    # None: it was ended, as it took too long.
    status: int | None
    printed: bytes


async def run_program(
    words: Sequence[str], environment: Mapping[str, str], text: bytes, limit_s: float, *, errors_only: bool
) -> CommandEnd:
    """Run it for so long at most; `errors_only` throws away its stdout.

    Raises `OSError`, and `ValueError` for a name that no variable can hold.
    """
    process = await trio.lowlevel.open_process(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if errors_only else subprocess.PIPE,
        stderr=subprocess.PIPE if errors_only else subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    printed = bytearray()
    try:
        with trio.move_on_after(limit_s) as time_limit:
            await _attend(process, text, printed)
    finally:
        # Its whole session: a command that ended by itself has left nothing, mostly.
        if process.returncode is None or time_limit.cancelled_caught:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
    return CommandEnd(None if time_limit.cancelled_caught else process.returncode, bytes(printed))


async def _attend(process: trio.Process, text: bytes, printed: bytearray) -> None:
    """Feed a process, and keep the beginning of what it prints, until it has ended."""
    stdin, output = process.stdin, process.stdout or process.stderr
    assert stdin is not None and output is not None

    async def feed() -> None:
        # A command need not read it.
        with suppress(trio.BrokenResourceError):
            async with stdin:
                await stdin.send_all(text)

    async def listen() -> None:
        async with output:
            while piece := await output.receive_some(_PIECE_SIZE_BYTES):
                printed.extend(piece[: max(0, OUTPUT_LENGTH_MAX - len(printed))])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(listen)
        await process.wait()
        nursery.cancel_scope.deadline = trio.current_time() + OUTPUT_END_S_MAX
