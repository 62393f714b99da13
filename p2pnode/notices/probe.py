"""Asks the operator's own program or service whether this node takes a job: JSON, and 0 or 2xx for yes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import trio

from p2pnode.core import jobfile
from p2pnode.core.wire.reasons import reason_of
from p2pnode.core.wire.spec import JobSpec
from p2pnode.data.failures import DataFailed, Retryable

from .posting import PostTarget
from .program import OUTPUT_LENGTH_MAX, run_program

# The bid that an award takes up holds for 10 s, and is refused before.
RUN_S_MAX = 5.0
# Programs of a look-up each; more awards at once wait in the same 5 s.
RUNS_MAX = 4


_REFUSES = "its operator's probe refuses it"
# The most that is read of a service's answer: its reason is one line.
ANSWER_SIZE_BYTES_MAX = 16 * 1024


class Probe:
    """The words of a program, or the URL of a service; without either, all is taken.

    `note` keeps for people why it cannot be asked.
    """

    def __init__(self, words: Sequence[str], url: str, note: Callable[[str, str], None]) -> None:
        self._words = tuple(words)
        self._target = PostTarget(url) if url else None
        self._note = note
        self._limit = trio.CapacityLimiter(RUNS_MAX)

    def __bool__(self) -> bool:
        return bool(self._words or self._target)

    async def why_not(self, spec: JobSpec, requester: str) -> str:
        """Why the job is not taken; "" where it is."""
        text = json.dumps({"requester": requester, "spec": jobfile.render(spec)}, ensure_ascii=False)
        data = text.encode("utf-8", "backslashreplace")
        return await (self._ask_service(self._target, data) if self._target else self._ask_program(data))

    async def _ask_service(self, target: PostTarget, data: bytes) -> str:
        try:
            with trio.fail_after(RUN_S_MAX):
                async with self._limit:
                    status, said, answer = await target.post(data, {}, ANSWER_SIZE_BYTES_MAX)
        except trio.TooSlowError:
            return self._failed(f"no answer within {RUN_S_MAX:.0f} s")
        except (Retryable, DataFailed) as error:
            return self._failed(str(error))
        found = _object_in(answer)
        if 200 <= status < 300:
            if found.get("shouldbid") is not False:
                return ""
            said = "its answer is shouldBid: false"
        return f"{_REFUSES}: {_reason_in(found) or said}"

    async def _ask_program(self, data: bytes) -> str:
        end = None
        try:
            with trio.move_on_after(RUN_S_MAX):
                async with self._limit:
                    end = await run_program(self._words, os.environ, data, RUN_S_MAX, errors_only=True)
        except OSError as error:
            return self._failed(f"{self._words[0]} cannot be run: {reason_of(error)}")
        if end is None or end.status is None:
            return self._failed(f"no answer within {RUN_S_MAX:.0f} s")
        if end.status == 0:
            return ""
        first = end.printed.partition(b"\n")[0]
        said = reason_of(first, OUTPUT_LENGTH_MAX) if first.strip() else f"exit status {end.status}"
        return f"{_REFUSES}: {said}"

    def _failed(self, reason: str) -> str:
        self._note("policy probe", reason)
        return "its operator's probe could not be asked"


def _object_in(answer: bytes) -> dict[str, object]:
    """The JSON object that it is, its names in lower case since Bacalhau takes any; {} for another."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return {name.lower(): value for name, value in found.items()} if isinstance(found, dict) else {}


def _reason_in(found: dict[str, object]) -> str:
    """Its `reason`, as one line; "" where there is none."""
    reason = found.get("reason")
    return reason_of(reason.encode("utf-8", "replace"), OUTPUT_LENGTH_MAX) if isinstance(reason, str) else ""
