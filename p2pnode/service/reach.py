"""Jobs that users of this node may follow and change, though it holds no copy: others are asked for them.

Asked are first the nodes of its own operator, then others that it knows (`core.replication.readings`), for a
few seconds. What they tell is in the journal, as copies are, for as long as somebody looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress

import trio

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.records.events import JobSought
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication.readings import READING_S, whom_to_ask
from p2pnode.core.wire.inquiries import JobLine
from p2pnode.network.host import Host
from p2pnode.network.protocols import jobs as job_lists
from p2pnode.node.changes import Changes
from p2pnode.node.clock import Clock
from p2pnode.node.driver import Driver
from p2pnode.node.journal import Journal

from .commands import give
from .lookup import CANDIDATES_SHOWN_MAX, Lookup

# A peer that is there answers in milliseconds, dialling included; a person waits for those that are not.
OWN_NODES_ANSWER_S = 2.0
ANYBODY_ANSWERS_S = 3.0
# Without an answer for so long the job is shown as it was heard of last.
NEWS_TIMEOUT_S = 1.0
# A list of jobs for a prefix or a name, of which each node is asked anew.
LISTS_TIMEOUT_S = 3.0
RENEWALS_PER_READING = 3
_ID = re.compile(r"j-[0-9a-f]{32}")


class JobReach:
    """Implements `api.services.ReachService`."""

    def __init__(
        self, lookup: Lookup, journal: Journal, driver: Driver, changes: Changes, clock: Clock, host: Host
    ) -> None:
        self._lookup = lookup
        self._journal = journal
        self._driver = driver
        self._changes = changes
        self._clock = clock
        self._host = host

    async def find(self, id_or_name: str) -> str:
        try:
            record = self._lookup.record(id_or_name)
        except ServiceError as exc:
            if exc.code is not Code.NOT_FOUND:
                raise
            return await self._sought(id_or_name, exc)
        if self._driver.core.readings.is_read(record):
            await self._renewed(record)
        return record.id

    async def find_named(self, namespace: str, name: str) -> None:
        if self._journal.job_named(namespace, name) is not None:
            return
        lines = await self._lines(wide=False)
        same = [one for one in lines if (one.namespace, one.name) == (namespace, name)]
        if same:
            newest = max(same, key=lambda one: (one.created_ms, one.id))
            try:
                await self._ask(newest.id, wide=False, timeout_s=OWN_NODES_ANSWER_S)
            except ServiceError:
                # A job of another operator, whose users these are not.
                return

    async def keep(self, job: str) -> None:
        # A failure shows where the job is looked at next.
        with suppress(ServiceError):
            while (record := self._journal.readable_job(job)) and self._driver.core.readings.is_read(record):
                give(self._driver, JobSought(job, record))
                await trio.sleep(READING_S / RENEWALS_PER_READING)

    async def _renewed(self, record: JobRecord) -> None:
        """Have the record here as new as it can be had, soon."""
        changed = self._changes.of(record.id)
        give(self._driver, JobSought(record.id, record))
        reading = self._driver.core.readings.by_job.get(record.id)
        if reading is None or not reading.live:
            with trio.move_on_after(NEWS_TIMEOUT_S):
                await changed.wait()

    async def _sought(self, text: str, unknown: ServiceError) -> str:
        """The id of a job that others hold, once it is here; raises `unknown` where nobody tells of it."""
        id = text if _ID.fullmatch(text) else await self._listed(text)
        if id is not None:
            for wide, timeout_s in ((False, OWN_NODES_ANSWER_S), (True, ANYBODY_ANSWERS_S)):
                if await self._ask(id, wide=wide, timeout_s=timeout_s):
                    return id
            if asked := len(self._whom(JobSought(id, None, wide=True))):
                also = f"{unknown}, and none of the {asked} other nodes that were asked tells of it"
                raise ServiceError(Code.NOT_FOUND, also)
        raise unknown

    async def _ask(self, job: str, *, wide: bool, timeout_s: float) -> bool:
        """Ask for a job; whether it is here now.

        Raises `ServiceError` FORBIDDEN where users of this node have no say.
        """
        event = JobSought(job, None, wide)
        if not self._whom(event):
            return False
        give(self._driver, event)
        with trio.move_on_after(timeout_s):
            while True:
                handled = self._changes.any()
                if self._journal.readable_job(job) is not None:
                    return True
                reading = self._driver.core.readings.by_job.get(job)
                if reading is not None and reading.requester:
                    requester = self._lookup.name_of(reading.requester)
                    raise ServiceError(
                        Code.FORBIDDEN,
                        f"the job is {requester}'s: users of this node may neither follow nor change it"
                        f" (p2pnode serve --operator on {requester} would let them)",
                    )
                await handled.wait()
        return False

    def _whom(self, event: JobSought) -> list[str]:
        core = self._driver.core
        found = whom_to_ask(event, core.trust.operators, core.table.known, self._clock.now())
        return [peer for peer in found if peer != core.me]

    async def _listed(self, text: str) -> str | None:
        """The id of the job of this prefix, or else the last of this name, by what other nodes own."""
        by_prefix = text.startswith("j-")
        # Strangers may call their jobs as they like; nobody chooses ids.
        for wide in (False, True) if by_prefix else (False,):
            lines = await self._lines(wide=wide)
            if by_prefix:
                found = {one.id for one in lines if one.id.startswith(text)}
            else:
                found = _newest_in_each_namespace([one for one in lines if one.name == text])
            if len(found) > 1:
                shown = ", ".join(id[:14] for id in sorted(found)[:CANDIDATES_SHOWN_MAX])
                more = "give more of the id" if by_prefix else "they are of several namespaces, so give an id"
                raise ServiceError(Code.AMBIGUOUS, f"{text[:80]} could be {shown}: {more}")
            if found:
                return found.pop()
        return None

    async def _lines(self, *, wide: bool) -> list[JobLine]:
        known = self._driver.core.table.known
        peers = {peer: known[peer].advert.addresses for peer in self._whom(JobSought("", None, wide))}
        found = await job_lists.ask_all(self._host, peers, LISTS_TIMEOUT_S)
        return [line for lines in found.values() for line in lines or ()]


def _newest_in_each_namespace(lines: Collection[JobLine]) -> set[str]:
    newest = {one.namespace: one.id for one in sorted(lines, key=lambda one: (one.created_ms, one.id))}
    return set(newest.values())
