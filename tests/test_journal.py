"""The journal, on a real file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import cbor2
import pytest

from p2pnode.core.link.events import LinkRecord
from p2pnode.core.records import history
from p2pnode.core.records.lifecycle import Execution, JobRecord
from p2pnode.core.values.places import Place
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    Task,
    WasmTask,
)
from p2pnode.node.journal import (
    FILE_NAME,
    HISTORY_ROWS_MAX,
    SCHEMA_VERSION,
    Journal,
    JournalError,
)

from .core_support import new_record

SPEC = JobSpec(type=JobType.BATCH, task=Task(engine=WasmTask(entry_module="/m")))


def record(id, created=1.0):
    return new_record(id, "me", SPEC, created)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.close()


def test_what_has_not_changed_is_not_saved(journal):
    one = record("j-9")
    assert journal.save_job(one)
    assert not journal.save_job(record("j-9"))
    one.reason = "another"
    assert journal.save_job(one)
    assert journal.job("j-9").reason == "another"


def test_a_job_and_its_history_are_there_after_a_restart(tmp_path, journal):
    journal.save_job(record("j-1"))
    journal.add_line("j-1", history.line("Submission", "Job submitted", "Pending", 1.0))
    id = journal.journal_id
    journal.close()
    again = Journal(tmp_path)
    assert again.job("j-1") == record("j-1")
    assert again.history("j-1", 0) == [(1, history.line("Submission", "Job submitted", "Pending", 1.0))]
    assert again.history("j-1", 1) == []
    assert again.journal_id == id
    again.close()


def test_places_of_a_job_are_there_after_a_restart_and_a_record_of_before_has_none(tmp_path, journal):
    one = record("j-1")
    one.places = (Place("north", ("12D3*",), {"zone": "n*"}, ("member",), 5), Place("b", roles=("operator",)))
    journal.save_job(one)
    journal.close()
    assert Journal(tmp_path).job("j-1") == one
    of_before = codec.plain(one)
    del of_before["places"]
    assert codec.decode(cbor2.dumps(of_before), JobRecord).places is None


def test_a_transaction_that_raises_leaves_nothing(journal):
    def write_and_fail():
        with journal.transaction():
            journal.save_job(record("j-1"))
            with journal.transaction():
                journal.add_message("peer", 1, b"x")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert journal.job("j-1") is None
    assert journal.load_link("peer") == (LinkRecord(), [])


def test_the_newest_job_of_a_name_is_found_in_each_namespace(journal):
    jobs = [("j-1", "here", 1.0), ("j-2", "here", 3.0), ("j-3", "here", 2.0), ("j-4", "there", 1.0)]
    for id, namespace, created in jobs:
        spec = codec.replace(SPEC, name="a job/\u00fc", namespace=namespace)
        journal.save_job(new_record(id, "me", spec, created))
    assert journal.newest_named("a job/\u00fc", 10) == ["j-2", "j-4"]
    assert journal.newest_named("a job/\u00fc", 1) == ["j-2"]
    assert journal.newest_named("a job", 10) == []


def test_ids_are_found_by_prefix(journal):
    for id in ("j-aa", "j-ab", "j-b"):
        journal.save_job(record(id))
    assert journal.job_ids("j-a", 10) == ["j-aa", "j-ab"]
    assert journal.job_ids("j-a", 1) == ["j-aa"]
    assert journal.job_ids("", 10) == ["j-aa", "j-ab", "j-b"]
    assert journal.job_ids("k", 10) == []


def test_an_outbox_keeps_its_order_and_its_numbers(journal):
    for sequence in (1, 2, 3):
        journal.add_message("peer", sequence, b"%d" % sequence)
    journal.forget_messages("peer", 1)
    journal.mark_received("peer", 7)
    assert journal.load_link("peer") == (LinkRecord(received=7, sent=3), [(2, b"2"), (3, b"3")])
    assert journal.peers_waiting() == ["peer"]
    journal.replace_messages("peer", LinkRecord("s", 0, 1), [(1, b"z")])
    assert journal.load_link("peer") == (LinkRecord("s", 0, 1), [(1, b"z")])


def test_a_second_node_on_the_same_directory_is_refused(tmp_path, journal):
    with pytest.raises(JournalError, match="in use by another node"):
        Journal(tmp_path)


def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match="cannot use the journal"):
        Journal(tmp_path)
    assert path.read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (
            SCHEMA_VERSION + 1,
            "written by a newer p2pnode .* run that one, or give this one another --data-dir",
        ),
        (SCHEMA_VERSION - 1, "no longer reads: an older p2pnode does"),
    ],
    ids=["newer", "older than any that is read"],
)
def test_a_journal_of_another_version_is_refused_and_left_as_it_is(tmp_path, version, reason):
    Journal(tmp_path).close(well=True)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute(f"PRAGMA user_version={version}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(JournalError, match=reason):
        Journal(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT value FROM meta WHERE key='ended_well'").fetchone() == ("yes",)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_endless_history_is_cut_but_tells_the_end(journal):
    for number in range(HISTORY_ROWS_MAX + 5):
        journal.add_line("j", history.line("Asking", str(number), "Queued", 1.0))
    journal.add_line("j", history.line("End", "over", "Failed", 1.0))
    rows = journal.history("j", 0)
    assert len(rows) == HISTORY_ROWS_MAX + 1
    assert rows[-1][1].text == "over"


@pytest.mark.parametrize("told", [0, 1])
def test_executions_have_one_order_whoever_told_of_them(told: int) -> None:
    record = new_record("j-told", "me", SPEC, 0)
    for number, id in enumerate(("e-first", "e-second")):
        # Another that acted for the job tells times in milliseconds.
        created = 7.043 if number == told else 7.0428
        record.executions[id] = Execution(
            id=id, peer="a", round=1, replica=number, created=created, modified=8
        )
    again = codec.decode(codec.encode(record), JobRecord)
    assert list(again.executions) == ["e-first", "e-second"]
