"""A step writes each record once, as it is when all has been decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from p2pnode.core.node import Core
from p2pnode.core.records.events import DropJob, SaveJob
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.node.journal import Journal
from p2pnode.node.step import Step

from .core_support import new_record, spec
from .fake_keys import FakeKeys

ME = "me"


class CountingJournal(Journal):
    """A journal that counts what it is told to save."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.saves = 0

    def save_job(self, record: JobRecord) -> bool:
        self.saves += 1
        return super().save_job(record)


def a_record() -> JobRecord:
    return new_record("j-1", ME, spec(), 1.0)


def step(journal: Journal) -> Step:
    core: Any = Core(ME, lambda spec: None, FakeKeys(ME))
    return Step(core, journal, None, lambda peer, message: None, None)  # type: ignore[arg-type]


def test_a_record_that_two_decisions_save_is_written_once(tmp_path: Path) -> None:
    journal, record = CountingJournal(tmp_path), a_record()
    step(journal).take(lambda: [SaveJob(record), SaveJob(record)])
    assert journal.saves == 1
    assert journal.job(record.id) == record


def test_another_record_of_the_same_job_is_written_too(tmp_path: Path) -> None:
    journal, first, second = CountingJournal(tmp_path), a_record(), a_record()
    second.reason = "another"
    step(journal).take(lambda: [SaveJob(first), SaveJob(second), SaveJob(first)])
    assert journal.saves == 3
    assert journal.job("j-1") == first


def test_a_record_that_is_saved_after_its_job_was_dropped_is_there(tmp_path: Path) -> None:
    journal, record = CountingJournal(tmp_path), a_record()
    step(journal).take(lambda: [SaveJob(record), DropJob(record.id), SaveJob(record)])
    assert journal.job(record.id) == record
