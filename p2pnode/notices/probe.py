"""Asks the operator's own program whether this node takes a job: JSON on stdin, exit status 0 for yes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import trio

from p2pnode.core import jobfile
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.spec import JobSpec

from .program import OUTPUT_LENGTH_MAX, run_program

# The bid that an award takes up holds for 10 s, and is refused before.
RUN_S_MAX = 5.0
# Programs of a look-up each; more awards at once wait in the same 5 s.
RUNS_MAX = 4


class Probe:
    """The words of a program; without any, all is taken. `note` keeps for people why it cannot be asked."""

    def __init__(self, words: Sequence[str], note: Callable[[str, str], None]) -> None:
        self._words = tuple(words)
        self._note = note
        self._limit = trio.CapacityLimiter(RUNS_MAX)

    def __bool__(self) -> bool:
        return bool(self._words)

    async def why_not(self, spec: JobSpec, requester: str) -> str:
        """Why the job is not taken; "" where it is."""
        text = json.dumps({"requester": requester, "spec": jobfile.render(spec)}, ensure_ascii=False)
        end = None
        try:
            with trio.move_on_after(RUN_S_MAX):
                async with self._limit:
                    end = await run_program(
                        self._words,
                        os.environ,
                        text.encode("utf-8", "backslashreplace"),
                        RUN_S_MAX,
                        errors_only=True,
                    )
        except OSError as error:
            return self._failed(f"{self._words[0]} cannot be run: {reason_of(error)}")
        if end is None or end.status is None:
            return self._failed(f"no answer within {RUN_S_MAX:.0f} s")
        if end.status == 0:
            return ""
        first = end.printed.partition(b"\n")[0]
        said = reason_of(first, OUTPUT_LENGTH_MAX) if first.strip() else f"exit status {end.status}"
        return f"its operator's probe refuses it: {said}"

    def _failed(self, reason: str) -> str:
        self._note("policy probe", reason)
        return "its operator's probe could not be asked"
