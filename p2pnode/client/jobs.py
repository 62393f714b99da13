"""A job of a node, as a program holds it. Content is imported by what reads it."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pnode.api.shapes import EventJson, JobJson

from .calls import Client
from .errors import ClientError, WaitTimeout
from .exec import EnteredProgram
from .lines import Lines
from .shortening import short_id
from .views import JobView

if TYPE_CHECKING:
    from .results import JobResult


@dataclass(frozen=True, slots=True)
class OutputLine:
    """A line that an execution wrote, without its line break; `str()` is its text."""

    execution: str
    # "stdout" or "stderr".
    stream: str
    data: bytes

    def __str__(self) -> str:
        return self.data.decode(errors="replace")


class SubmittedJob(JobView):
    """A job, and what can be done with it; what asks the node raises `NodeUnreachable` and `Refused`."""

    def __init__(self, client: Client, record: JobJson) -> None:
        self._client = client
        self._record = record

    @property
    def record(self) -> JobJson:
        return self._record

    def refresh(self) -> SubmittedJob:
        """Look at it anew."""
        self._record = self._client.job(self.id)
        return self

    def wait(self, timeout_s: float | None = None) -> SubmittedJob:
        """Wait for its end, however it ends: `outcome` and `reason` tell.

        Raises `WaitTimeout` after so many seconds; a service or daemon ends when it is stopped.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.refresh().outcome:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            try:
                for _ in self._client.job_events(self.id, follow=True, timeout_s=left_s):
                    pass
            except WaitTimeout as error:
                hint = "wait again, or stop it"
                raise WaitTimeout(
                    f"{short_id(self.id)} goes on after {timeout_s} s, {self.state}: {hint}"
                ) from error
        return self

    def result(self, timeout_s: float | None = None, *, check: bool = True) -> JobResult:
        """Wait for its end and give the result of its first replica, as `results` does."""
        return self.results(timeout_s, check=check)[0]

    def results(self, timeout_s: float | None = None, *, check: bool = True) -> list[JobResult]:
        """Wait for its end and give the results of its replicas; their peers' receipts are verified.

        Raises `JobFailed` where it has not completed; without `check` only where it has no result. Raises
        `NotVerified` where a receipt is missing or does not hold, and `WaitTimeout`.
        """
        from .results import results_of

        self.wait(timeout_s)
        return results_of(self._client, self._record, check)

    def logs(
        self, *, execution: str | None = None, stream: str = "both", follow: bool = False
    ) -> Generator[OutputLine, None, None]:
        """The lines that its programs write; with `follow` until it has ended.

        `stream` is "stdout", "stderr" or "both"; `execution` an id or a prefix of one, None for all.
        """
        lines = Lines()
        try:
            with closing(self._client.logs(self.id, execution, stream, follow)) as chunks:
                for chunk in chunks:
                    of = chunk["execution"], chunk["stream"]
                    yield from (OutputLine(*of, line) for line in lines.of(of, chunk["data"]))
        except ClientError:
            yield from (OutputLine(*of, line) for of, line in lines.rest())
            raise
        yield from (OutputLine(*of, line) for of, line in lines.rest())

    def history(self, *, since: int = 0, follow: bool = False) -> Generator[EventJson, None, None]:
        """Its events after number `since`, oldest first; with `follow` until it has ended."""
        return self._client.job_events(self.id, since, follow)

    def exec(
        self, command: Sequence[str], *, execution: str | None = None, stdin: bool = False
    ) -> EnteredProgram:
        """Begin a program in the execution that runs, or in the one of this id or prefix.

        With `stdin` it gets the input that is sent. Raises `Refused`, with the reason of the peer.
        """
        return self._client.exec(self.id, command, execution, stdin=stdin)

    def stop(self, reason: str = "") -> SubmittedJob:
        """End it on all peers; the reason is kept with it."""
        self._record = self._client.stop(self.id, reason)
        return self

    def rerun(self, reason: str = "") -> SubmittedJob:
        """Begin it anew after its end, under the same id."""
        self._record = self._client.rerun(self.id, reason)
        return self
