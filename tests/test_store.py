"""The journal, on a real file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from p2pnode.core.link.events import LinkRecord
from p2pnode.core.records.lifecycle import new_record
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    Task,
    WasmEngine,
)
from p2pnode.store import FILE_NAME, HISTORY_ROWS_MAX, SCHEMA_VERSION, Store, StoreError

SPEC = JobSpec(type=JobType.BATCH, task=Task(engine=WasmEngine(entry_module="/m")))


def record(id, created=1.0):
    return new_record(id, "me", SPEC, created)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def test_a_job_and_its_history_are_there_after_a_restart(tmp_path, store):
    store.save_job(record("j-1"))
    store.add_history("j-1", 1.0, "Submission", "", "", "Job submitted", "Pending")
    id = store.store_id
    store.close()
    again = Store(tmp_path)
    assert again.job("j-1") == record("j-1")
    assert [row.text for row in again.history("j-1", 0)] == ["Job submitted"]
    assert again.history("j-1", 1) == []
    assert again.store_id == id
    again.close()


def test_a_transaction_that_raises_leaves_nothing(store):
    def write_and_fail():
        with store.transaction():
            store.save_job(record("j-1"))
            with store.transaction():
                store.add_message("peer", 1, b"x")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert store.job("j-1") is None
    assert store.load_link("peer") == (LinkRecord(), [])


def test_the_newest_job_of_a_name_is_found_in_each_namespace(store):
    jobs = [("j-1", "here", 1.0), ("j-2", "here", 3.0), ("j-3", "here", 2.0), ("j-4", "there", 1.0)]
    for id, namespace, created in jobs:
        spec = codec.replace(SPEC, name="a job/\u00fc", namespace=namespace)
        store.save_job(new_record(id, "me", spec, created))
    assert store.newest_named("a job/\u00fc", 10) == ["j-2", "j-4"]
    assert store.newest_named("a job/\u00fc", 1) == ["j-2"]
    assert store.newest_named("a job", 10) == []


def test_ids_are_found_by_prefix(store):
    for id in ("j-aa", "j-ab", "j-b"):
        store.save_job(record(id))
    assert store.job_ids("j-a", 10) == ["j-aa", "j-ab"]
    assert store.job_ids("j-a", 1) == ["j-aa"]
    assert store.job_ids("", 10) == ["j-aa", "j-ab", "j-b"]
    assert store.job_ids("k", 10) == []


def test_an_outbox_keeps_its_order_and_its_numbers(store):
    for sequence in (1, 2, 3):
        store.add_message("peer", sequence, b"%d" % sequence)
    store.forget_messages("peer", 1)
    store.mark_received("peer", 7)
    assert store.load_link("peer") == (LinkRecord(received=7, sent=3), [(2, b"2"), (3, b"3")])
    assert store.peers_waiting() == ["peer"]
    store.replace_messages("peer", LinkRecord("s", 0, 1), [(1, b"z")])
    assert store.load_link("peer") == (LinkRecord("s", 0, 1), [(1, b"z")])


def test_a_second_node_on_the_same_directory_is_refused(tmp_path, store):
    with pytest.raises(StoreError, match="in use by another node"):
        Store(tmp_path)


def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot use the journal"):
        Store(tmp_path)
    assert path.read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (
            SCHEMA_VERSION + 1,
            "written by a newer p2pnode .* run that one, or give this one another --data-dir",
        ),
        (1, "no longer reads: an older p2pnode does"),
    ],
    ids=["newer", "older than any that is read"],
)
def test_a_journal_of_another_version_is_refused_and_left_as_it_is(tmp_path, version, reason):
    Store(tmp_path).close(well=True)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute(f"PRAGMA user_version={version}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreError, match=reason):
        Store(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT value FROM meta WHERE key='ended_well'").fetchone() == ("yes",)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_endless_history_is_cut_but_tells_the_end(store):
    for number in range(HISTORY_ROWS_MAX + 5):
        store.add_history("j", 1.0, "Asking", "", "", str(number), "Queued")
    store.add_history("j", 1.0, "End", "", "", "over", "Failed")
    rows = store.history("j", 0)
    assert len(rows) == HISTORY_ROWS_MAX + 1
    assert rows[-1].text == "over"
