"""Runs the operator's command for a job's end: the job as JSON on stdin, its main fields in variables."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from p2pnode.core.wire.reasons import reason_of

from .program import OUTPUT_LENGTH_MAX, run_program
from .target import Notice, NotTaken, target_name

log = logging.getLogger(__name__)

# A mail or a message takes seconds; what takes longer is better put into a queue of its own.
RUN_S_MAX = 60.0


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
        text = json.dumps(job, ensure_ascii=False).encode("utf-8", "backslashreplace")
        try:
            end = await run_program(
                self._words, {**self._environment, **about}, text, RUN_S_MAX, errors_only=False
            )
        except (OSError, ValueError) as error:
            raise NotTaken(f"{self._words[0]} cannot be run: {reason_of(error)}") from error
        said = reason_of(end.printed, OUTPUT_LENGTH_MAX)
        if end.status is None:
            raise NotTaken(f"it has not ended within {RUN_S_MAX:.0f} s")
        if end.status != 0:
            raise NotTaken(f"it exited with {end.status}{f': {said}' if said else ''}")
        if said:
            log.info("on_job_end for %s: %s", job["id"], said)
