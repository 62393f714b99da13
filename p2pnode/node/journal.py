"""The journal: what a node must find again after any crash, in one SQLite file.

Jobs, their history, reservations, outboxes of links, peers' addresses, ends to be told. Everything that one
event causes is written in one transaction (`transaction`), with the number of the link's
message that caused it: after a crash that message was handled with all its effects, or
will come again. Calls are synchronous and take well under a millisecond; write-ahead
logging without a flush per commit survives the death of the process, which is what
nodes do, and may lose the last moments when the machine itself dies.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import inf
from pathlib import Path
from typing import TypeVar

from p2pnode.core.link.events import LinkRecord
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import State, Unreadable
from p2pnode.core.wire.messages import Line
from p2pnode.faults.problems import JournalError, Problems
from p2pnode.notices.table import NoticeTable
from p2pnode.system.histogram import DISK_BOUNDS_S, Histogram
from p2pnode.system.log_lines import concerning

log = logging.getLogger(__name__)

FILE_NAME = "journal.sqlite"
SCHEMA_VERSION = 7
# Another process of the same data directory would be a mistake; a backup tool reads for moments.
BUSY_TIMEOUT_S = 1.0
HISTORY_ROWS_MAX = 2_000

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (id TEXT PRIMARY KEY, created REAL NOT NULL, ended INTEGER NOT NULL,
  namespace TEXT NOT NULL, name TEXT NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_name ON jobs (namespace, name, created);
CREATE TABLE history (job TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, topic TEXT NOT NULL,
  execution TEXT NOT NULL, peer TEXT NOT NULL, text TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (job, number)) WITHOUT ROWID;
CREATE TABLE reservations (execution TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE links (peer TEXT PRIMARY KEY, peer_store TEXT NOT NULL, received INTEGER NOT NULL,
  sent INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (peer TEXT NOT NULL, sequence INTEGER NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (peer, sequence)) WITHOUT ROWID;
CREATE TABLE peers (peer TEXT PRIMARY KEY, addresses TEXT NOT NULL, seen REAL NOT NULL) WITHOUT ROWID;
"""


# The block of a transaction within another.
_PART = nullcontext()

# Told of a record that cannot be read: its name, and why.
ToldUnreadable = Callable[[str, Unreadable], None]
R = TypeVar("R", bound=State)


class Journal:
    def __init__(self, directory: Path) -> None:
        """Opens the journal in `directory`, making it where there is none; raises `JournalError`."""
        self._path = directory / FILE_NAME
        self.commits = Histogram(DISK_BOUNDS_S)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            os.chmod(self._path, 0o600)
            # Held for the life of the process: two nodes on one journal would tear it apart.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self.problems = Problems(self._db, self.transaction)
            self.notices = NoticeTable(self._db, self.transaction)
            self._make()
            # Stays so until `close`: a journal found like this at the next start has not ended in good order.
            self.ended_well = self.meta("ended_well") != "no"
            self.set_meta("ended_well", "no")
        except JournalError:
            # A traceback would keep it open, and locked.
            self._db.close()
            raise
        except sqlite3.OperationalError as exc:
            if "locked" in str(exc):
                raise JournalError(f"{directory} is in use by another node") from exc
            raise JournalError(f"cannot use the journal {self._path}: {exc}") from exc
        except (sqlite3.DatabaseError, OSError) as exc:
            raise JournalError(f"cannot use the journal {self._path}: {exc}") from exc

    def _make(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self._path} was written by a newer p2pnode (its version is {version}, this "
                f"program knows up to {SCHEMA_VERSION}): run that one, or give this one another --data-dir"
            )
        if version not in (0, SCHEMA_VERSION):
            raise JournalError(
                f"{self._path} is of version {version}, which this program no longer reads: "
                "an older p2pnode does; once its jobs have ended there, move the file away"
            )
        if version == 0:
            with self.transaction():
                for statement in (*_SCHEMA.strip().split(";\n"), *Problems.SCHEMA.strip().split(";\n")):
                    self._db.execute(statement)
                self.set_meta("store", uuid.uuid4().hex)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        # Not in older journals of this version.
        self._db.execute("CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created, id)")
        for statement in NoticeTable.SCHEMA.strip().split(";\n"):
            self._db.execute(statement)

    def close(self, *, well: bool = False) -> None:
        """Closes the journal; `well`: nothing is left over that a next start should be careful with."""
        if well:
            self.set_meta("ended_well", "yes")
        self._db.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """A transaction, or a part of the present one that is undone by itself if the block raises."""
        if not self._db.in_transaction:
            with self.transaction():
                yield
            return
        try:
            self._db.execute("SAVEPOINT step")
            yield
            self._db.execute("RELEASE step")
        except BaseException as exc:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO step")
                self._db.execute("RELEASE step")
            if isinstance(exc, sqlite3.Error):
                raise JournalError(f"cannot write the journal {self._path}: {exc}") from exc
            raise

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written in the block is on disk after it, or, if it raises, nothing of it."""
        # Most are parts of another: a step writes some dozen records.
        return _PART if self._db.in_transaction else self._whole_transaction()

    @contextmanager
    def _whole_transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            with self.commits:
                self._db.execute("COMMIT")
        except BaseException as exc:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise JournalError(f"cannot write the journal {self._path}: {exc}") from exc
            raise

    # Small values

    @property
    def journal_id(self) -> str:
        """The id that tells this journal from another of the same node: peers' numbering goes by it."""
        value = self.meta("store")
        assert value is not None
        return value

    def meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    # Jobs

    def save_job(self, record: JobRecord) -> bool:
        """Save a job, unless it is here as it is; whether it was saved."""
        with self.transaction():
            spec = record.spec
            row = (record.id, record.created, record.ended, spec.namespace, spec.name, codec.pack(record))
            done = self._db.execute(
                "INSERT INTO jobs VALUES (?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET"
                " created=excluded.created, ended=excluded.ended, namespace=excluded.namespace,"
                " name=excluded.name, record=excluded.record WHERE jobs.record IS NOT excluded.record",
                row,
            )
            return done.rowcount > 0

    def job_named(self, namespace: str, name: str) -> JobRecord | None:
        """The newest job of this name."""
        row = self._db.execute(
            "SELECT record FROM jobs WHERE namespace=? AND name=? ORDER BY created DESC LIMIT 1",
            (namespace, name),
        ).fetchone()
        return codec.decode(row[0], JobRecord) if row else None

    def newest_named(self, name: str, limit: int) -> list[str]:
        """The ids of the newest job of this name in each namespace that has one, at most `limit` of them."""
        rows = self._db.execute(
            "SELECT id, MAX(created) FROM jobs WHERE name=? GROUP BY namespace ORDER BY namespace LIMIT ?",
            (name, limit),
        )
        return [id for id, _ in rows]

    def job(self, id: str) -> JobRecord | None:
        row = self._db.execute("SELECT record FROM jobs WHERE id=?", (id,)).fetchone()
        return codec.decode(row[0], JobRecord) if row else None

    def readable_job(self, id: str) -> JobRecord | None:
        """Return the record; None also for one that cannot be read."""
        try:
            return self.job(id)
        except codec.Unreadable:
            return None

    def job_ids(self, prefix: str, limit: int) -> list[str]:
        """The ids that begin with `prefix`, at most `limit` of them."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
        rows = self._db.execute("SELECT id FROM jobs WHERE id>=? AND id<? LIMIT ?", (prefix, end, limit))
        return [id for (id,) in rows]

    def jobs(self, limit: int) -> list[JobRecord]:
        """The newest jobs first."""
        rows = self._db.execute("SELECT id, record FROM jobs ORDER BY created DESC LIMIT ?", (limit,))
        return _decoded(rows, JobRecord, _log_unreadable)

    def jobs_page(
        self, after: tuple[float, str] | None, limit: int, namespace: str, ended: bool | None
    ) -> tuple[list[JobRecord], tuple[float, str] | None]:
        """The newest jobs first, those that come `after`; and the last row's place, None at the end.

        `namespace` is "" for all, `ended` None for both. One that cannot be read is left out.
        """
        rows = self._db.execute(
            "SELECT created, id, record FROM jobs WHERE (created, id) < (?, ?)"
            " AND (?='' OR namespace=?) AND (? IS NULL OR ended=?)"
            " ORDER BY created DESC, id DESC LIMIT ?",
            (*(after or (inf, "")), namespace, namespace, ended, ended, limit),
        ).fetchall()
        records = _decoded(((id, record) for _, id, record in rows), JobRecord, _log_unreadable)
        return records, rows[-1][:2] if len(rows) == limit else None

    def jobs_of(self, owner: str, limit: int) -> list[JobRecord]:
        """Return those of the newest jobs that `owner` looks after, the newest first."""
        return [record for record in self.jobs(limit) if record.owner == owner]

    def live_jobs(self, unreadable: ToldUnreadable) -> list[JobRecord]:
        rows = self._db.execute("SELECT id, record FROM jobs WHERE NOT ended ORDER BY created")
        return _decoded(rows, JobRecord, unreadable)

    def add_line(self, job: str, line: Line) -> None:
        """Add a line of history; beyond `HISTORY_ROWS_MAX` lines of one job only its end is still told."""
        with self.transaction():
            (last,) = self._db.execute(
                "SELECT coalesce(max(number),0) FROM history WHERE job=?", (job,)
            ).fetchone()
            if last < HISTORY_ROWS_MAX or line.topic == "End":
                row = (line.at_ms, line.topic, line.execution, line.peer, line.text, line.state)
                self._db.execute("INSERT INTO history VALUES (?,?,?,?,?,?,?,?)", (job, last + 1, *row))

    def replace_history(self, job: str, lines: Sequence[Line]) -> None:
        """The lines as another node has them, in place of those that are here."""
        with self.transaction():
            self._db.execute("DELETE FROM history WHERE job=?", (job,))
            for line in lines:
                self.add_line(job, line)

    def drop_job(self, job: str) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM jobs WHERE id=?", (job,))
            self._db.execute("DELETE FROM history WHERE job=?", (job,))

    def history(self, job: str, since: int, rows_max: int = -1) -> list[tuple[int, Line]]:
        """The first lines after number `since`, each with its number, from 1; all of them by default."""
        rows = self._db.execute(
            "SELECT number,at_ms,topic,execution,peer,text,state FROM history WHERE job=? AND number>?"
            " ORDER BY number LIMIT ?",
            (job, since, rows_max),
        )
        return [
            (number, Line(at_ms=at_ms, topic=topic, execution=execution, peer=peer, text=text, state=state))
            for number, at_ms, topic, execution, peer, text, state in rows
        ]

    # Reservations

    def save_reservation(self, reservation: Reservation) -> None:
        """Save a reservation, unless it is here as it is."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO reservations VALUES (?,?) ON CONFLICT (execution) DO UPDATE"
                " SET record=excluded.record WHERE reservations.record IS NOT excluded.record",
                (reservation.execution, codec.pack(reservation)),
            )

    def drop_reservation(self, execution: str) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM reservations WHERE execution=?", (execution,))

    def reservation(self, execution: str) -> Reservation | None:
        row = self._db.execute("SELECT record FROM reservations WHERE execution=?", (execution,)).fetchone()
        return codec.decode(row[0], Reservation) if row else None

    def reservations(self, unreadable: ToldUnreadable) -> list[Reservation]:
        rows = self._db.execute("SELECT execution, record FROM reservations ORDER BY execution")
        return _decoded(rows, Reservation, unreadable)

    # Links (network.link_owner.LinkJournal)

    def load_link(self, peer: str) -> tuple[LinkRecord, Sequence[tuple[int, bytes]]]:
        row = self._db.execute("SELECT peer_store,received,sent FROM links WHERE peer=?", (peer,)).fetchone()
        outbox = self._db.execute(
            "SELECT sequence,payload FROM outbox WHERE peer=? ORDER BY sequence", (peer,)
        )
        return LinkRecord(*row) if row else LinkRecord(), outbox.fetchall()

    def peers_waiting(self) -> Sequence[str]:
        return [peer for (peer,) in self._db.execute("SELECT DISTINCT peer FROM outbox")]

    def save_link(self, peer: str, record: LinkRecord) -> None:
        with self.transaction():
            row = (peer, record.peer_store, record.received, record.sent)
            self._db.execute("INSERT OR REPLACE INTO links VALUES (?,?,?,?)", row)

    def mark_received(self, peer: str, sequence: int) -> None:
        """The peer's message of this number has been handled."""
        with self.transaction():
            self._db.execute("UPDATE links SET received=? WHERE peer=?", (sequence, peer))

    def add_message(self, peer: str, sequence: int, payload: bytes) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT INTO links VALUES (?,'',0,?) ON CONFLICT (peer) DO UPDATE SET sent=excluded.sent",
                (peer, sequence),
            )
            self._db.execute("INSERT INTO outbox VALUES (?,?,?)", (peer, sequence, payload))

    def forget_messages(self, peer: str, sequence: int) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM outbox WHERE peer=? AND sequence<=?", (peer, sequence))

    def replace_messages(self, peer: str, record: LinkRecord, outbox: Sequence[tuple[int, bytes]]) -> None:
        with self.transaction():
            self.save_link(peer, record)
            self._db.execute("DELETE FROM outbox WHERE peer=?", (peer,))
            rows = [(peer, sequence, payload) for sequence, payload in outbox]
            self._db.executemany("INSERT INTO outbox VALUES (?,?,?)", rows)

    # Peers to join through at the next start

    def remember_peer(
        self, peer: str, addresses: Sequence[str], seen: float, forgotten: Sequence[str] = ()
    ) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO peers VALUES (?,?,?)", (peer, "\n".join(addresses), seen)
            )
            self._db.executemany("DELETE FROM peers WHERE peer=?", [(one,) for one in forgotten])

    def remembered_peers(self) -> dict[str, list[str]]:
        """Addresses by peer, those seen last first."""
        rows = self._db.execute("SELECT peer,addresses FROM peers ORDER BY seen DESC")
        return {peer: addresses.splitlines() for peer, addresses in rows}


def _decoded(rows: Iterable[tuple[str, bytes]], kind: type[R], unreadable: ToldUnreadable) -> list[R]:
    """The records that can be read."""
    records = []
    for name, data in rows:
        try:
            records.append(codec.decode(data, kind))
        except Unreadable as exc:
            unreadable(name, exc)
    return records


def _log_unreadable(name: str, error: Unreadable) -> None:
    with concerning(job=name):
        log.warning("the journal's record of %s cannot be read: %s", name, error)
