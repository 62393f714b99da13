"""The history of a job, as a node tells it to its API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.records import history
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Line
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    Task,
    WasmTask,
)
from p2pnode.node.changes import Changes
from p2pnode.node.journal import Journal
from p2pnode.service.jobs import HISTORY_ROWS_AT_ONCE, Jobs
from p2pnode.service.lookup import Lookup

from .core_support import new_record


class Histories:
    """Reads of the store what a follower asks for; notes how much it is given at once."""

    def __init__(self, lines: int) -> None:
        self.rows = [(number, history.line("Job", "said", "Running", 0.0)) for number in range(1, lines + 1)]
        self.given: list[int] = []

    def job(self, id: str) -> None:
        return None

    def history(self, job: str, since: int, rows_max: int) -> Sequence[tuple[int, Line]]:
        found = [row for row in self.rows if row[0] > since][:rows_max]
        self.given.append(len(found))
        return found


SPEC = JobSpec(type=JobType.BATCH, task=Task(engine=WasmTask(entry_module="/m")))
JOBS = {
    "j-10": ("count", "default", 1.0),
    "j-11": ("count", "default", 2.0),
    "j-12": ("a/b \u00fc%2F", "default", 1.0),
    "j-13": ("both", "here", 1.0),
    "j-14": ("both", "there", 1.0),
    "j-15": ("j-10", "default", 1.0),
    "j-16": ("", "default", 1.0),
}


@pytest.fixture
def lookup(tmp_path: Path) -> Iterator[Lookup]:
    journal = Journal(tmp_path)
    for id, (name, namespace, created) in JOBS.items():
        journal.save_job(new_record(id, "me", codec.replace(SPEC, name=name, namespace=namespace), created))
    yield Lookup(journal, AdvertTable(), "me", "")
    journal.close()


@pytest.mark.parametrize(
    ("text", "id"),
    [
        pytest.param("j-11", "j-11", id="by its id"),
        pytest.param("count", "j-11", id="by its name: the last job that has it"),
        pytest.param("a/b \u00fc%2F", "j-12", id="by a name of any characters"),
        pytest.param("j-10", "j-10", id="an id goes before a name that is the same"),
    ],
)
def test_a_job_is_found(lookup: Lookup, text: str, id: str) -> None:
    assert lookup.record(text).id == id


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        pytest.param("j-1", Code.AMBIGUOUS, "j-10, j-11, j-12, j-13, j-14: give more", id="a prefix"),
        pytest.param("both", Code.AMBIGUOUS, "both could be j-13, j-14: they are of several", id="a name"),
        pytest.param("none", Code.NOT_FOUND, "no job none on this node", id="a name that no job has"),
        pytest.param("", Code.NOT_FOUND, "no job ", id="no name at all"),
        pytest.param("x" * 400, Code.NOT_FOUND, "x" * 80 + "\u2026 on this node", id="a long name"),
    ],
)
def test_a_job_that_is_not_one_is_refused_with_what_there_is(
    lookup: Lookup, text: str, code: Code, said: str
) -> None:
    with pytest.raises(ServiceError, match=re.escape(said)) as refused:
        lookup.record(text)
    assert refused.value.code is code


@pytest.mark.parametrize(
    "lines", [0, 1, HISTORY_ROWS_AT_ONCE, HISTORY_ROWS_AT_ONCE + 1, 5 * HISTORY_ROWS_AT_ONCE]
)
async def test_a_history_is_told_whole_and_held_in_parts(lines: int) -> None:
    histories = Histories(lines)
    journal: Any = histories
    lookup = Lookup(journal, AdvertTable(), "me", "")
    unused: Any = None
    jobs = Jobs(lookup, journal, unused, unused, Changes(), unused, unused)
    told = [event["number"] async for event in jobs.job_events("j-1", 0, follow=True)]
    assert told == list(range(1, lines + 1))
    assert max(histories.given) <= HISTORY_ROWS_AT_ONCE
