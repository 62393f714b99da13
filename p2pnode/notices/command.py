"""Runs the operator's command for a job's end: the job as JSON on stdin, its main fields in variables.

No shell reads any of it. The command runs in a session of its own, so that all it began can be ended.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from p2pnode.core.wire.reasons import reason_of

from .target import Notice, NotTaken, target_name

log = logging.getLogger(__name__)

# A mail or a message takes seconds; what takes longer is better put into a queue of its own.
RUN_S_MAX = 60.0
# A line or two of an error; the rest is thrown away as it comes.
OUTPUT_LENGTH_MAX = 500
# A command that has ended prints nothing more, but a child of it may hold the pipe open for ever.
OUTPUT_END_S_MAX = 1.0
_PIECE_SIZE_BYTES = 4096


class EndCommand:
    """The words of a program and its arguments, run with this environment."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = target_name("\0".join(words))
        self.shown = "on_job_end"
        self._words = tuple(words)
        self._environment = dict(environment)

    async def tell(self, notice: Notice) -> None:
        """Run it; raises `NotTaken` where it cannot, is too slow, or does not exit with 0."""
        job = notice.job
        about = {
            "P2PNODE_JOB_ID": job["id"],
            "P2PNODE_JOB_NAME": job["name"],
            "P2PNODE_JOB_STATE": job["state"],
            "P2PNODE_JOB_OUTCOME": job["outcome"] or "",
            "P2PNODE_JOB_RUN": str(job["run"]),
        }
        try:
            process = await trio.lowlevel.open_process(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**self._environment, **about},
                start_new_session=True,
            )
        # ValueError: a name that no variable can hold.
        except (OSError, ValueError) as error:
            raise NotTaken(f"{self._words[0]} cannot be run: {reason_of(error)}") from error
        text = json.dumps(job, ensure_ascii=False).encode("utf-8", "backslashreplace")
        printed = bytearray()
        try:
            with trio.move_on_after(RUN_S_MAX) as time_limit:
                await _attend(process, text, printed)
        finally:
            # Its whole session: a command that ended by itself has left nothing, mostly.
            if process.returncode is None or time_limit.cancelled_caught:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
        said = reason_of(bytes(printed), OUTPUT_LENGTH_MAX)
        if time_limit.cancelled_caught:
            raise NotTaken(f"it has not ended within {RUN_S_MAX:.0f} s")
        if process.returncode != 0:
            raise NotTaken(f"it exited with {process.returncode}{f': {said}' if said else ''}")
        if said:
            log.info("on_job_end for %s: %s", job["id"], said)


async def _attend(process: trio.Process, text: bytes, printed: bytearray) -> None:
    """Feed a process, and keep the beginning of what it prints, until it has ended."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    async def feed() -> None:
        # A command need not read it.
        with suppress(trio.BrokenResourceError):
            async with stdin:
                await stdin.send_all(text)

    async def listen() -> None:
        async with stdout:
            while piece := await stdout.receive_some(_PIECE_SIZE_BYTES):
                printed.extend(piece[: max(0, OUTPUT_LENGTH_MAX - len(printed))])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(listen)
        await process.wait()
        nursery.cancel_scope.deadline = trio.current_time() + OUTPUT_END_S_MAX
