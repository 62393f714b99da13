"""Lists of jobs: which are in them, and how a page leads to the next, whatever was submitted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.queries import JobsQuery
from p2pnode.api.shapes import Code, JobsJson, ServiceError
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import JobState
from p2pnode.node.changes import Changes
from p2pnode.node.journal import Journal
from p2pnode.service.jobs import RECORDS_READ_MAX, Jobs
from p2pnode.service.lookup import Lookup

from .core_support import new_record, spec


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def save(
    journal: Journal, id: str, created: float, state: JobState = JobState.PENDING, **wanted: Any
) -> None:
    record = new_record(id, "me", spec(**wanted), created)
    record.state, record.reason = state, f"it is {state}"
    journal.save_job(record)


async def page(journal: Journal, **asked: Any) -> JobsJson:
    unused: Any = None
    lookup = Lookup(journal, AdvertTable(), "me", "")
    jobs = Jobs(lookup, journal, unused, unused, Changes(), unused, unused)
    return await jobs.jobs(JobsQuery(**asked))


async def names(journal: Journal, **asked: Any) -> list[str]:
    return [one["id"] for one in (await page(journal, **asked))["jobs"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["j-4", "j-3", "j-2", "j-1"]),
        ({"state": [JobState.FAILED]}, ["j-3"]),
        ({"state": [JobState.FAILED, JobState.PENDING]}, ["j-4", "j-3", "j-1"]),
        ({"state": [JobState.STOPPED]}, []),
        ({"type": [JobType.OPS]}, ["j-4"]),
        ({"namespace": "team"}, ["j-2"]),
        ({"label": ["tier"]}, ["j-2", "j-1"]),
        ({"label": ["tier=a"]}, ["j-1"]),
        ({"label": ["tier", "zone=x"]}, ["j-2"]),
        ({"label": ["tier="]}, []),
        ({"text": "REPORT"}, ["j-1"]),
        ({"text": "it is fail"}, ["j-3"]),
        ({"text": "J-2"}, ["j-2"]),
    ],
)
async def test_a_filter_leaves_just_the_jobs_that_are_so(
    journal: Journal, asked: dict[str, Any], found: list[str]
) -> None:
    save(journal, "j-1", 1.0, name="daily Report", labels={"tier": "a"})
    save(journal, "j-2", 2.0, JobState.COMPLETED, namespace="team", labels={"tier": "b", "zone": "x"})
    save(journal, "j-3", 3.0, JobState.FAILED)
    save(journal, "j-4", 4.0, type=JobType.OPS)
    assert await names(journal, **asked) == found


async def test_pages_hold_each_job_once_also_those_of_one_moment_and_with_new_ones_before_them(
    journal: Journal,
) -> None:
    for number in range(7):
        save(journal, f"j-{number}", 5.0 if number > 3 else float(number))
    first = await page(journal, limit=3)
    save(journal, "j-9", 9.0)
    second = await page(journal, limit=3, after=first["next"])
    last = await page(journal, limit=3, after=second["next"])
    told = [[one["id"] for one in each["jobs"]] for each in (first, second, last)]
    assert told == [["j-6", "j-5", "j-4"], ["j-3", "j-2", "j-1"], ["j-0"]]
    assert last["next"] is None


@pytest.mark.parametrize("created", [0.0, -5.0, 1e-7, 1e22, 1.1])
async def test_a_page_follows_a_job_of_any_moment_that_a_peer_may_tell(
    journal: Journal, created: float
) -> None:
    for id in ("j-1", "j-2"):
        save(journal, id, created)
    first = await page(journal, limit=1)
    assert await names(journal, after=first["next"]) == ["j-1"]


async def test_a_page_without_a_job_leads_on_where_more_is_to_be_read(journal: Journal) -> None:
    with journal.transaction():
        save(journal, "j-wanted", 0.0, name="needle")
        for number in range(RECORDS_READ_MAX):
            save(journal, f"j-{number}", 1.0 + number)
    first = await page(journal, text="needle")
    assert first["jobs"] == [] and first["next"] is not None
    assert await names(journal, text="needle", after=first["next"]) == ["j-wanted"]


@pytest.mark.parametrize("after", ["x", "1.0", "j-1@nan", "j-1@-inf", "@1.0", "j-1@", "@"])
async def test_a_place_that_no_page_gave_is_refused(journal: Journal, after: str) -> None:
    with pytest.raises(ServiceError, match="it has to be `next` of the page before") as refused:
        await page(journal, after=after)
    assert refused.value.code is Code.BAD_REQUEST
